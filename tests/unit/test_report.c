/* The report of a run: what is given is shown, what is missing is left out, nothing a caller passes
 * becomes markup, nothing is asked for over the network, and a failed allocation leaves no trace.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/report.h"

enum { EPOCHS = 3, CLASSES = 3, SIDE = 4 };

static const double losses[EPOCHS] = { 2, NAN, 1 };
static const double rates[EPOCHS] = { 0.1, 0.2, 0.05 };
static const int64_t confusion[CLASSES * CLASSES] = { 5, 1, 0, 2, 7, 0, 0, 0, 1234 };
static const char *const names[CLASSES] = { "cat", "dog <b>", "bird & co" };
static const uint8_t pixels[SIDE * SIDE * 3];
static const cr_report_entry settings[] = { { "lr", "0.1" }, { "<i>", "\"'&" } };

static cr_report full_report(const cr_report_mistake *mistakes, int64_t count)
{
    return (cr_report){
        .title = "run <script>alert(1)</script>",
        .model = "resnet18",
        .data = "fashion & more",
        .command = "cresset train --lr '0.1'",
        .version = "0.1.0",
        .machine = "a processor\xFF",
        .parameters = 11172810,
        .peak_memory = 5 << 20,
        .seconds = 3725,
        .seed = 18446744073709551615u,
        .best_epoch = 3,
        .best_accuracy = 0.925,
        .test_accuracy = 0.92,
        .epochs = EPOCHS,
        .train_loss = losses,
        .validation_loss = losses,
        .train_accuracy = rates,
        .validation_accuracy = rates,
        .learning_rate = rates,
        .confusion = confusion,
        .classes = CLASSES,
        .class_names = names,
        .evaluated_on = "1,249 images",
        .mistakes = mistakes,
        .mistake_count = count,
        .settings = settings,
        .setting_count = 2,
    };
}

static cr_report_mistake a_mistake(void)
{
    return (cr_report_mistake){ .picture = { pixels, SIDE, SIDE, 3, NULL, false },
                                .truth = 1,
                                .predicted = 2,
                                .probability = 0.987,
                                .index = 42 };
}

static cr_text page_of(const cr_report *report)
{
    cr_text html = { 0 };
    if (cr_report_html(report, &html) != CR_OK)
        fail_msg("unexpected error: %s", cr_error_message());
    return html;
}

static void assert_has(const cr_text *html, const char *part)
{
    if (strstr(html->data, part) == NULL)
        fail_msg("the page lacks \"%s\"", part);
}

static void assert_lacks(const cr_text *html, const char *part)
{
    if (strstr(html->data, part) != NULL)
        fail_msg("the page has \"%s\"", part);
}

static void assert_error(const char *part)
{
    assert_true(cr_failed());
    if (strstr(cr_error_message(), part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", cr_error_message(), part);
    cr_error_clear();
}

static void everything_given_is_shown(void **state)
{
    (void)state;
    cr_report_mistake mistake = a_mistake();
    cr_report report = full_report(&mistake, 1);
    cr_text html = page_of(&report);
    static const char *const parts[] = {
        "resnet18",
        "11,172,810",
        "5.0 MiB",
        "1 h 02 min",
        "18446744073709551615",
        "92.50 %",
        "92.00 %",
        "1,249 images",
        "epoch 3",
        "<h2>Curves</h2>",
        ">Loss<",
        ">Accuracy<",
        ">Learning rate<",
        "<h2>Confusion matrix</h2>",
        "<h2>Scores by class</h2>",
        "<td>1.000</td><td>1.000</td><td>1.000</td><td>1,234</td>",
        "macro avg",
        "weighted avg",
        "<h2>Most confident mistakes</h2>",
        "98.7",
        "sample 42",
        "data:image/png;base64,iVBORw0KGgo",
        "<h2>Settings</h2>",
        "<code>0.1</code>",
        "prefers-color-scheme:dark",
        "width=device-width",
        "</html>",
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        assert_has(&html, parts[i]);
    cr_text_free(&html);
}

static void nothing_given_becomes_markup(void **state)
{
    (void)state;
    cr_report_mistake mistake = a_mistake();
    cr_report report = full_report(&mistake, 1);
    cr_text html = page_of(&report);
    assert_lacks(&html, "<script");
    assert_lacks(&html, "<b>\n");
    assert_lacks(&html, "dog <b>");
    assert_lacks(&html, "<i>");
    assert_lacks(&html, "bird & co");
    assert_lacks(&html, "\xFF");
    assert_has(&html, "run &lt;script&gt;alert(1)&lt;/script&gt;</h1>");
    assert_has(&html, "dog &lt;b&gt;");
    assert_has(&html, "&quot;&#39;&amp;");
    assert_has(&html, "a processor\xEF\xBF\xBD");
    cr_text_free(&html);
}

/* The only addresses are the names of the two XML vocabularies. */
static void nothing_is_asked_for_over_the_network(void **state)
{
    (void)state;
    cr_report_mistake mistake = a_mistake();
    cr_report report = full_report(&mistake, 1);
    cr_text html = page_of(&report);
    assert_has(&html, "default-src 'none'");
    for (const char *at = strstr(html.data, "http"); at != NULL; at = strstr(at + 1, "http")) {
        bool known = strncmp(at, "http://www.w3.org/2000/svg", 26) == 0 ||
                     strncmp(at, "http://www.w3.org/1999/xlink", 28) == 0 ||
                     strncmp(at, "http-equiv", 10) == 0;
        assert_true(known);
    }
    assert_lacks(&html, "src=\"/");
    assert_lacks(&html, "@import");
    cr_text_free(&html);
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Glyphs of one chart must not be taken for those of another. */
static void names_inside_charts_differ(void **state)
{
    (void)state;
    enum { MOST = 4000 };
    static char *ids[MOST];
    int count = 0;
    cr_report report = full_report(NULL, 0);
    cr_text html = page_of(&report);
    for (char *at = strstr(html.data, " id=\""); at != NULL; at = strstr(at + 1, " id=\"")) {
        assert_true(count < MOST);
        ids[count++] = at + 5;
    }
    assert_true(count > 50);
    for (int i = 0; i < count; i++)
        *strchr(ids[i], '"') = '\0';
    qsort(ids, (size_t)count, sizeof(*ids), compare_strings);
    for (int i = 1; i < count; i++)
        assert_string_not_equal(ids[i - 1], ids[i]);
    cr_text_free(&html);
}

static void what_is_missing_is_left_out(void **state)
{
    (void)state;
    cr_report report = { .no_seed = true };
    cr_text html = page_of(&report);
    assert_has(&html, "<h1>Training run</h1>");
    assert_lacks(&html, "<h2>");
    assert_lacks(&html, "<svg");
    assert_lacks(&html, "Seed");
    assert_lacks(&html, "tile\"");
    cr_text_free(&html);

    report = (cr_report){ .epochs = EPOCHS, .learning_rate = rates };
    html = page_of(&report);
    assert_has(&html, ">Learning rate<");
    assert_has(&html, "Seed</th><td>0<");
    assert_lacks(&html, ">Loss<");
    assert_lacks(&html, "Confusion");
    cr_text_free(&html);
}

static void one_epoch_without_finite_values_and_many_classes(void **state)
{
    (void)state;
    static int64_t matrix[100 * 100];
    const double loss = NAN;
    for (int i = 0; i < 100; i++)
        matrix[i * 101] = i;
    cr_report report = { .epochs = 1, .train_loss = &loss, .confusion = matrix, .classes = 100 };
    cr_text html = page_of(&report);
    assert_has(&html, "<th scope=\"row\">99</th>");
    assert_true(html.length < 1000000);
    cr_text_free(&html);
}

static void large_pictures_are_shrunk_and_many_are_cut(void **state)
{
    (void)state;
    enum { LARGE = 600, MANY = CR_REPORT_MAX_MISTAKES + 30 };
    static uint8_t noise[LARGE * LARGE];
    static cr_report_mistake mistakes[MANY];
    unsigned value = 1;
    for (int i = 0; i < LARGE * LARGE; i++)
        noise[i] = (uint8_t)((value = value * 1664525u + 1013904223u) >> 24);
    for (int i = 0; i < MANY; i++)
        mistakes[i] = a_mistake();
    mistakes[0].picture = (cr_plot_picture){ noise, LARGE, LARGE, 1, NULL, false };
    cr_report report = { .mistakes = mistakes, .mistake_count = MANY };
    cr_text html = page_of(&report);
    int shown = 0;
    for (const char *at = strstr(html.data, "<img"); at != NULL; at = strstr(at + 1, "<img"))
        shown++;
    assert_int_equal(shown, CR_REPORT_MAX_MISTAKES);
    assert_true(html.length < LARGE * LARGE);
    cr_text_free(&html);
}

static void bad_reports_are_refused(void **state)
{
    (void)state;
    cr_text html = { 0 };
    cr_report_mistake mistake = a_mistake();
    cr_report report = { .mistake_count = 2 };
    cr_report_html(&report, &html);
    assert_error("2 mistakes");
    report = (cr_report){ .setting_count = -1 };
    cr_report_html(&report, &html);
    assert_error("-1 settings");
    report = (cr_report){ .epochs = -1 };
    cr_report_html(&report, &html);
    assert_error("-1 epochs");
    mistake.truth = -1;
    report = (cr_report){ .mistakes = &mistake, .mistake_count = 1 };
    cr_report_html(&report, &html);
    assert_error("negative class");
    assert_int_equal(html.length, 0);
    mistake = a_mistake();
    mistake.picture.channels = 5;
    cr_report_html(&report, &html);
    assert_error("5 channels");
    cr_text_free(&html);
}

static bool remove_file(const char *folder, const char *name)
{
    char *path = cr_path_join(folder, name);
    bool removed = unlink(path) == 0;
    cr_free(path);
    return removed;
}

/* Both files of a chart. */
static bool remove_chart(const char *folder, const char *name)
{
    char png[64], svg[64];
    snprintf(png, sizeof png, "plots/%s.png", name);
    snprintf(svg, sizeof svg, "plots/%s.svg", name);
    return remove_file(folder, png) && remove_file(folder, svg);
}

static const int64_t truth[] = { 0, 1, 2, 0 };
static const float probabilities[] = { .7f, .2f, .1f, .1f, .5f, .4f, .3f, .3f, .4f, .2f, .6f, .2f };

static void scores_curves_and_findings_are_shown(void **state)
{
    (void)state;
    cr_score_args args = { .truth = truth,
                           .probabilities = probabilities,
                           .count = 4,
                           .classes = CLASSES,
                           .bootstrap = { .replicates = 20 } };
    cr_classifier_scores scores;
    assert_int_equal(cr_score_classifier(args, &scores), CR_OK);
    cr_report_mistake mistake = a_mistake();
    mistake.explained = mistake.picture;
    cr_plot_series series = { .y = losses, .count = EPOCHS };
    cr_plot_panel panel = { .x_label = "epoch", .series = &series, .series_count = 1 };
    const cr_report_finding findings[] = {
        { .question = "Is <it> good?",
          .answer = "It is 0.5 & no more.",
          .advice = "Add <more>.",
          .verdict = CR_REPORT_BAD,
          .panel = &panel },
        { .question = "Which?",
          .answer = "These.",
          .bar_names = names,
          .bars = rates,
          .bar_count = 3,
          .bars_are_fractions = true,
          .pictures = &mistake,
          .picture_count = 1 },
    };
    cr_report report = full_report(&mistake, 1);
    report.scores = &scores;
    report.truth = truth;
    report.probabilities = probabilities;
    report.samples = 4;
    report.findings = findings;
    report.finding_count = 2;
    cr_text html = page_of(&report);
    static const char *const parts[] = {
        "<h2>Scores</h2>",
        "balanced accuracy</th><td>0.8333</td>",
        "<h2>Ranking and calibration",
        ">ROC</figcaption>",
        ">Precision and recall<",
        ">Reliability<",
        "<h2>Analysis of errors",
        "finding bad",
        "Is &lt;it&gt; good?",
        "It is 0.5 &amp; no more.",
        "Add &lt;more&gt;.",
        "finding good",
        "where the model looked",
        "Grad-CAM",
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        assert_has(&html, parts[i]);
    assert_lacks(&html, "top-5");
    cr_text_free(&html);
    char folder[] = "/tmp/cresset-report-XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(cr_report_write(&report, folder), CR_OK);
    static const char *const charts[] = {
        "curves",     "confusion_matrix", "roc", "precision_recall", "confusion_matrix_normalized",
        "reliability"
    };
    for (int i = 0; i < 6; i++)
        assert_true(remove_chart(folder, charts[i]));
    assert_true(remove_file(folder, "report.html"));
    char *plots = cr_path_join(folder, "plots");
    assert_int_equal(rmdir(plots), 0);
    assert_int_equal(rmdir(folder), 0);
    cr_free(plots);
    cr_classifier_scores_free(&scores);
}

static void folder_holds_page_and_charts(void **state)
{
    (void)state;
    char folder[] = "/tmp/cresset-report-XXXXXX";
    assert_non_null(mkdtemp(folder));
    cr_report report = full_report(NULL, 0);
    assert_int_equal(cr_report_write(&report, folder), CR_OK);
    assert_true(remove_file(folder, "report.html"));
    static const char *const charts[] = { "curves", "confusion_matrix",
                                          "confusion_matrix_normalized" };
    for (int i = 0; i < 3; i++)
        assert_true(remove_chart(folder, charts[i]));
    report = (cr_report){ .title = "nothing yet" };
    assert_int_equal(cr_report_write(&report, folder), CR_OK);
    assert_true(remove_file(folder, "report.html"));
    char *plots = cr_path_join(folder, "plots");
    assert_int_equal(rmdir(plots), 0); /* empty: no chart without data, no file left beside */
    cr_free(plots);
    assert_int_equal(rmdir(folder), 0);
    assert_int_not_equal(cr_report_write(&report, "/proc/no-such-folder"), CR_OK);
    assert_error("/proc/no-such-folder");
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    cr_report_mistake mistake = a_mistake();
    cr_report report = full_report(&mistake, 1);
    uint64_t before = cr_memory_get_stats().small;
    for (int64_t successes = 0;; successes++) {
        cr_text html = { 0 };
        cr_memory_fail_after(successes);
        cr_status status = cr_report_html(&report, &html);
        cr_memory_fail_after(-1);
        cr_text_free(&html);
        assert_int_equal(cr_failed(), status != CR_OK);
        assert_int_equal(cr_memory_get_stats().small, before);
        cr_error_clear();
        if (status == CR_OK)
            break;
        assert_true(successes < 2000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_given_is_shown),
        cmocka_unit_test(nothing_given_becomes_markup),
        cmocka_unit_test(nothing_is_asked_for_over_the_network),
        cmocka_unit_test(names_inside_charts_differ),
        cmocka_unit_test(what_is_missing_is_left_out),
        cmocka_unit_test(one_epoch_without_finite_values_and_many_classes),
        cmocka_unit_test(large_pictures_are_shrunk_and_many_are_cut),
        cmocka_unit_test(bad_reports_are_refused),
        cmocka_unit_test(scores_curves_and_findings_are_shown),
        cmocka_unit_test(folder_holds_page_and_charts),
        cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
