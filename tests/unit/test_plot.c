/* Charts: every kind gives a whole PNG or SVG of the size asked for, also for degenerate data; what
 * cannot be drawn is refused with a sentence; what is drawn depends on the data. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/plot.h"
#include "plot/canvas.h"

static void assert_no_error(void)
{
    if (cr_failed())
        fail_msg("unexpected error: %s", cr_error_message());
}

static void assert_error(const char *part)
{
    assert_true(cr_failed());
    if (strstr(cr_error_message(), part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", cr_error_message(), part);
    cr_error_clear();
}

static uint32_t big_endian(const char *bytes)
{
    const unsigned char *b = (const unsigned char *)bytes;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Walks the chunks of a PNG and checks every checksum. */
static void assert_png(const char *data, size_t length, uint32_t width, uint32_t height)
{
    assert_true(length > 45);
    assert_memory_equal(data, "\x89PNG\r\n\x1a\n", 8);
    assert_int_equal(big_endian(data + 16), width);
    assert_int_equal(big_endian(data + 20), height);
    size_t at = 8;
    while (at < length) {
        size_t size = big_endian(data + at);
        assert_true(at + 12 + size <= length);
        uint32_t sum = (uint32_t)crc32(0, (const Bytef *)data + at + 4, (uInt)size + 4);
        assert_int_equal(sum, big_endian(data + at + 8 + size));
        at += 12 + size;
    }
    assert_int_equal(at, length);
    assert_memory_equal(data + length - 8, "IEND", 4);
}

/* Every opened element is closed. */
static void assert_svg(const cr_text *svg)
{
    assert_memory_equal(svg->data, "<?xml", 5);
    assert_non_null(strstr(svg->data, "viewBox=\"0 0 "));
    int depth = 0;
    for (const char *open = strchr(svg->data, '<'); open != NULL; open = strchr(open + 1, '<')) {
        const char *close = strchr(open, '>');
        assert_non_null(close);
        if (open[1] == '/')
            depth--;
        else if (open[1] != '?' && open[1] != '!' && close[-1] != '/')
            depth++;
        assert_true(depth >= 0);
    }
    assert_int_equal(depth, 0);
}

static void fill_curve(double *y, int count)
{
    for (int i = 0; i < count; i++)
        y[i] = 2.0 / (i + 1);
}

/* Draws one panel as PNG and as SVG and checks both. */
static void draw_panel(cr_plot_panel panel)
{
    cr_text png = { 0 };
    cr_text svg = { 0 };
    assert_int_equal(cr_plot_lines(cr_plot_to_png(&png), .panels = &panel), CR_OK);
    assert_int_equal(cr_plot_lines(cr_plot_to_svg(&svg), .panels = &panel,
                                   .style = { .title = "title", .dark = true }),
                     CR_OK);
    assert_png(png.data, png.length, 720, 380);
    assert_svg(&svg);
    cr_text_free(&png);
    cr_text_free(&svg);
}

static void lines_of_usual_data(void **state)
{
    (void)state;
    double y[15];
    fill_curve(y, 15);
    cr_plot_series series[] = {
        { .name = "train", .y = y, .count = 15 },
        { .name = "validation", .y = y, .count = 9, .dashed = true },
    };
    draw_panel((cr_plot_panel){ .title = "loss",
                                .x_label = "epoch",
                                .y_label = "nats",
                                .series = series,
                                .series_count = 2,
                                .mark_label = "best",
                                .mark_x = 7 });
    draw_panel((cr_plot_panel){ .series = series, .series_count = 2, .log_y = true });
    draw_panel((cr_plot_panel){ .series = series, .series_count = 2, .y_min = 1, .y_max = 2 });
}

