/* Line charts. Each panel finds the range of its finite values, leaves room for the tick labels
 * that the range needs, and draws grid, curves, mark and legend. A curve with more points than
 * pixels is drawn as the lowest and highest value of each pixel column, so a long run is a small
 * file. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "canvas.h"

enum { MAX_PANELS = 16, MARKER_LIMIT = 40 };

static const double LABEL_SIZE = 12;
static const double TICK_SIZE = 11;
static const double HEADING_SIZE = 13;

typedef struct range {
    double low, high;
} range;

/* A panel while it is drawn: where it is on the canvas and what its axes span. */
typedef struct axes {
    cr_canvas *canvas;
    const cr_plot_panel *panel;
    double left, top, right, bottom; /* of the plotting area */
    range x, y;                      /* as log10 where the panel is logarithmic */
    cr_ticks x_ticks, y_ticks;
    bool empty; /* no finite value anywhere */
} axes;

/* NaN for what is not drawn. */
static double x_of(const cr_plot_panel *panel, const cr_plot_series *series, int64_t i)
{
    double value = series->x != NULL ? series->x[i] : (double)(i + 1);
    if (!(fabs(value) <= CR_LARGEST_DRAWN))
        return NAN;
    if (!panel->log_x)
        return value;
    return value > 0 ? log10(value) : NAN;
}

/* The value on the axis, or NaN. */
static double y_of(const cr_plot_panel *panel, const cr_plot_series *series, int64_t i)
{
    double value = series->y[i];
    if (!(fabs(value) <= CR_LARGEST_DRAWN) || isnan(x_of(panel, series, i)))
        return NAN;
    if (!panel->log_y)
        return value;
    return value > 0 ? log10(value) : NAN;
}

static void range_add(range *r, double value)
{
    r->low = fmin(r->low, value);
    r->high = fmax(r->high, value);
}

static bool all_whole(const cr_plot_panel *panel)
{
    for (int s = 0; s < panel->series_count; s++) {
        const cr_plot_series *series = &panel->series[s];
        for (int64_t i = 0; i < series->count && series->x != NULL; i++) {
            if (series->x[i] != floor(series->x[i]))
                return false;
        }
    }
    return panel->x_max != 1;
}

/* Room above and below the values; zero is the base where it is near. */
static range widen(range r, const cr_plot_panel *panel)
{
    if (r.low == r.high) {
        double half = r.low != 0 && !panel->log_y ? fabs(r.low) / 2 : 0.5;
        return (range){ r.low - half, r.high + half };
    }
    double margin = 0.05 * (r.high - r.low);
    range wide = { r.low - margin, r.high + margin };
    if (!panel->log_y && r.low >= 0 && r.low < 0.4 * r.high)
        wide.low = 0;
    if (panel->percent && r.high <= 1)
        wide.high = fmin(wide.high, 1);
    return wide;
}

static void find_ranges(axes *a)
{
    const cr_plot_panel *panel = a->panel;
    a->x = a->y = (range){ INFINITY, -INFINITY };
    for (int s = 0; s < panel->series_count; s++) {
        const cr_plot_series *series = &panel->series[s];
        for (int64_t i = 0; i < series->count; i++) {
            double y = y_of(panel, series, i);
            /* fmin and fmax pass over NaN. */
            range_add(&a->x, x_of(panel, series, i));
            range_add(&a->y, y);
        }
    }
    a->empty = a->y.low > a->y.high;
    if (a->x.low > a->x.high)
        a->x = (range){ 0, 1 };
    if (panel->x_min != 0 || panel->x_max != 0)
        a->x = panel->log_x ? (range){ log10(panel->x_min), log10(panel->x_max) }
                            : (range){ panel->x_min, panel->x_max };
    if (a->x.low == a->x.high)
        a->x = (range){ a->x.low - 0.5, a->x.high + 0.5 };
    a->y = a->empty ? (range){ 0, 1 } : widen(a->y, panel);
    if (panel->y_min != 0 || panel->y_max != 0) {
        a->y.low = panel->log_y ? log10(panel->y_min) : panel->y_min;
        a->y.high = panel->log_y ? log10(panel->y_max) : panel->y_max;
    }
}

