/* The page of a report, section by section; each is left out when its data are missing. All strings
 * of the caller pass cr_html_text. Each chart is drawn twice, for light and for dark readers, and
 * the style sheet shows one of them. */
#include <math.h>
#include <stdio.h>

#include "canvas.h"
#include "cresset/memory.h"

enum {
    PICTURE_SIDE = 224,      /* pixels that larger pictures are shrunk to */
    SMALL_SIDE = 64,         /* pictures up to this are shown with square pixels */
    MAX_CLASSES_BESIDE = 16, /* matrix and table stand side by side up to this */
    NUMBER_SIZE = 40
};

typedef struct cr_report_page page;

static void number_with_commas(char buffer[NUMBER_SIZE], int64_t number)
{
    char digits[NUMBER_SIZE];
    int length = snprintf(digits, sizeof(digits), "%lld", (long long)number);
    int at = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-')
            buffer[at++] = ',';
        buffer[at++] = digits[i];
    }
    buffer[at] = '\0';
}

static void duration(char buffer[NUMBER_SIZE], double seconds)
{
    double whole = floor(seconds + 0.5);
    if (seconds < 60)
        snprintf(buffer, NUMBER_SIZE, "%.1f s", seconds);
    else if (seconds < 3600)
        snprintf(buffer, NUMBER_SIZE, "%.0f min %02.0f s", floor(whole / 60), fmod(whole, 60));
    else
        snprintf(buffer, NUMBER_SIZE, "%.0f h %02.0f min", floor(whole / 3600),
                 floor(fmod(whole, 3600) / 60));
}

static void byte_count(char buffer[NUMBER_SIZE], int64_t bytes)
{
    double mebibytes = (double)bytes / (1024.0 * 1024.0);
    if (mebibytes < 1024)
        snprintf(buffer, NUMBER_SIZE, "%.*f MiB", mebibytes < 10 ? 1 : 0, mebibytes);
    else
        snprintf(buffer, NUMBER_SIZE, "%.2f GiB", mebibytes / 1024);
}

static void tile(page *p, const char *value, const char *words)
{
    cr_text_append(p->html, "<div class=\"tile\"><b>");
    cr_html_text(p->html, value);
    cr_text_append(p->html, "</b><span>");
    cr_html_text(p->html, words);
    cr_text_append(p->html, "</span></div>\n");
}

static void write_tiles(page *p)
{
    const cr_report *r = p->report;
    char value[NUMBER_SIZE];
    char words[NUMBER_SIZE + 32];
    bool any = r->test_accuracy > 0 || r->best_accuracy > 0 || r->seconds > 0 || r->parameters > 0;
    if (!any)
        return;
    cr_text_append(p->html, "<div class=\"tiles\">\n");
    if (r->test_accuracy > 0) {
        snprintf(value, sizeof(value), "%.2f %%", 100 * r->test_accuracy);
        tile(p, value, r->marks != NULL ? "test labels that are right" : "test accuracy");
    }
    if (r->test_average_precision > 0) {
        snprintf(value, sizeof(value), "%.3f", r->test_average_precision);
        tile(p, value, "test average precision (mAP)");
    }
    if (r->best_accuracy > 0) {
        snprintf(value, sizeof(value), "%.2f %%", 100 * r->best_accuracy);
        snprintf(words, sizeof(words), "best validation accuracy");
        if (r->best_epoch > 0)
            snprintf(words, sizeof(words), "best accuracy, epoch %lld", (long long)r->best_epoch);
        tile(p, value, words);
    }
    if (r->seconds > 0) {
        duration(value, r->seconds);
        tile(p, value, "training time");
    }
    if (r->parameters > 0) {
        number_with_commas(value, r->parameters);
        tile(p, value, "parameters");
    }
    cr_text_append(p->html, "</div>\n");
}

static void fact(page *p, const char *name, const char *value, bool code)
{
    if (value == NULL)
        return;
    cr_text_append(p->html, "<tr><th scope=\"row\">");
    cr_html_text(p->html, name != NULL ? name : "");
    cr_text_append(p->html, code ? "</th><td><code>" : "</th><td>");
    cr_html_text(p->html, value);
    cr_text_append(p->html, code ? "</code></td></tr>\n" : "</td></tr>\n");
}