static void lines_of_degenerate_data(void **state)
{
    (void)state;
    const double one[] = { 0.5 };
    const double none[] = { NAN, INFINITY, -INFINITY };
    const double gaps[] = { 1, NAN, 2, NAN, NAN, 3 };
    const double constant[] = { -4, -4, -4 };
    const double huge[] = { 1e300, -1e300, 5e-324, 1e308, -1e308 };
    const double tiny[] = { 1e-9, 2e-9 };
    cr_plot_series series[] = {
        { "one", NULL, one, 1, false, false, false },
        { "none", NULL, none, 3, false, false, false },
        { "gaps", NULL, gaps, 6, false, false, false },
        { "constant", NULL, constant, 3, false, false, false },
        { "huge", NULL, huge, 5, false, false, false },
        { "tiny", NULL, tiny, 2, false, false, false },
        { "strange x", none, constant, 3, false, false, false },
        { "empty", NULL, NULL, 0, false, false, false },
    };
    for (int i = 0; i < 8; i++) {
        draw_panel((cr_plot_panel){ .series = &series[i], .series_count = 1 });
        draw_panel((cr_plot_panel){ .series = &series[i], .series_count = 1, .log_y = true });
        draw_panel((cr_plot_panel){ .series = &series[i], .series_count = 1, .percent = true });
    }
    draw_panel((cr_plot_panel){ .title = "nothing" });
}

static void long_curves_make_small_files(void **state)
{
    (void)state;
    enum { STEPS = 100000 };
    double *y = cr_alloc_array(STEPS, sizeof(*y));
    assert_non_null(y);
    for (int i = 0; i < STEPS; i++)
        y[i] = exp(-i / 30000.0) + 0.1 * (i % 7);
    cr_plot_series series = { .name = "step", .y = y, .count = STEPS };
    cr_plot_panel panel = { .series = &series, .series_count = 1 };
    cr_text svg = { 0 };
    assert_int_equal(cr_plot_lines(cr_plot_to_svg(&svg), .panels = &panel), CR_OK);
    assert_svg(&svg);
    assert_true(svg.length < 150000);
    cr_text_free(&svg);
    cr_free(y);
}

static void panels_and_scale_give_the_size(void **state)
{
    (void)state;
    double y[5];
    fill_curve(y, 5);
    cr_plot_series series = { .y = y, .count = 5 };
    cr_plot_panel panels[3] = { { .series = &series, .series_count = 1 } };
    panels[1] = panels[2] = panels[0];
    cr_text png = { 0 };
    assert_int_equal(cr_plot_lines(cr_plot_to_png(&png), .panels = panels, .panel_count = 3,
                                   .columns = 3,
                                   .style = { .width = 900, .height = 200, .scale = 2 }),
                     CR_OK);
    assert_png(png.data, png.length, 1800, 400);
    cr_text_free(&png);
}

static void strings_that_are_not_utf8_are_drawn(void **state)
{
    (void)state;
    static const char *const broken[] = { "\xFF\xFE",         "\xC3",
                                          "\xE2\x86",         "\xED\xA0\x80",
                                          "\xF4\x90\x80\x80", "\xC0\xAF",
                                          "a\nb\tc",          "" };
    char long_name[1000];
    double value = 1;
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    for (int i = 0; i < 9; i++) {
        const char *name = i < 8 ? broken[i] : long_name;
        cr_plot_series series = { .name = name, .y = &value, .count = 1 };
        draw_panel((cr_plot_panel){ .title = name,
                                    .x_label = name,
                                    .y_label = name,
                                    .series = &series,
                                    .series_count = 1 });
    }
}