/* Tick labels of a logarithmic axis are powers of ten; of a plain one, multiples of its step. */
static void y_label(const axes *a, double tick, char *buffer, size_t size)
{
    if (!a->panel->log_y) {
        cr_tick_label(buffer, size, tick, a->y_ticks.step, a->panel->percent);
        return;
    }
    double value = pow(10, tick);
    cr_tick_label(buffer, size, value, value, a->panel->percent);
}

/* Keeps what lies far outside fixed axes within the coordinates that cairo can count. */
static double within_reach(double coordinate)
{
    return fmin(fmax(coordinate, -1e5), 1e5);
}

static double px(const axes *a, double x)
{
    double share = (x - a->x.low) / (a->x.high - a->x.low);
    return within_reach(a->left + share * (a->right - a->left));
}

static double py(const axes *a, double y)
{
    double share = (y - a->y.low) / (a->y.high - a->y.low);
    return within_reach(a->bottom - share * (a->bottom - a->top));
}

static double swatch_width(const axes *a, const cr_plot_series *series)
{
    return 26 + cr_canvas_text_width(a->canvas, LABEL_SIZE, series->name) + 18;
}

static void draw_swatch(const axes *a, int index, double x, double y)
{
    cr_canvas *canvas = a->canvas;
    cairo_set_line_width(canvas->cairo, 2.5);
    cr_canvas_color(canvas, canvas->theme->series[index % CR_PALETTE_SIZE]);
    if (a->panel->series[index].dashed)
        cairo_set_dash(canvas->cairo, (const double[]){ 5, 3 }, 2, 0);
    cr_canvas_line(canvas, x, y - 4, x + 20, y - 4);
    cairo_set_dash(canvas->cairo, NULL, 0, 0);
}

/* Names of the curves above the plotting area, in as many lines as they need; returns the height.
 */
static double draw_legend(const axes *a, double left, double right, double top)
{
    double x = left;
    double y = top + 14;
    bool any = false;
    for (int s = 0; s < a->panel->series_count; s++) {
        const cr_plot_series *series = &a->panel->series[s];
        if (series->name == NULL)
            continue;
        double width = swatch_width(a, series);
        if (x > left && x + width > right + 18) {
            x = left;
            y += 18;
        }
        cr_font font = { .size = LABEL_SIZE,
                         .color = a->canvas->theme->text,
                         .limit = right - x - 26 };
        draw_swatch(a, s, x, y);
        cr_canvas_text(a->canvas, x + 26, y, font, series->name);
        x += width;
        any = true;
    }
    return any ? y - top + 8 : 0;
}

/* The heading and the legend; returns where the plotting area may begin. */
static double draw_heading(axes *a, double left, double top, double right)
{
    if (a->panel->title != NULL) {
        cr_font font = { .size = HEADING_SIZE,
                         .color = a->canvas->theme->text,
                         .bold = true,
                         .limit = right - left };
        cr_canvas_text(a->canvas, left, top + 16, font, a->panel->title);
        top += 26;
    }
    top += draw_legend(a, left, right, top);
    /* The mark's label stands above the area, and half a tick label reaches out of it. */
    return top + (a->panel->mark_label != NULL ? 20 : 8);
}

