/* Sections of a report's page: every score with its interval, the curves of ranking and
 * calibration, and what the analysis of errors found. */
#include <math.h>
#include <stdio.h>

#include "canvas.h"
#include "cresset/memory.h"

typedef struct cr_report_page page;

/* ---- scores ---- */

static void write_score(page *p, const char *title, cr_estimate estimate)
{
    if (!isfinite(estimate.value))
        return;
    cr_text_append(p->html, "<tr><th scope=\"row\">");
    cr_html_text(p->html, title);
    cr_text_printf(p->html, "</th><td>%.4f</td>", estimate.value);
    if (isfinite(estimate.low))
        cr_text_printf(p->html, "<td>%.4f to %.4f</td></tr>\n", estimate.low, estimate.high);
    else
        cr_text_append(p->html, "<td></td></tr>\n");
}

void cr_page_scores(page *p)
{
    const cr_classifier_scores *scores = p->report->scores;
    char title[64];
    if (scores == NULL)
        return;
    cr_text_printf(p->html,
                   "<section><h2>Scores</h2>\n<p class=\"note\">With scikit-learn's definitions; "
                   "the interval holds the middle %g\xC2\xA0%% of bootstrap samples.</p>\n"
                   "<div class=\"scroll\"><table class=\"scores\"><thead><tr><th scope=\"col\">"
                   "score</th><th scope=\"col\">value</th><th scope=\"col\">interval</th></tr>"
                   "</thead><tbody>\n",
                   100 * scores->level);
    for (int m = 0; m < CR_METRIC_COUNT; m++) {
        snprintf(title, sizeof title, "%s", cr_metric_title((cr_metric)m));
        if (m == CR_METRIC_TOP_K_ACCURACY)
            snprintf(title, sizeof title, "top-%lld accuracy", (long long)scores->top_k);
        if (m != CR_METRIC_TOP_K_ACCURACY || scores->top_k < scores->classes)
            write_score(p, title, scores->metric[m]);
    }
    cr_text_append(p->html, "</tbody></table></div></section>\n");
}

/* ---- several labels ---- */

static void write_number_cell(page *p, double value)
{
    if (isfinite(value))
        cr_text_printf(p->html, "<td>%.3f</td>", value);
    else
        cr_text_append(p->html, "<td></td>");
}

static void write_label(page *p, int64_t label, const cr_class_scores *scores)
{
    const cr_report *r = p->report;
    cr_binary_task task = { .truth = r->marks + label,
                            .truth_stride = r->classes,
                            .positive = 1,
                            .scores = r->probabilities + label,
                            .score_stride = r->classes,
                            .count = r->samples };
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)label);
    cr_text_append(p->html, "<tr><th scope=\"row\">");
    cr_html_text(p->html, r->class_names != NULL ? r->class_names[label] : number);
    cr_text_append(p->html, "</th>");
    write_number_cell(p, r->thresholds != NULL ? (double)r->thresholds[label] : NAN);
    write_number_cell(p, scores->precision);
    write_number_cell(p, scores->recall);
    write_number_cell(p, scores->f1);
    write_number_cell(p, scores->support > 0 ? cr_average_precision_score(&task) : NAN);
    write_number_cell(p, cr_roc_auc_score(&task));
    cr_text_printf(p->html, "<td>%lld</td></tr>\n", (long long)scores->support);
}

static void write_label_average(page *p, const char *name, const cr_class_scores *scores,
                                double average_precision)
{
    cr_text_printf(p->html, "<tr><th scope=\"row\">%s</th><td></td>", name);
    write_number_cell(p, scores->precision);
    write_number_cell(p, scores->recall);
    write_number_cell(p, scores->f1);
    write_number_cell(p, average_precision);
    cr_text_printf(p->html, "<td></td><td>%lld</td></tr>\n", (long long)scores->support);
}

void cr_page_labels(page *p)
{
    const cr_report *r = p->report;
    cr_multilabel_averages averages;
    if (r->marks == NULL || r->samples == 0)
        return;
    cr_class_scores *scores = cr_alloc_array((size_t)r->classes, sizeof *scores);
    if (scores == NULL || cr_multilabel_scores(r->marks, r->predicted_marks, r->samples, r->classes,
                                               0, scores, &averages) != CR_OK) {
        cr_free(scores);
        return;
    }
    cr_text_append(p->html, "<section><h2>Scores by label</h2>\n<p class=\"note\">");
    if (r->evaluated_on != NULL) {
        cr_html_text(p->html, r->evaluated_on);
        cr_text_append(p->html, ". ");
    }
    cr_text_printf(
        p->html,
        "A label is said to be there from its threshold on. All labels of a picture "
        "were right for %.1f\xC2\xA0%% of the pictures, and %.1f\xC2\xA0%% of all labels "
        "were wrong.</p>\n<div class=\"scroll\"><table class=\"scores\"><thead><tr>",
        100 * averages.subset_accuracy, 100 * averages.hamming_loss);
    static const char *const headings[] = { "label",          "threshold", "precision",
                                            "recall",         "F1",        "average precision",
                                            "area under ROC", "support" };
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++)
        cr_text_printf(p->html, "<th scope=\"col\">%s</th>", headings[i]);
    cr_text_append(p->html, "</tr></thead><tbody>\n");
    for (int64_t c = 0; c < r->classes; c++)
        write_label(p, c, &scores[c]);
    cr_text_append(p->html, "</tbody><tfoot>\n");
    write_label_average(p, "micro avg", &averages.micro, NAN);
    write_label_average(p, "macro avg", &averages.macro, r->test_average_precision);
    write_label_average(p, "weighted avg", &averages.weighted, NAN);
    cr_text_append(p->html, "</tfoot></table></div></section>\n");
    cr_free(scores);
}