static void write_summary(page *p)
{
    const cr_report *r = p->report;
    char value[NUMBER_SIZE];
    cr_text_append(p->html, "<table class=\"facts\"><tbody>\n");
    fact(p, "Model", r->model, false);
    fact(p, "Data", r->data, false);
    if (r->epochs > 0) {
        number_with_commas(value, r->epochs);
        fact(p, "Epochs", value, false);
    }
    if (r->best_epoch > 0) {
        number_with_commas(value, r->best_epoch);
        fact(p, "Best epoch", value, false);
    }
    if (!r->no_seed) {
        snprintf(value, sizeof(value), "%llu", (unsigned long long)r->seed);
        fact(p, "Seed", value, false);
    }
    fact(p, "Machine", r->machine, false);
    if (r->peak_memory > 0) {
        byte_count(value, r->peak_memory);
        fact(p, "Peak memory", value, false);
    }
    fact(p, "Version", r->version, false);
    for (int64_t i = 0; i < r->fact_count; i++)
        fact(p, r->facts[i].name, r->facts[i].value, false);
    fact(p, "Command", r->command, true);
    cr_text_append(p->html, "</tbody></table>\n");
}

void cr_page_chart(page *p, const cr_text *svg, bool dark, const char *description)
{
    char prefix[24];
    snprintf(prefix, sizeof(prefix), "c%d-", p->charts++);
    if (!cr_failed())
        cr_html_svg(p->html, svg->data, prefix, dark ? "chart dark" : "chart light", description);
}

static void write_curve(page *p, cr_plot_panel panel)
{
    char description[96];
    snprintf(description, sizeof(description), "%s by epoch", panel.title);
    cr_text_append(p->html, "<figure><figcaption>");
    cr_html_text(p->html, panel.title);
    cr_text_append(p->html, "</figcaption>\n");
    panel.title = NULL;
    for (int dark = 0; dark < 2; dark++) {
        cr_text svg = { 0 };
        cr_plot_lines(cr_plot_to_svg(&svg), .panels = &panel,
                      .style = { .width = 360, .height = 250, .dark = dark, .transparent = true });
        cr_page_chart(p, &svg, dark, description);
        cr_text_free(&svg);
    }
    cr_text_append(p->html, "</figure>\n");
}

static void write_curves(page *p)
{
    cr_plot_panel panels[CR_REPORT_PANELS];
    cr_plot_series series[CR_REPORT_SERIES];
    int count = cr_report_panels(p->report, panels, series);
    if (count == 0)
        return;
    cr_text_append(p->html, "<section><h2>Curves</h2>\n<div class=\"charts\">\n");
    for (int i = 0; i < count; i++)
        write_curve(p, panels[i]);
    cr_text_append(p->html, "</div></section>\n");
}

static void write_matrix(page *p)
{
    const cr_report *r = p->report;
    if (!cr_report_has_confusion(r))
        return;
    cr_text_append(p->html, "<section><h2>Confusion matrix</h2>\n<p class=\"note\">");
    if (r->evaluated_on != NULL) {
        cr_html_text(p->html, r->evaluated_on);
        cr_text_append(p->html, ". ");
    }
    cr_text_append(p->html, "Rows are true classes, columns predictions; "
                            "colour is the share of the row.</p>\n<div class=\"matrix\">\n");
    for (int dark = 0; dark < 2; dark++) {
        cr_text svg = { 0 };
        cr_plot_confusion(cr_plot_to_svg(&svg), .matrix = r->confusion, .classes = r->classes,
                          .names = r->class_names,
                          .style = { .width = 600, .dark = dark, .transparent = true });
        cr_page_chart(p, &svg, dark, "Confusion matrix");
        cr_text_free(&svg);
    }
    cr_text_append(p->html, "</div></section>\n");
}

static void write_class_name(page *p, int64_t index)
{
    const cr_report *r = p->report;
    bool named = r->class_names != NULL && index < r->classes && r->class_names[index] != NULL;
    if (named)
        cr_html_text(p->html, r->class_names[index]);
    else
        cr_text_printf(p->html, "%lld", (long long)index);
}

