/* The curves of how well a classifier ranks, ROC or precision against recall: one a class, against
 * the rest, with its area in the legend. Precision is drawn in steps, since between two thresholds
 * there is nothing to interpolate. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "canvas.h"
#include "cresset/memory.h"

enum { NAME_SIZE = 96 };

/* A class that has a curve, and the area below it. */
typedef struct ranked_class {
    int64_t number;
    double area;
} ranked_class;

/* What is drawn: up to a palette of curves, and the line of chance. */
typedef struct ranking_chart {
    const cr_plot_ranking_args *args;
    int count;
    double *blocks[CR_PALETTE_SIZE]; /* x, then y */
    char names[CR_PALETTE_SIZE][NAME_SIZE];
    cr_plot_series series[CR_PALETTE_SIZE + 1];
} ranking_chart;

static cr_binary_task task_of(const cr_plot_ranking_args *args, int64_t number)
{
    const int64_t *marks = args->marks;
    return (cr_binary_task){ .truth = marks != NULL ? marks + number : args->truth,
                             .truth_stride = marks != NULL ? args->classes : 1,
                             .positive = marks != NULL ? 1 : number,
                             .scores = args->probabilities + number,
                             .score_stride = args->classes,
                             .count = args->count };
}

static int by_area(const void *a, const void *b)
{
    const ranked_class *x = a, *y = b;
    if (x->area != y->area)
        return x->area < y->area ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static int by_number(const void *a, const void *b)
{
    const ranked_class *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* The classes to draw, in their order; returns how many. */
static int64_t choose_classes(const cr_plot_ranking_args *args, ranked_class *list)
{
    int64_t count = 0;
    int64_t first = args->classes == 2 && args->marks == NULL ? 1 : 0;
    for (int64_t c = first; c < args->classes && !cr_failed(); c++) {
        cr_binary_task task = task_of(args, c);
        double roc = cr_roc_auc_score(&task);
        if (isnan(roc))
            continue;
        list[count].number = c;
        list[count++].area = args->precision ? cr_average_precision_score(&task) : roc;
    }
    if (count > CR_PALETTE_SIZE) {
        qsort(list, (size_t)count, sizeof *list, by_area);
        count = CR_PALETTE_SIZE;
        qsort(list, (size_t)count, sizeof *list, by_number);
    }
    return count;
}

/* Rising recall; each precision holds from the recall before to its own. */
static int64_t trace_steps(const cr_curve *curve, double *x, double *y)
{
    int64_t points = 0;
    for (int64_t i = curve->count - 2; i >= 0; i--) {
        if (curve->x[i] == curve->x[i + 1])
            continue;
        x[points] = curve->x[i + 1];
        y[points++] = curve->y[i];
        x[points] = curve->x[i];
        y[points++] = curve->y[i];
    }
    return points;
}

static int64_t copy_points(const cr_curve *curve, double *x, double *y)
{
    for (int64_t i = 0; i < curve->count; i++) {
        x[i] = curve->x[i];
        y[i] = curve->y[i];
    }
    return curve->count;
}

static cr_status add_class(ranking_chart *chart, ranked_class one)
{
    const cr_plot_ranking_args *args = chart->args;
    cr_binary_task task = task_of(args, one.number);
    cr_curve curve;
    cr_status status = args->precision ? cr_precision_recall_curve(&task, &curve)
                                       : cr_roc_curve(&task, false, &curve);
    if (status != CR_OK)
        return status;
    size_t room = 2 * (size_t)curve.count;
    double *x = cr_alloc_array(room, 2 * sizeof *x);
    if (x != NULL) {
        double *y = x + room;
        int64_t points = args->precision ? trace_steps(&curve, x, y) : copy_points(&curve, x, y);
        char *name = chart->names[chart->count];
        if (args->names != NULL && args->names[one.number] != NULL)
            snprintf(name, NAME_SIZE, "%.80s %.3f", args->names[one.number], one.area);
        else
            snprintf(name, NAME_SIZE, "%lld %.3f", (long long)one.number, one.area);
        chart->series[chart->count] =
            (cr_plot_series){ .name = name, .x = x, .y = y, .count = points, .plain = true };
        chart->blocks[chart->count++] = x;
    }
    cr_curve_free(&curve);
    return cr_error_status();
}

static void draw(ranking_chart *chart)
{
    static const double ends[2] = { 0, 1 };
    const cr_plot_ranking_args *args = chart->args;
    int series = chart->count;
    if (!args->precision)
        chart->series[series++] =
            (cr_plot_series){ .x = ends, .y = ends, .count = 2, .plain = true, .dashed = true };
    cr_plot_panel panel = { .x_label = args->precision ? "recall" : "false positive rate",
                            .y_label = args->precision ? "precision" : "true positive rate",
                            .series = chart->series,
                            .series_count = series,
                            .x_max = 1,
                            .y_max = 1 };
    cr_plot_style style = args->style;
    style.width = style.width != 0 ? style.width : 640;
    style.height = style.height != 0 ? style.height : 600;
    cr_plot_lines(args->sink, .panels = &panel, .style = style);
}

cr_status cr_plot_ranking_with(cr_plot_ranking_args args)
{
    if ((args.truth == NULL && args.marks == NULL) || args.probabilities == NULL ||
        args.count < 1 || args.classes < 1)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "ranking chart: %lld samples of %lld classes, but there must be some",
                            (long long)args.count, (long long)args.classes);
    ranking_chart chart = { .args = &args };
    ranked_class *list = cr_alloc_array((size_t)args.classes, sizeof *list);
    if (list == NULL)
        return cr_error_status();
    int64_t count = choose_classes(&args, list);
    for (int64_t i = 0; i < count && !cr_failed(); i++)
        add_class(&chart, list[i]);
    if (!cr_failed())
        draw(&chart);
    for (int i = 0; i < chart.count; i++)
        cr_free(chart.blocks[i]);
    cr_free(list);
    return cr_error_status();
}