/* ---- ranking and calibration ---- */

typedef enum chart_kind { ROC, PRECISION_RECALL, RELIABILITY, CHART_KINDS } chart_kind;

static const char *const chart_titles[CHART_KINDS] = { "ROC", "Precision and recall",
                                                       "Reliability" };

static void draw_chart(const cr_report *r, chart_kind kind, cr_plot_sink sink, cr_plot_style style)
{
    if (kind == RELIABILITY)
        cr_plot_reliability(sink, .bins = r->scores->bins, .bin_count = r->scores->bin_count,
                            .style = style);
    else
        cr_plot_ranking(sink, .truth = r->truth, .marks = r->marks,
                        .probabilities = r->probabilities, .count = r->samples,
                        .classes = r->classes, .names = r->class_names,
                        .precision = kind == PRECISION_RECALL, .style = style);
}

static void write_chart(page *p, chart_kind kind)
{
    cr_text_printf(p->html, "<figure><figcaption>%s</figcaption>\n", chart_titles[kind]);
    for (int dark = 0; dark < 2; dark++) {
        cr_text svg = { 0 };
        cr_plot_style style = { .width = 360, .height = 380, .dark = dark, .transparent = true };
        draw_chart(p->report, kind, cr_plot_to_svg(&svg), style);
        cr_page_chart(p, &svg, dark, chart_titles[kind]);
        cr_text_free(&svg);
    }
    cr_text_append(p->html, "</figure>\n");
}

void cr_page_ranking(page *p)
{
    const cr_report *r = p->report;
    bool ranking = cr_report_has_ranking(r) && (r->classes > 1 || r->marks != NULL);
    bool reliability = cr_report_has_reliability(r);
    if (!ranking && !reliability)
        return;
    cr_text_append(p->html, "<section><h2>Ranking and calibration</h2>\n<p class=\"note\">");
    if (ranking)
        cr_text_append(p->html, r->marks != NULL
                                    ? "Each label by itself, with the area under its curve"
                                    : "Each class against the rest, with the area under its curve");
    if (ranking && r->classes > CR_PALETTE_SIZE)
        cr_text_printf(p->html, "; of %lld classes the %d with the smallest areas",
                       (long long)r->classes, CR_PALETTE_SIZE);
    cr_text_append(p->html, ranking ? ". " : "");
    if (reliability)
        cr_text_printf(p->html,
                       "Confidence and accuracy differ by %.1f\xC2\xA0%% on average (ECE).",
                       100 * r->scores->metric[CR_METRIC_CALIBRATION_ERROR].value);
    cr_text_append(p->html, "</p>\n<div class=\"charts\">\n");
    if (ranking) {
        write_chart(p, ROC);
        write_chart(p, PRECISION_RECALL);
    }
    if (reliability)
        write_chart(p, RELIABILITY);
    cr_text_append(p->html, "</div></section>\n");
}

/* ---- findings ---- */

static void draw_finding(page *p, const cr_report_finding *f)
{
    for (int dark = 0; dark < 2; dark++) {
        cr_text svg = { 0 };
        cr_plot_style style = { .width = 560, .dark = dark, .transparent = true };
        if (f->panel != NULL) {
            style.height = 280;
            cr_plot_lines(cr_plot_to_svg(&svg), .panels = f->panel, .style = style);
        } else {
            cr_plot_bars(cr_plot_to_svg(&svg), .names = f->bar_names, .values = f->bars,
                         .count = f->bar_count, .percent = f->bars_are_fractions, .style = style);
        }
        cr_page_chart(p, &svg, dark, f->question);
        cr_text_free(&svg);
    }
}

static void write_finding(page *p, const cr_report_finding *f)
{
    static const char *const classes[] = { "good", "watch", "bad" };
    static const char *const words[] = { "good", "keep an eye on it", "needs work" };
    int verdict = f->verdict <= CR_REPORT_BAD ? (int)f->verdict : CR_REPORT_WATCH;
    cr_text_printf(p->html, "<div class=\"finding %s\"><span class=\"verdict\">%s</span><h3>",
                   classes[verdict], words[verdict]);
    cr_html_text(p->html, f->question != NULL ? f->question : "");
    cr_text_append(p->html, "</h3>\n<p>");
    cr_html_text(p->html, f->answer != NULL ? f->answer : "");
    cr_text_append(p->html, "</p>\n");
    if (f->advice != NULL) {
        cr_text_append(p->html, "<p class=\"advice\">");
        cr_html_text(p->html, f->advice);
        cr_text_append(p->html, "</p>\n");
    }
    if (f->panel != NULL || f->bars != NULL)
        draw_finding(p, f);
    if (f->pictures != NULL && f->picture_count > 0) {
        cr_text_append(p->html, "<div class=\"mistakes\">\n");
        for (int64_t i = 0; i < f->picture_count; i++)
            cr_page_mistake(p, &f->pictures[i]);
        cr_text_append(p->html, "</div>\n");
    }
    cr_text_append(p->html, "</div>\n");
}

void cr_page_findings(page *p)
{
    const cr_report *r = p->report;
    if (r->finding_count == 0)
        return;
    cr_text_append(p->html, "<section><h2>Analysis of errors</h2>\n<p class=\"note\">What to ask "
                            "before the model is used, and what to do about the answers.</p>\n");
    for (int64_t i = 0; i < r->finding_count; i++)
        write_finding(p, &r->findings[i]);
    cr_text_append(p->html, "</section>\n");
}