/* Shrinks the rectangle of the panel to the plotting area. */
static void place(axes *a, double left, double top, double right, double bottom)
{
    const cr_plot_panel *panel = a->panel;
    a->top = draw_heading(a, left, top, right);
    a->bottom = bottom - 20 - (panel->x_label != NULL ? 20 : 0);
    int lines = (int)((a->bottom - a->top) / 36);
    if (panel->log_y)
        a->y_ticks = cr_ticks_between_logs(a->y.low, a->y.high, lines);
    else
        a->y_ticks = cr_ticks_between(a->y.low, a->y.high, lines, false);
    if (a->empty)
        a->y_ticks.count = 0;
    double widest = 0;
    for (int i = 0; i < a->y_ticks.count; i++) {
        char label[32];
        y_label(a, a->y_ticks.at[i], label, sizeof(label));
        widest = fmax(widest, cr_canvas_text_width(a->canvas, TICK_SIZE, label));
    }
    a->left = left + widest + 8 + (panel->y_label != NULL ? 20 : 0);
    char last[32];
    snprintf(last, sizeof(last), "%.*f", a->x.high >= 100 ? 0 : 1, a->x.high);
    double room = cr_canvas_text_width(a->canvas, TICK_SIZE, last) + 24;
    a->right = right - fmax(8, (room - 24) / 2);
    int most = (int)((a->right - a->left) / room);
    if (panel->log_x)
        a->x_ticks = cr_ticks_between_logs(a->x.low, a->x.high, most);
    else
        a->x_ticks = cr_ticks_between(a->x.low, a->x.high, most, all_whole(panel));
}

static void draw_y_axis(const axes *a)
{
    cr_canvas *canvas = a->canvas;
    cr_font font = { .size = TICK_SIZE, .color = canvas->theme->muted, .align = 1 };
    for (int i = 0; i < a->y_ticks.count; i++) {
        char label[32];
        double y = py(a, a->y_ticks.at[i]);
        y_label(a, a->y_ticks.at[i], label, sizeof(label));
        cr_canvas_color(canvas, canvas->theme->grid);
        cr_canvas_line(canvas, a->left, y, a->right, y);
        cr_canvas_text(canvas, a->left - 7, y + 4, font, label);
    }
}

static void draw_x_axis(const axes *a)
{
    cr_canvas *canvas = a->canvas;
    cr_font font = { .size = TICK_SIZE, .color = canvas->theme->muted, .align = 0.5 };
    for (int i = 0; i < a->x_ticks.count; i++) {
        char label[32];
        double x = px(a, a->x_ticks.at[i]);
        double value = a->panel->log_x ? pow(10, a->x_ticks.at[i]) : a->x_ticks.at[i];
        cr_tick_label(label, sizeof(label), value, a->panel->log_x ? value : a->x_ticks.step,
                      false);
        cr_canvas_color(canvas, canvas->theme->axis);
        cr_canvas_line(canvas, x, a->bottom, x, a->bottom + 4);
        cr_canvas_text(canvas, x, a->bottom + 17, font, label);
    }
    cr_canvas_color(canvas, canvas->theme->axis);
    cr_canvas_line(canvas, a->left, a->bottom, a->right, a->bottom);
}

static void draw_axes(const axes *a, double panel_left)
{
    cr_canvas *canvas = a->canvas;
    cr_font font = { .size = LABEL_SIZE, .color = canvas->theme->muted, .align = 0.5 };
    cairo_set_line_width(canvas->cairo, 1);
    draw_y_axis(a);
    draw_x_axis(a);
    if (a->panel->x_label != NULL) {
        font.limit = a->right - a->left;
        cr_canvas_text(canvas, (a->left + a->right) / 2, a->bottom + 35, font, a->panel->x_label);
    }
    if (a->panel->y_label != NULL) {
        font.limit = a->bottom - a->top;
        font.turn = -M_PI / 2;
        cr_canvas_text(canvas, panel_left + 10, (a->top + a->bottom) / 2, font, a->panel->y_label);
    }
}

static void draw_marker(const axes *a, double x, double y)
{
    cairo_new_path(a->canvas->cairo);
    cairo_arc(a->canvas->cairo, x, y, 2.75, 0, 2 * M_PI);
    cairo_fill(a->canvas->cairo);
}

/* Every point, with gaps where a value is missing. */
static void trace_points(const axes *a, const cr_plot_series *series)
{
    bool drawing = false;
    for (int64_t i = 0; i < series->count; i++) {
        double y = y_of(a->panel, series, i);
        if (isnan(y)) {
            drawing = false;
            continue;
        }
        double x = px(a, x_of(a->panel, series, i));
        if (drawing)
            cairo_line_to(a->canvas->cairo, x, py(a, y));
        else
            cairo_move_to(a->canvas->cairo, x, py(a, y));
        drawing = true;
    }
}

