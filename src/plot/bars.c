/* Horizontal bars from zero, each on a line of its own with its name before and its value behind.
 */
#include <math.h>
#include <stdio.h>

#include "canvas.h"

enum { MAX_BARS = 1000 };

/* Where things are: names end at `left`, zero is at `zero`, one unit is `unit` pixels. */
typedef struct layout {
    double row, size;
    double left, right, zero, unit;
    double step; /* how fine values are written */
} layout;

static bool is_drawn(double value)
{
    return fabs(value) <= CR_LARGEST_DRAWN;
}

static double drawn_or_zero(double value)
{
    return is_drawn(value) ? value : 0;
}

static layout plan(cr_canvas *canvas, const cr_plot_bars_args *args)
{
    layout l = { .row = (canvas->height - canvas->top - 24) / (double)args->count };
    l.size = fmin(13, 0.72 * l.row);
    double low = 0;
    double high = 0;
    double widest = 0;
    for (int64_t i = 0; i < args->count; i++) {
        low = fmin(low, drawn_or_zero(args->values[i]));
        high = fmax(high, drawn_or_zero(args->values[i]));
        if (args->names != NULL && args->names[i] != NULL)
            widest = fmax(widest, cr_canvas_text_width(canvas, l.size, args->names[i]));
    }
    if (low == high)
        high = 1;
    double room = 5 * l.size + 12; /* for a value beside its bar */
    l.left = 16 + fmin(widest, 0.4 * canvas->width);
    l.right = canvas->width - 16;
    double first = l.left + 8 + (low < 0 ? room : 0);
    l.unit = (l.right - room - first) / (high - low);
    l.zero = first - low * l.unit;
    l.step = pow(10, floor(log10(high - low)) - 2);
    if (args->percent)
        l.step = 0.001;
    return l;
}

static void draw_bar(cr_canvas *canvas, const layout *l, const cr_plot_bars_args *args, int64_t i)
{
    double middle = canvas->top + 12 + ((double)i + 0.5) * l->row;
    double baseline = middle + 0.36 * l->size;
    double value = args->values[i];
    double length = drawn_or_zero(value) * l->unit;
    cr_font font = { .size = l->size, .color = canvas->theme->text, .align = 1 };
    if (args->names != NULL && args->names[i] != NULL) {
        font.limit = l->left - 16;
        cr_canvas_text(canvas, l->left, baseline, font, args->names[i]);
    }
    cr_canvas_color(canvas, canvas->theme->series[0]);
    cairo_rectangle(canvas->cairo, fmin(l->zero, l->zero + length), middle - 0.36 * l->row,
                    fabs(length), 0.72 * l->row);
    cairo_fill(canvas->cairo);
    char label[32];
    if (is_drawn(value))
        cr_tick_label(label, sizeof(label), value, l->step, args->percent);
    else
        snprintf(label, sizeof(label), "not finite");
    font.limit = 0;
    font.align = length < 0;
    font.color = canvas->theme->muted;
    cr_canvas_text(canvas, l->zero + length + (length < 0 ? -6 : 6), baseline, font, label);
}

cr_status cr_plot_bars_with(cr_plot_bars_args args)
{
    if (args.values == NULL || args.count < 1 || args.count > MAX_BARS)
        return cr_error_set(CR_ERROR_ARGUMENT, "bar chart: %lld values, but there must be 1 to %d",
                            args.values != NULL ? (long long)args.count : 0, MAX_BARS);
    double row = args.count <= 40 ? 28 : 15;
    int height = (int)(cr_canvas_title_height(&args.style) + 24 + row * (double)args.count);
    cr_canvas canvas;
    if (cr_canvas_open(&canvas, args.sink, &args.style, 640, height < 64 ? 64 : height) != CR_OK)
        return cr_error_status();
    layout l = plan(&canvas, &args);
    for (int64_t i = 0; i < args.count; i++)
        draw_bar(&canvas, &l, &args, i);
    cairo_set_line_width(canvas.cairo, 1);
    cr_canvas_color(&canvas, canvas.theme->axis);
    cr_canvas_line(&canvas, l.zero, canvas.top + 8, l.zero, canvas.height - 8);
    return cr_canvas_close(&canvas);
}