static void clean_text_is_utf8_and_fits(void **state)
{
    (void)state;
    char clean[16];
    assert_string_equal(cr_utf8_clean(clean, sizeof(clean),
                                      "a\xFF"
                                      "b\n\x7F"),
                        "");
    assert_string_equal(clean, "a\xEF\xBF\xBD"
                               "b  ");
    const char *rest = cr_utf8_clean(clean, 8,
                                     "abc\xF0\x9F\x98\x80"
                                     "d");
    assert_string_equal(clean, "abc\xF0\x9F\x98\x80");
    assert_string_equal(rest, "d");
    cr_utf8_clean(clean, sizeof(clean), "\xED\xA0\x80");
    assert_string_equal(clean, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

static void label_is(double value, double step, bool percent, const char *expected)
{
    char label[32];
    cr_tick_label(label, sizeof(label), value, step, percent);
    assert_string_equal(label, expected);
}

static void ticks_are_round(void **state)
{
    (void)state;
    cr_ticks ticks = cr_ticks_between(0.03, 0.97, 5, false);
    assert_int_equal(ticks.count, 4);
    assert_true(fabs(ticks.at[0] - 0.2) < 1e-12 && fabs(ticks.step - 0.2) < 1e-12);
    ticks = cr_ticks_between(1, 3, 10, true);
    assert_int_equal(ticks.count, 3);
    assert_true(ticks.step == 1);
    ticks = cr_ticks_between_logs(-3.2, 0.4, 5);
    assert_true(ticks.count == 4 && ticks.at[0] == -3);
    ticks = cr_ticks_between_logs(0, 1, 5);
    assert_int_equal(ticks.count, 4); /* 1 2 5 10 */
    label_is(0.2, 0.2, false, "0.2");
    label_is(1e-17, 0.2, false, "0");
    label_is(0.85, 0.05, true, "85 %");
    label_is(0.00002, 0.00001, false, "2e-5");
    label_is(1500000, 500000, false, "1.5e6");
    label_is(-20, 10, false, "-20");
}

static void confusion_of_any_size(void **state)
{
    (void)state;
    static const int64_t sizes[] = { 1, 2, 10, 40, 41, 100 };
    static int64_t matrix[100 * 100];
    for (int i = 0; i < 100 * 100; i++)
        matrix[i] = i % 7 == 0 ? i : 0;
    for (int i = 0; i < 6; i++) {
        for (int norm = CR_CONFUSION_COUNTS; norm <= CR_CONFUSION_BY_ALL; norm++) {
            cr_text svg = { 0 };
            assert_int_equal(cr_plot_confusion(cr_plot_to_svg(&svg), .matrix = matrix,
                                               .classes = sizes[i],
                                               .norm = (cr_confusion_norm)norm),
                             CR_OK);
            assert_svg(&svg);
            cr_text_free(&svg);
        }
    }
    memset(matrix, 0, sizeof(matrix));
    cr_text png = { 0 };
    static const char *const names[2] = { "a name of more than forty characters, to be cut", NULL };
    assert_int_equal(cr_plot_confusion(cr_plot_to_png(&png), .matrix = matrix, .classes = 2,
                                       .names = names, .style = { .width = 640, .height = 560 }),
                     CR_OK);
    assert_png(png.data, png.length, 640, 560);
    cr_text_free(&png);
}

static void charts_show_their_data(void **state)
{
    (void)state;
    const int64_t good[4] = { 9, 1, 1, 9 };
    const int64_t bad[4] = { 1, 9, 9, 1 };
    cr_text first = { 0 };
    cr_text second = { 0 };
    cr_plot_confusion(cr_plot_to_png(&first), .matrix = good, .classes = 2);
    cr_plot_confusion(cr_plot_to_png(&second), .matrix = bad, .classes = 2);
    assert_no_error();
    assert_true(first.length != second.length ||
                memcmp(first.data, second.data, first.length) != 0);
    cr_text_free(&first);
    cr_text_free(&second);
}

static void bars_of_any_values(void **state)
{
    (void)state;
    static const char *const names[] = { "a", NULL, "c", "d" };
    const double values[] = { -1e308, NAN, 0, 1e300 };
    const double zeros[100] = { 0 };
    cr_text png = { 0 };
    assert_int_equal(cr_plot_bars(cr_plot_to_png(&png), .names = names, .values = values,
                                  .count = 4, .style = { .title = "bars" }),
                     CR_OK);
    assert_png(png.data, png.length, 640, 36 + 24 + 4 * 28);
    cr_text_free(&png);
    assert_int_equal(
        cr_plot_bars(cr_plot_to_png(&png), .values = zeros, .count = 100, .percent = true), CR_OK);
    assert_png(png.data, png.length, 640, 24 + 100 * 15);
    cr_text_free(&png);
}

static void contact_sheet_of_mixed_pictures(void **state)
{
    (void)state;
    static uint8_t pixels[300 * 200 * 4];
    for (size_t i = 0; i < sizeof(pixels); i++)
        pixels[i] = (uint8_t)(i * 7);
    const cr_plot_picture pictures[] = {
        { pixels, 28, 28, 1, "coat\n98 %\nthird\nfourth is not shown", false },
        { pixels, 32, 32, 3, NULL, true },
        { pixels, 300, 200, 4, "", true },
        { pixels, 1, 200, 1, "thin", false },
    };
    cr_text png = { 0 };
    assert_int_equal(cr_plot_pictures(cr_plot_to_png(&png), .pictures = pictures, .count = 4),
                     CR_OK);
    assert_png(png.data, png.length, 4 * 112 + 16, 16 + 112 + 3 * 15);
    cr_text_free(&png);
    assert_int_equal(cr_plot_pictures(cr_plot_to_svg(&png), .pictures = pictures, .count = 4,
                                      .columns = 3, .side = 40, .style = { .title = "t" }),
                     CR_OK);
    assert_svg(&png);
    cr_text_free(&png);
}

static void one_picture_keeps_its_pixels_or_shrinks(void **state)
{
    (void)state;
    static uint8_t pixels[300 * 200];
    const cr_plot_picture picture = { pixels, 300, 200, 1, NULL, false };
    cr_text png = { 0 };
    assert_int_equal(cr_plot_picture_png(&picture, &png), CR_OK);
    assert_png(png.data, png.length, 300, 200);
    cr_text_free(&png);
    assert_int_equal(cr_picture_png(&picture, 150, &png), CR_OK);
    assert_png(png.data, png.length, 150, 100);
    cr_text_free(&png);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    uint8_t pixel = 0;
    double value = 1;
    int64_t cell = 1;
    cr_text png = { 0 };
    cr_plot_sink sink = cr_plot_to_png(&png);
    cr_plot_series series = { .y = &value, .count = 1 };
    cr_plot_panel panel = { .series = &series, .series_count = 1 };
    cr_plot_picture picture = { &pixel, 1, 1, 2, NULL, false };
    cr_plot_lines(sink, .panels = NULL);
    assert_error("0 panels");
    cr_plot_lines(sink, .panels = &panel, .panel_count = 17);
    assert_error("17 panels");
    cr_plot_lines((cr_plot_sink){ 0 }, .panels = &panel);
    assert_error("neither a file nor a text");
    cr_plot_lines(cr_plot_to_file("chart.jpg"), .panels = &panel);
    assert_error("chart.jpg must end in .png or .svg");
    cr_plot_lines(sink, .panels = &panel, .style = { .width = 40 });
    assert_error("40 x 380 pixels");
    cr_plot_lines(sink, .panels = &panel, .style = { .scale = 1000 });
    assert_error("scale 1000");
    cr_plot_lines(sink, .panels = &panel, .style = { .scale = NAN });
    assert_error("scale");
    panel.y_min = 2;
    panel.y_max = 1;
    cr_plot_lines(sink, .panels = &panel);
    assert_error("y_min 2");
    series.y = NULL;
    cr_plot_lines(sink, .panels = &panel);
    assert_error("series 0 has no values");
    cr_plot_bars(sink, .values = &value, .count = 0);
    assert_error("0 values");
    cr_plot_confusion(sink, .matrix = &cell, .classes = 1001);
    assert_error("1001 classes");
    cr_plot_pictures(sink, .pictures = &picture, .count = 1);
    assert_error("2 channels");
    static cr_plot_picture many[1000];
    cr_plot_pictures(sink, .pictures = many, .count = 1000, .columns = 1, .side = 96);
    assert_error("too large");
    assert_int_equal(png.length, 0);
}

static void files_are_written_whole_or_not_at_all(void **state)
{
    (void)state;
    char folder[] = "/tmp/cresset-plot-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = cr_path_join(folder, "chart.svg");
    double value = 1;
    assert_int_equal(cr_plot_bars(cr_plot_to_file(path), .values = &value, .count = 1), CR_OK);
    size_t size = 0;
    char *data = cr_file_read(path, 0, &size);
    assert_non_null(data);
    assert_memory_equal(data, "<?xml", 5);
    assert_string_equal(data + size - 7, "</svg>\n");
    cr_free(data);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    cr_plot_bars(cr_plot_to_file(path), .values = &value, .count = 1);
    assert_error("chart.svg");
    cr_free(path);
}

static void assert_both_forms(cr_status (*draw)(cr_plot_sink sink))
{
    cr_text png = { 0 }, svg = { 0 };
    assert_int_equal(draw(cr_plot_to_png(&png)), CR_OK);
    assert_int_equal(draw(cr_plot_to_svg(&svg)), CR_OK);
    assert_no_error();
    assert_png(png.data, png.length, 640, 600);
    assert_svg(&svg);
    cr_text_free(&png);
    cr_text_free(&svg);
}

enum { RANKED = 60, RANKED_CLASSES = 12 };
static int64_t ranked_truth[RANKED];
static float ranked_scores[RANKED * RANKED_CLASSES];
static int64_t ranked_classes;
static bool ranked_precision;

static cr_status draw_ranking(cr_plot_sink sink)
{
    return cr_plot_ranking(sink, .truth = ranked_truth, .probabilities = ranked_scores,
                           .count = RANKED, .classes = ranked_classes,
                           .precision = ranked_precision);
}

/* Two classes, more than have colours, one that never occurs, ties, one class only. */
static void ranking_of_any_classes(void **state)
{
    (void)state;
    for (ranked_classes = 2; ranked_classes <= RANKED_CLASSES; ranked_classes += 5) {
        for (int k = 0; k < 6; k++) {
            ranked_precision = k % 2;
            for (int i = 0; i < RANKED; i++)
                ranked_truth[i] = k < 4 ? i * 7 % (ranked_classes - k / 2 % 2) : 0;
            for (int i = 0; i < RANKED * RANKED_CLASSES; i++)
                ranked_scores[i] = k < 2 ? (float)(i * 37 % 101) / 101 : 0.5f;
            assert_both_forms(draw_ranking);
        }
    }
}

static cr_status draw_reliability(cr_plot_sink sink)
{
    static const cr_calibration_bin bins[4] = {
        { 0, NAN, NAN }, { 5, 0.4, 0.2 }, { 1, 0.6, 1 }, { 90, 0.97, 0.93 }
    };
    return cr_plot_reliability(sink, .bins = bins, .bin_count = 4);
}

static void reliability_with_empty_bins(void **state)
{
    (void)state;
    assert_both_forms(draw_reliability);
    cr_text png = { 0 };
    assert_int_not_equal(cr_plot_reliability(cr_plot_to_png(&png)), CR_OK);
    assert_error("0 bins");
    assert_int_not_equal(cr_plot_ranking(cr_plot_to_png(&png), .classes = 2), CR_OK);
    assert_error("0 samples");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_usual_data),
        cmocka_unit_test(lines_of_degenerate_data),
        cmocka_unit_test(long_curves_make_small_files),
        cmocka_unit_test(panels_and_scale_give_the_size),
        cmocka_unit_test(strings_that_are_not_utf8_are_drawn),
        cmocka_unit_test(clean_text_is_utf8_and_fits),
        cmocka_unit_test(ticks_are_round),
        cmocka_unit_test(confusion_of_any_size),
        cmocka_unit_test(charts_show_their_data),
        cmocka_unit_test(bars_of_any_values),
        cmocka_unit_test(contact_sheet_of_mixed_pictures),
        cmocka_unit_test(one_picture_keeps_its_pixels_or_shrinks),
        cmocka_unit_test(ranking_of_any_classes),
        cmocka_unit_test(reliability_with_empty_bins),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(files_are_written_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