/* For each pixel column the lowest and highest value. */
static void trace_columns(const axes *a, const cr_plot_series *series)
{
    range column = { INFINITY, -INFINITY };
    double at = NAN;
    for (int64_t i = 0; i <= series->count; i++) {
        double y = i < series->count ? y_of(a->panel, series, i) : NAN;
        double x = i < series->count && !isnan(y) ? floor(px(a, x_of(a->panel, series, i))) : NAN;
        if (i < series->count && isnan(y))
            continue;
        if (x != at && column.low <= column.high) {
            cairo_line_to(a->canvas->cairo, at, py(a, column.low));
            cairo_line_to(a->canvas->cairo, at, py(a, column.high));
            column = (range){ INFINITY, -INFINITY };
        }
        at = x;
        if (!isnan(y))
            range_add(&column, y);
    }
}

/* A point with no neighbour to be joined to would be invisible as a line. */
static bool alone(const axes *a, const cr_plot_series *series, int64_t i)
{
    bool before = i > 0 && !isnan(y_of(a->panel, series, i - 1));
    bool after = i + 1 < series->count && !isnan(y_of(a->panel, series, i + 1));
    return !before && !after;
}

/* Columns from zero, nine tenths as wide as the points are apart. */
static void draw_columns(const axes *a, const cr_plot_series *series)
{
    double apart = a->right - a->left;
    for (int64_t i = 1; i < series->count; i++)
        apart = fmin(apart,
                     fabs(px(a, x_of(a->panel, series, i)) - px(a, x_of(a->panel, series, i - 1))));
    double zero = fmin(fmax(py(a, a->panel->log_y ? a->y.low : 0), a->top), a->bottom);
    for (int64_t i = 0; i < series->count; i++) {
        double y = y_of(a->panel, series, i);
        if (isnan(y))
            continue;
        double end = py(a, y);
        cairo_rectangle(a->canvas->cairo, px(a, x_of(a->panel, series, i)) - 0.45 * apart,
                        fmin(end, zero), 0.9 * apart, fabs(end - zero));
    }
    cairo_fill(a->canvas->cairo);
}

static void draw_series(const axes *a, int index)
{
    const cr_plot_series *series = &a->panel->series[index];
    cairo_t *cairo = a->canvas->cairo;
    if (series->bars) {
        cr_canvas_color(a->canvas, a->canvas->theme->series[index % CR_PALETTE_SIZE]);
        draw_columns(a, series);
        return;
    }
    bool dense = (double)series->count > 3 * (a->right - a->left);
    /* A dashed line without a name is a mark to compare with, not one of the series. */
    bool mark = series->dashed && series->name == NULL;
    cr_canvas_color(a->canvas, mark ? a->canvas->theme->axis
                                    : a->canvas->theme->series[index % CR_PALETTE_SIZE]);
    cairo_set_line_width(cairo, dense ? 1.25 : 2);
    cairo_set_line_join(cairo, CAIRO_LINE_JOIN_ROUND);
    if (series->dashed)
        cairo_set_dash(cairo, (const double[]){ 6, 4 }, 2, 0);
    if (dense)
        trace_columns(a, series);
    else
        trace_points(a, series);
    cairo_stroke(cairo);
    cairo_set_dash(cairo, NULL, 0, 0);
    if (dense || series->plain)
        return;
    for (int64_t i = 0; i < series->count; i++) {
        double y = y_of(a->panel, series, i);
        if (!isnan(y) && (series->count <= MARKER_LIMIT || alone(a, series, i)))
            draw_marker(a, px(a, x_of(a->panel, series, i)), py(a, y));
    }
}

