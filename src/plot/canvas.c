/* A canvas: a cairo image or SVG surface whose bytes end in a file or a text, the two themes, and
 * text that can be trusted to be UTF-8 (cairo stops drawing for good at the first byte that is
 * not). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cairo-svg.h>

#include "canvas.h"
#include "cresset/file.h"
#include "cresset/memory.h"

enum { TEXT_BYTES = 256 }; /* the longest label drawn */

static const double TITLE_SIZE = 16;
static const double TITLE_HEIGHT = 36;

#define RGB(hex)                                                                                   \
    {                                                                                              \
        ((hex) >> 16 & 0xFF) / 255.0, ((hex) >> 8 & 0xFF) / 255.0, ((hex)&0xFF) / 255.0            \
    }

/* Series colours after Okabe and Ito (https://jfly.uni-koeln.de/color/), lightened for the dark
 * theme and without their yellow, which is lost on white. */
static const cr_theme light_theme = {
    .background = RGB(0xFFFFFF),
    .text = RGB(0x1F2328),
    .muted = RGB(0x59636E),
    .grid = RGB(0xE4E8EC),
    .axis = RGB(0x8C959F),
    .wrong = RGB(0xB8390E),
    .heat_low = RGB(0xF5F8FC),
    .heat_middle = RGB(0x5B9BD0),
    .heat_high = RGB(0x08386F),
    .series = { RGB(0x0072B2), RGB(0xD55E00), RGB(0x009E73), RGB(0xB5579A), RGB(0xE69F00),
                RGB(0x3FA7E0), RGB(0x6B6B6B), RGB(0x8C510A) },
};

static const cr_theme dark_theme = {
    .background = RGB(0x15191F),
    .text = RGB(0xE6EAEF),
    .muted = RGB(0x9DA7B3),
    .grid = RGB(0x2A313A),
    .axis = RGB(0x5B6672),
    .wrong = RGB(0xFF9A73),
    .heat_low = RGB(0x1D232B),
    .heat_middle = RGB(0x2F73AE),
    .heat_high = RGB(0xB5DCFF),
    .series = { RGB(0x58B1EE), RGB(0xFF9351), RGB(0x2DC79A), RGB(0xE59AC8), RGB(0xF0BC42),
                RGB(0x9BD3F7), RGB(0xB3B9C0), RGB(0xC9975B) },
};

cr_plot_sink cr_plot_to_file(const char *path)
{
    return (cr_plot_sink){ .path = path };
}

cr_plot_sink cr_plot_to_png(cr_text *text)
{
    return (cr_plot_sink){ .text = text };
}

cr_plot_sink cr_plot_to_svg(cr_text *text)
{
    return (cr_plot_sink){ .text = text, .svg = true };
}

static bool ends_with(const char *string, const char *ending)
{
    size_t length = strlen(string);
    size_t tail = strlen(ending);
    return length >= tail && strcmp(string + length - tail, ending) == 0;
}

static cr_status check_sink(cr_plot_sink sink, bool *svg)
{
    if (sink.path == NULL && sink.text == NULL)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "chart: neither a file nor a text to write to was given");
    *svg = sink.path != NULL ? ends_with(sink.path, ".svg") : sink.svg;
    if (sink.path != NULL && !*svg && !ends_with(sink.path, ".png"))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "chart: the name of file %s must end in .png or .svg", sink.path);
    return CR_OK;
}

static cr_status cairo_error(cairo_status_t status)
{
    cr_status kind = status == CAIRO_STATUS_NO_MEMORY ? CR_ERROR_MEMORY : CR_ERROR_IO;
    return cr_error_set(kind, "chart: drawing failed: %s", cairo_status_to_string(status));
}

static cairo_status_t append_bytes(void *text, const unsigned char *data, unsigned int length)
{
    cr_text_append_bytes(text, data, length);
    return cr_failed() ? CAIRO_STATUS_WRITE_ERROR : CAIRO_STATUS_SUCCESS;
}

double cr_canvas_title_height(const cr_plot_style *style)
{
    return style->title != NULL ? TITLE_HEIGHT : 0;
}

static void paint_background(cr_canvas *canvas, const cr_plot_style *style)
{
    if (!style->transparent) {
        cr_canvas_color(canvas, canvas->theme->background);
        cairo_paint(canvas->cairo);
    }
    canvas->top = cr_canvas_title_height(style);
    if (style->title != NULL) {
        cr_font font = { .size = TITLE_SIZE,
                         .color = canvas->theme->text,
                         .bold = true,
                         .limit = canvas->width - 32 };
        cr_canvas_text(canvas, 16, 26, font, style->title);
    }
}