static void write_score_cells(page *p, const cr_class_scores *scores)
{
    char support[NUMBER_SIZE];
    number_with_commas(support, scores->support);
    cr_text_printf(p->html, "<td>%.3f</td><td>%.3f</td><td>%.3f</td><td>%s</td></tr>\n",
                   scores->precision, scores->recall, scores->f1, support);
}

static void write_average_rows(page *p, const cr_classification_averages *averages)
{
    char support[NUMBER_SIZE];
    number_with_commas(support, averages->micro.support);
    cr_text_printf(p->html,
                   "</tbody><tfoot>\n<tr><th scope=\"row\">accuracy</th><td></td><td></td>"
                   "<td>%.3f</td><td>%s</td></tr>\n",
                   averages->micro.f1, support);
    cr_text_append(p->html, "<tr><th scope=\"row\">macro avg</th>");
    write_score_cells(p, &averages->macro);
    cr_text_append(p->html, "<tr><th scope=\"row\">weighted avg</th>");
    write_score_cells(p, &averages->weighted);
    cr_text_append(p->html, "</tfoot></table></div></section>\n");
}

static void write_scores(page *p)
{
    const cr_report *r = p->report;
    if (!cr_report_has_confusion(r))
        return;
    cr_classification_averages averages;
    cr_class_scores *scores = cr_alloc_array((size_t)r->classes, sizeof(*scores));
    if (scores == NULL ||
        cr_precision_recall_f1(r->confusion, r->classes, NULL, scores, &averages) != CR_OK) {
        cr_free(scores);
        return;
    }
    cr_text_append(p->html, "<section><h2>Scores by class</h2>\n<div class=\"scroll\">"
                            "<table class=\"scores\"><thead><tr><th scope=\"col\">class</th>"
                            "<th scope=\"col\">precision</th><th scope=\"col\">recall</th>"
                            "<th scope=\"col\">F1</th><th scope=\"col\">support</th></tr></thead>"
                            "<tbody>\n");
    for (int64_t i = 0; i < r->classes; i++) {
        cr_text_append(p->html, "<tr><th scope=\"row\">");
        write_class_name(p, i);
        cr_text_append(p->html, "</th>");
        write_score_cells(p, &scores[i]);
    }
    cr_free(scores);
    write_average_rows(p, &averages);
}

/* Matrix and scores stand side by side where the screen is wide and the table is no longer than the
 * matrix. */
static void write_evaluation(page *p)
{
    bool beside = p->report->classes <= MAX_CLASSES_BESIDE;
    cr_text_append(p->html, beside ? "<div class=\"beside\">\n" : "<div>\n");
    write_matrix(p);
    write_scores(p);
    cr_text_append(p->html, "</div>\n");
}

/* A picture as an element of the given class, in the page itself. */
static void write_picture(page *p, const cr_plot_picture *picture, const char *alternative)
{
    bool small = picture->width <= SMALL_SIDE && picture->height <= SMALL_SIDE;
    cr_text png = { 0 };
    if (cr_picture_png(picture, PICTURE_SIDE, &png) == CR_OK) {
        cr_text_printf(p->html, "<img%s alt=\"%s\" src=\"data:image/png;base64,",
                       small ? " class=\"small\"" : "", alternative);
        cr_html_base64(p->html, png.data, png.length);
        cr_text_append(p->html, "\">");
    }
    cr_text_free(&png);
}

void cr_page_mistake(page *p, const cr_report_mistake *mistake)
{
    cr_text_printf(p->html, "<figure title=\"sample %lld\">", (long long)mistake->index);
    write_picture(p, &mistake->picture, "");
    if (mistake->explained.pixels != NULL)
        write_picture(p, &mistake->explained, "where the model looked");
    cr_text_append(p->html, "<figcaption>");
    write_class_name(p, mistake->truth);
    cr_text_append(p->html, " \xE2\x86\x92 <span class=\"wrong\">");
    write_class_name(p, mistake->predicted);
    cr_text_printf(p->html,
                   "</span><br><span class=\"share\">%.1f\xC2\xA0%%</span></figcaption></figure>\n",
                   100 * mistake->probability);
}