static void draw_mark(const axes *a)
{
    cr_canvas *canvas = a->canvas;
    double x = px(a, a->panel->log_x ? log10(a->panel->mark_x) : a->panel->mark_x);
    if (!(x >= a->left && x <= a->right))
        return;
    cairo_set_line_width(canvas->cairo, 1);
    cairo_set_dash(canvas->cairo, (const double[]){ 3, 3 }, 2, 0);
    cr_canvas_color(canvas, canvas->theme->axis);
    cr_canvas_line(canvas, x, a->top - 4, x, a->bottom);
    cairo_set_dash(canvas->cairo, NULL, 0, 0);
    double half = cr_canvas_text_width(canvas, TICK_SIZE, a->panel->mark_label) / 2;
    double middle = fmax(fmin(x, a->right - half), a->left + half);
    cr_font font = { .size = TICK_SIZE, .color = canvas->theme->muted, .align = 0.5 };
    cr_canvas_text(canvas, middle, a->top - 8, font, a->panel->mark_label);
}

static void draw_panel(cr_canvas *canvas, const cr_plot_panel *panel, double left, double top,
                       double right, double bottom)
{
    axes a = { .canvas = canvas, .panel = panel };
    find_ranges(&a);
    place(&a, left, top, right, bottom);
    draw_axes(&a, left);
    if (a.empty) {
        cr_font font = { .size = LABEL_SIZE, .color = canvas->theme->muted, .align = 0.5 };
        cr_canvas_text(canvas, (a.left + a.right) / 2, (a.top + a.bottom) / 2, font,
                       "no finite values");
        return;
    }
    if (panel->mark_label != NULL)
        draw_mark(&a);
    cairo_save(canvas->cairo);
    cairo_rectangle(canvas->cairo, a.left - 4, a.top - 4, a.right - a.left + 8,
                    a.bottom - a.top + 8);
    cairo_clip(canvas->cairo);
    for (int s = 0; s < panel->series_count; s++)
        draw_series(&a, s);
    cairo_restore(canvas->cairo);
}

static cr_status check_panel(const cr_plot_panel *panel)
{
    if (panel->series_count < 0 || (panel->series_count > 0 && panel->series == NULL))
        return cr_error_set(CR_ERROR_ARGUMENT, "line chart: a panel has no list of series");
    for (int s = 0; s < panel->series_count; s++) {
        if (panel->series[s].count < 0 || (panel->series[s].count > 0 && !panel->series[s].y))
            return cr_error_set(CR_ERROR_ARGUMENT, "line chart: series %d has no values", s);
    }
    bool x_bounded = panel->x_min != 0 || panel->x_max != 0;
    if (x_bounded && (!(panel->x_min < panel->x_max) || (panel->log_x && panel->x_min <= 0)))
        return cr_error_set(CR_ERROR_ARGUMENT, "line chart: x_min %g and x_max %g span no axis",
                            panel->x_min, panel->x_max);
    bool bounded = panel->y_min != 0 || panel->y_max != 0;
    if (bounded && (!(panel->y_min < panel->y_max) || (panel->log_y && panel->y_min <= 0)))
        return cr_error_set(CR_ERROR_ARGUMENT, "line chart: y_min %g and y_max %g span no axis",
                            panel->y_min, panel->y_max);
    return CR_OK;
}

cr_status cr_plot_lines_with(cr_plot_lines_args args)
{
    int count = args.panel_count != 0 ? args.panel_count : 1;
    if (args.panels == NULL || count < 1 || count > MAX_PANELS || args.columns < 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "line chart: %d panels, but there must be 1 to %d",
                            args.panels != NULL ? count : 0, MAX_PANELS);
    for (int i = 0; i < count; i++) {
        if (check_panel(&args.panels[i]) != CR_OK)
            return cr_error_status();
    }
    int columns = args.columns != 0 ? args.columns : 1;
    int rows = (count + columns - 1) / columns;
    int height = (int)cr_canvas_title_height(&args.style) + (rows == 1 ? 380 : 260 * rows);
    cr_canvas canvas;
    if (cr_canvas_open(&canvas, args.sink, &args.style, 720, height) != CR_OK)
        return cr_error_status();
    double width = (canvas.width - 24) / columns;
    double tall = (canvas.height - canvas.top - 12) / rows;
    for (int i = 0; i < count; i++) {
        double left = 16 + i % columns * width;
        double top = canvas.top + 8 + i / columns * tall;
        draw_panel(&canvas, &args.panels[i], left, top, left + width - 8, top + tall - 8);
    }
    return cr_canvas_close(&canvas);
}
