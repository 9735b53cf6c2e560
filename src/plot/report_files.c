/* The files of a report: the page and the charts that stand beside it. */
#include <math.h>
#include <stdio.h>

#include "canvas.h"
#include "cresset/file.h"
#include "cresset/memory.h"

static const double PNG_SCALE = 2;

static int add_series(cr_plot_series *series, int count, const char *name, const double *values,
                      int64_t epochs)
{
    if (values == NULL)
        return count;
    series[count] = (cr_plot_series){ .name = name, .y = values, .count = epochs };
    return count + 1;
}

/* A panel over the series from `first` to `end`; none if there are none. */
static int add_panel(cr_plot_panel *panels, int count, cr_plot_panel panel,
                     const cr_plot_series *series, int first, int end)
{
    if (first == end)
        return count;
    panel.x_label = "epoch";
    panel.series = series + first;
    panel.series_count = end - first;
    panels[count] = panel;
    return count + 1;
}

int cr_report_panels(const cr_report *report, cr_plot_panel *panels, cr_plot_series *series)
{
    int64_t epochs = report->epochs;
    if (epochs == 0)
        return 0;
    const char *mark = report->best_epoch > 0 ? "best" : NULL;
    cr_plot_panel loss = { .title = "Loss",
                           .mark_label = mark,
                           .mark_x = (double)report->best_epoch };
    cr_plot_panel accuracy = loss;
    accuracy.title = report->marks != NULL ? "Labels that are right" : "Accuracy";
    accuracy.percent = true;
    cr_plot_panel rate = { .title = "Learning rate" };
    int panel_count = 0;
    int losses = add_series(series, 0, "train", report->train_loss, epochs);
    losses = add_series(series, losses, "validation", report->validation_loss, epochs);
    panel_count = add_panel(panels, panel_count, loss, series, 0, losses);
    int accuracies = add_series(series, losses, "train", report->train_accuracy, epochs);
    accuracies = add_series(series, accuracies, "validation", report->validation_accuracy, epochs);
    panel_count = add_panel(panels, panel_count, accuracy, series, losses, accuracies);
    int all = add_series(series, accuracies, NULL, report->learning_rate, epochs);
    return add_panel(panels, panel_count, rate, series, accuracies, all);
}

bool cr_report_has_confusion(const cr_report *report)
{
    return report->confusion != NULL && report->classes > 0 &&
           report->classes <= CR_MAX_DRAWN_CLASSES;
}

bool cr_report_has_ranking(const cr_report *report)
{
    if (report->probabilities == NULL || report->samples == 0)
        return false;
    if (report->truth == NULL)
        return report->marks != NULL;
    /* A class has a curve where it occurs and is not alone. */
    for (int64_t i = 1; i < report->samples; i++) {
        if (report->truth[i] != report->truth[0])
            return true;
    }
    return false;
}

bool cr_report_has_reliability(const cr_report *report)
{
    return report->scores != NULL && report->scores->bin_count > 0 &&
           isfinite(report->scores->metric[CR_METRIC_CALIBRATION_ERROR].value);
}

static void write_page(const cr_report *report, const char *folder)
{
    cr_text html = { 0 };
    char *path = cr_path_join(folder, "report.html");
    if (path != NULL && cr_report_html(report, &html) == CR_OK)
        cr_file_replace(path, html.data, html.length);
    cr_free(path);
    cr_text_free(&html);
}

/* The files of one chart: NAME.png, sharp enough for any screen, and NAME.svg. */
enum { FORMATS = 2 };
static const char *const endings[FORMATS] = { ".png", ".svg" };

static char *chart_path(const char *folder, const char *name, int format)
{
    char *file = cr_string_format("%s%s", name, endings[format]);
    char *path = file != NULL ? cr_path_join(folder, file) : NULL;
    cr_free(file);
    return path;
}

static void write_curves(const cr_report *report, const char *folder)
{
    cr_plot_panel panels[CR_REPORT_PANELS];
    cr_plot_series series[CR_REPORT_SERIES];
    int count = cr_report_panels(report, panels, series);
    for (int format = 0; count > 0 && format < FORMATS; format++) {
        char *path = chart_path(folder, "curves", format);
        if (path != NULL)
            cr_plot_lines(cr_plot_to_file(path), .panels = panels, .panel_count = count,
                          .style = { .title = report->title, .scale = PNG_SCALE });
        cr_free(path);
    }
}

static void write_matrix(const cr_report *report, const char *folder, bool normalized)
{
    const char *name = normalized ? "confusion_matrix_normalized" : "confusion_matrix";
    const char *title =
        normalized ? "Confusion matrix, percent of the true class" : "Confusion matrix";
    for (int format = 0; cr_report_has_confusion(report) && format < FORMATS; format++) {
        char *path = chart_path(folder, name, format);
        if (path != NULL)
            cr_plot_confusion(cr_plot_to_file(path), .matrix = report->confusion,
                              .classes = report->classes, .names = report->class_names,
                              .norm = normalized ? CR_CONFUSION_BY_TRUE : CR_CONFUSION_COUNTS,
                              .style = { .title = title, .scale = PNG_SCALE });
        cr_free(path);
    }
}

static void write_ranking(const cr_report *report, const char *folder, bool precision)
{
    const char *name = precision ? "precision_recall" : "roc";
    const char *title = precision ? "Precision and recall, each class against the rest"
                                  : "ROC, each class against the rest";
    if (report->marks != NULL)
        title = precision ? "Precision and recall of each label" : "ROC of each label";
    for (int format = 0; cr_report_has_ranking(report) && format < FORMATS; format++) {
        char *path = chart_path(folder, name, format);
        if (path != NULL)
            cr_plot_ranking(cr_plot_to_file(path), .truth = report->truth, .marks = report->marks,
                            .probabilities = report->probabilities, .count = report->samples,
                            .classes = report->classes, .names = report->class_names,
                            .precision = precision,
                            .style = { .title = title, .scale = PNG_SCALE });
        cr_free(path);
    }
}

static void write_reliability(const cr_report *report, const char *folder)
{
    for (int format = 0; cr_report_has_reliability(report) && format < FORMATS; format++) {
        char *path = chart_path(folder, "reliability", format);
        if (path != NULL)
            cr_plot_reliability(cr_plot_to_file(path), .bins = report->scores->bins,
                                .bin_count = report->scores->bin_count,
                                .style = { .title = "Reliability", .scale = PNG_SCALE });
        cr_free(path);
    }
}

cr_status cr_report_write(const cr_report *report, const char *folder)
{
    char *plots = cr_path_join(folder, "plots");
    if (plots != NULL && cr_folder_make(plots) == CR_OK) {
        write_page(report, folder);
        write_curves(report, plots);
        write_matrix(report, plots, false);
        write_matrix(report, plots, true);
        write_ranking(report, plots, false);
        write_ranking(report, plots, true);
        write_reliability(report, plots);
    }
    cr_free(plots);
    return cr_error_status();
}