static void set_font_options(cairo_t *cairo)
{
    /* Unhinted metrics, so that a text is as wide in an SVG as in a PNG of any scale. */
    cairo_font_options_t *options = cairo_font_options_create();
    cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
    cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
    cairo_set_font_options(cairo, options);
    cairo_font_options_destroy(options);
}

cr_status cr_canvas_open(cr_canvas *canvas, cr_plot_sink sink, const cr_plot_style *style,
                         int width, int height)
{
    *canvas = (cr_canvas){ .sink = sink, .theme = style->dark ? &dark_theme : &light_theme };
    if (cr_failed() || check_sink(sink, &canvas->svg) != CR_OK)
        return cr_error_status();
    width = style->width != 0 ? style->width : width;
    height = style->height != 0 ? style->height : height;
    double scale = style->scale != 0 && !canvas->svg ? style->scale : 1;
    if (width < 64 || height < 64 || !(scale > 0) || width * scale > CR_PLOT_MAX_SIDE ||
        height * scale > CR_PLOT_MAX_SIDE)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "chart: %d x %d pixels at scale %g, but each side must be 64 to %d",
                            width, height, scale, CR_PLOT_MAX_SIDE);
    canvas->width = width;
    canvas->height = height;
    if (canvas->svg)
        canvas->surface =
            cairo_svg_surface_create_for_stream(append_bytes, &canvas->bytes, width, height);
    else
        canvas->surface = cairo_image_surface_create(style->transparent ? CAIRO_FORMAT_ARGB32
                                                                        : CAIRO_FORMAT_RGB24,
                                                     (int)(width * scale), (int)(height * scale));
    canvas->cairo = cairo_create(canvas->surface);
    cairo_status_t status = cairo_status(canvas->cairo);
    if (status != CAIRO_STATUS_SUCCESS) {
        cairo_error(status);
        return cr_canvas_close(canvas);
    }
    cairo_scale(canvas->cairo, scale, scale);
    set_font_options(canvas->cairo);
    paint_background(canvas, style);
    return CR_OK;
}

static void finish(cr_canvas *canvas)
{
    cairo_status_t status = cairo_status(canvas->cairo);
    if (status == CAIRO_STATUS_SUCCESS && !canvas->svg)
        status = cairo_surface_write_to_png_stream(canvas->surface, append_bytes, &canvas->bytes);
    cairo_surface_finish(canvas->surface);
    if (status == CAIRO_STATUS_SUCCESS)
        status = cairo_surface_status(canvas->surface);
    if (status != CAIRO_STATUS_SUCCESS && !cr_failed())
        cairo_error(status);
    if (cr_failed())
        return;
    if (canvas->sink.path != NULL)
        cr_file_replace(canvas->sink.path, canvas->bytes.data, canvas->bytes.length);
    else
        cr_text_append_bytes(canvas->sink.text, canvas->bytes.data, canvas->bytes.length);
}

cr_status cr_canvas_close(cr_canvas *canvas)
{
    if (!cr_failed())
        finish(canvas);
    cairo_destroy(canvas->cairo);
    /* The stream of an SVG is still written to while its surface is destroyed. */
    cairo_surface_destroy(canvas->surface);
    cr_text_free(&canvas->bytes);
    return cr_error_status();
}

void cr_canvas_color(cr_canvas *canvas, cr_color color)
{
    cairo_set_source_rgb(canvas->cairo, color.red, color.green, color.blue);
}

void cr_canvas_line(cr_canvas *canvas, double x0, double y0, double x1, double y1)
{
    cairo_move_to(canvas->cairo, x0, y0);
    cairo_line_to(canvas->cairo, x1, y1);
    cairo_stroke(canvas->cairo);
}

/* The length of the UTF-8 sequence at s if it is a legal one, else 0. */
static size_t sequence_length(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    size_t length = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    }
    bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xED && s[1] >= 0xA0;
    bool too_large = s[0] == 0xF4 && s[1] >= 0x90;
    return overlong || surrogate || too_large ? 0 : length;
}

const char *cr_utf8_clean(char *clean, size_t size, const char *string)
{
    const unsigned char *s = (const unsigned char *)string;
    size_t used = 0;
    while (*s != '\0' && used + 4 < size) {
        size_t length = sequence_length(s);
        if (length == 0) {
            memcpy(clean + used, "\xEF\xBF\xBD", 3);
            used += 3;
            s++;
            continue;
        }
        memcpy(clean + used, s, length);
        if (*s < 0x20 || *s == 0x7F)
            clean[used] = ' ';
        used += length;
        s += length;
    }
    clean[used] = '\0';
    return (const char *)s;
}