static void write_mistakes(page *p)
{
    const cr_report *r = p->report;
    if (r->mistake_count == 0)
        return;
    cr_text_append(p->html, "<section><h2>Most confident mistakes</h2>\n<p class=\"note\">True "
                            "class \xE2\x86\x92 prediction, and its probability.");
    if (r->mistakes[0].explained.pixels != NULL)
        cr_text_append(p->html, " Below each picture, in warm colours, what spoke for that "
                                "prediction (Grad-CAM).");
    cr_text_append(p->html, "</p>\n<div class=\"mistakes\">\n");
    for (int64_t i = 0; i < r->mistake_count && i < CR_REPORT_MAX_MISTAKES; i++)
        cr_page_mistake(p, &r->mistakes[i]);
    cr_text_append(p->html, "</div></section>\n");
}

static void write_settings(page *p)
{
    const cr_report *r = p->report;
    if (r->setting_count == 0)
        return;
    cr_text_append(p->html, "<section><h2>Settings</h2>\n<table class=\"facts\"><tbody>\n");
    for (int64_t i = 0; i < r->setting_count; i++)
        fact(p, r->settings[i].name, r->settings[i].value, true);
    cr_text_append(p->html, "</tbody></table></section>\n");
}

static void write_head(page *p, const char *title)
{
    /* The policy makes the browser itself refuse any request. */
    cr_text_append(p->html,
                   "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                   "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                   "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';"
                   "img-src data:;style-src 'unsafe-inline'\">\n<title>");
    cr_html_text(p->html, title);
    cr_text_append(p->html, "</title>\n<style>\n");
    cr_text_append(p->html, cr_report_style);
    cr_text_append(p->html, "</style></head>\n<body><main>\n<h1>");
    cr_html_text(p->html, title);
    cr_text_append(p->html, "</h1>\n");
    if (p->report->status == NULL)
        return;
    cr_text_append(p->html, "<p class=\"note\">");
    cr_html_text(p->html, p->report->status);
    cr_text_append(p->html, "</p>\n");
}

static cr_status check_list(const char *what, const void *list, int64_t count)
{
    if (count < 0 || (count > 0 && list == NULL))
        return cr_error_set(CR_ERROR_ARGUMENT, "report: %lld %s, but no list of them was given",
                            (long long)count, what);
    return CR_OK;
}

static cr_status check_report(const cr_report *r)
{
    if (check_list("facts", r->facts, r->fact_count) != CR_OK ||
        check_list("settings", r->settings, r->setting_count) != CR_OK ||
        check_list("mistakes", r->mistakes, r->mistake_count) != CR_OK ||
        check_list("findings", r->findings, r->finding_count) != CR_OK)
        return cr_error_status();
    if (r->epochs < 0 || r->classes < 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "report: %lld epochs and %lld classes",
                            (long long)r->epochs, (long long)r->classes);
    for (int64_t i = 0; i < r->mistake_count; i++) {
        if (r->mistakes[i].truth < 0 || r->mistakes[i].predicted < 0)
            return cr_error_set(CR_ERROR_ARGUMENT, "report: mistake %lld has a negative class",
                                (long long)i);
    }
    return CR_OK;
}

cr_status cr_report_html(const cr_report *report, cr_text *html)
{
    if (cr_failed() || check_report(report) != CR_OK)
        return cr_error_status();
    page p = { .report = report, .html = html };
    write_head(&p, report->title != NULL ? report->title : "Training run");
    write_tiles(&p);
    write_summary(&p);
    write_curves(&p);
    write_evaluation(&p);
    cr_page_labels(&p);
    cr_page_scores(&p);
    cr_page_ranking(&p);
    cr_page_findings(&p);
    write_mistakes(&p);
    write_settings(&p);
    cr_text_append(html, "<footer>Written by Cresset");
    if (report->version != NULL) {
        cr_text_append(html, " ");
        cr_html_text(html, report->version);
    }
    cr_text_append(html, "</footer>\n</main></body></html>\n");
    return cr_error_status();
}