static double measure(cairo_t *cairo, const char *clean)
{
    cairo_text_extents_t extents;
    cairo_text_extents(cairo, clean, &extents);
    return extents.x_advance;
}

/* Takes characters off the end until the text and its "…" fit. */
static void cut_to_width(cairo_t *cairo, char clean[TEXT_BYTES], double limit)
{
    size_t length = strlen(clean);
    if (measure(cairo, clean) <= limit)
        return;
    while (length > 0) {
        do
            length--;
        while (length > 0 && ((unsigned char)clean[length] & 0xC0) == 0x80);
        if (length + 4 > TEXT_BYTES)
            continue;
        memcpy(clean + length, "\xE2\x80\xA6", 4);
        if (measure(cairo, clean) <= limit)
            return;
    }
}

static void select_font(cr_canvas *canvas, double size, bool bold)
{
    cairo_select_font_face(canvas->cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(canvas->cairo, size);
}

void cr_canvas_text(cr_canvas *canvas, double x, double y, cr_font font, const char *string)
{
    char clean[TEXT_BYTES];
    cr_utf8_clean(clean, sizeof(clean), string);
    select_font(canvas, font.size, font.bold);
    if (font.limit > 0)
        cut_to_width(canvas->cairo, clean, font.limit);
    cr_canvas_color(canvas, font.color);
    cairo_save(canvas->cairo);
    cairo_translate(canvas->cairo, x, y);
    if (font.turn != 0)
        cairo_rotate(canvas->cairo, font.turn);
    cairo_move_to(canvas->cairo, -font.align * measure(canvas->cairo, clean), 0);
    cairo_show_text(canvas->cairo, clean);
    cairo_restore(canvas->cairo);
    cairo_new_path(canvas->cairo);
}

double cr_canvas_text_width(cr_canvas *canvas, double size, const char *string)
{
    char clean[TEXT_BYTES];
    cr_utf8_clean(clean, sizeof(clean), string);
    select_font(canvas, size, false);
    return measure(canvas->cairo, clean);
}

void cr_canvas_pixels(cr_canvas *canvas, const uint32_t *rgb, int width, int height, double x,
                      double y, double drawn_width, double drawn_height)
{
    cairo_surface_t *image = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    if (cairo_surface_status(image) == CAIRO_STATUS_SUCCESS) {
        unsigned char *pixels = cairo_image_surface_get_data(image);
        size_t stride = (size_t)cairo_image_surface_get_stride(image);
        for (int row = 0; row < height; row++)
            memcpy(pixels + (size_t)row * stride, rgb + (size_t)row * (size_t)width,
                   (size_t)width * sizeof(*rgb));
        cairo_surface_mark_dirty(image);
    }
    cairo_save(canvas->cairo);
    cairo_translate(canvas->cairo, x, y);
    cairo_scale(canvas->cairo, drawn_width / width, drawn_height / height);
    cairo_set_source_surface(canvas->cairo, image, 0, 0);
    cairo_filter_t filter = drawn_width >= width ? CAIRO_FILTER_NEAREST : CAIRO_FILTER_GOOD;
    cairo_pattern_set_filter(cairo_get_source(canvas->cairo), filter);
    cairo_rectangle(canvas->cairo, 0, 0, width, height);
    cairo_fill(canvas->cairo);
    cairo_restore(canvas->cairo);
    cairo_surface_destroy(image); /* an error in it has passed to the canvas's cairo */
}

static double mix(double a, double b, double share)
{
    return a + (b - a) * share;
}

cr_color cr_color_mix(cr_color a, cr_color b, double share)
{
    return (cr_color){ mix(a.red, b.red, share), mix(a.green, b.green, share),
                       mix(a.blue, b.blue, share) };
}

cr_color cr_theme_heat(const cr_theme *theme, double value)
{
    value = fmin(fmax(value, 0), 1);
    if (value < 0.5)
        return cr_color_mix(theme->heat_low, theme->heat_middle, 2 * value);
    return cr_color_mix(theme->heat_middle, theme->heat_high, 2 * value - 1);
}

double cr_color_luminance(cr_color color)
{
    return 0.2126 * color.red + 0.7152 * color.green + 0.0722 * color.blue;
}
