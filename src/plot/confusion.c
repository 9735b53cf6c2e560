/* The heat map of a confusion matrix. Up to a few dozen classes every cell is a rectangle with its
 * number; beyond that the matrix is one embedded picture, which keeps an SVG of a thousand classes
 * small, and only some of the names are written. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "canvas.h"
#include "cresset/memory.h"

enum { MAX_CELLS_AS_SHAPES = 40 };

static const double MAX_CELL = 140; /* of few classes */

/* Where the matrix is, how large its cells are, and how large their text. */
typedef struct grid {
    const cr_plot_confusion_args *args;
    const double *share; /* what colours stand for */
    double left, top, cell;
    double names_room; /* the width that names have */
    double number_size;
    double name_size;
    int64_t name_step; /* every which class has its name written */
    bool turned;       /* column names are slanted */
} grid;

static void class_name(const grid *g, int64_t i, char *number, size_t size, const char **name)
{
    snprintf(number, size, "%lld", (long long)i);
    *name = g->args->names != NULL && g->args->names[i] != NULL ? g->args->names[i] : number;
}

static void cell_label(const grid *g, int64_t at, char *buffer, size_t size)
{
    if (g->args->norm == CR_CONFUSION_COUNTS) {
        snprintf(buffer, size, "%lld", (long long)g->args->matrix[at]);
        return;
    }
    double percent = 100 * g->share[at];
    if (percent > 0 && percent < 0.1)
        snprintf(buffer, size, "<0.1");
    else
        snprintf(buffer, size, "%.*f", percent == 0 || percent >= 99.95 ? 0 : 1, percent);
}

static double widest_name(cr_canvas *canvas, const grid *g, double size)
{
    double widest = 0;
    for (int64_t i = 0; i < g->args->classes; i++) {
        char number[24];
        const char *name;
        class_name(g, i, number, sizeof(number), &name);
        widest = fmax(widest, cr_canvas_text_width(canvas, size, name));
    }
    return widest;
}

/* The largest text that fits the longest number into a cell; 0 if that would be unreadable. */
static double fit_numbers(cr_canvas *canvas, const grid *g)
{
    double widest = 0;
    if (g->args->classes > MAX_CELLS_AS_SHAPES)
        return 0;
    for (int64_t at = 0; at < g->args->classes * g->args->classes; at++) {
        char label[32];
        cell_label(g, at, label, sizeof(label));
        widest = fmax(widest, cr_canvas_text_width(canvas, 10, label));
    }
    double size = fmin(13, 10 * 0.86 * g->cell / widest);
    size = fmin(size, 0.6 * g->cell);
    return size >= 6.5 ? size : 0;
}

static grid plan(cr_canvas *canvas, const cr_plot_confusion_args *args, const double *share)
{
    grid g = { .args = args, .share = share, .name_size = 12 };
    double classes = (double)args->classes;
    double rough = 0.75 * fmin(canvas->width, canvas->height - canvas->top) / classes;
    g.name_size = fmax(8, fmin(12, 0.8 * rough));
    double widest = fmin(widest_name(canvas, &g, g.name_size), 0.24 * canvas->width);
    g.left = 16 + 22 + widest + 8;
    /* Slanted names of columns lean 45 degrees to the right of their cells. */
    double slanted = 0.71 * widest + 14;
    double room = canvas->height - canvas->top - 30 - 30;
    g.cell = fmin((canvas->width - g.left - 20) / classes, (room - 20) / classes);
    g.turned = widest > 0.92 * g.cell;
    if (g.turned)
        g.cell = fmin((canvas->width - g.left - 24) / classes, (room - slanted) / classes);
    g.cell = fmin(g.cell, MAX_CELL);
    g.top = canvas->top + 8;
    g.names_room = widest;
    g.left += fmax(0, (canvas->width - g.left - 20 - g.cell * classes) / 2);
    /* Slanted names stand as far apart as their cells, times sin 45 degrees. */
    g.name_step = (int64_t)ceil((g.name_size + 2) / (g.turned ? 0.7 * g.cell : g.cell));
    g.number_size = fit_numbers(canvas, &g);
    return g;
}

static void draw_cells(cr_canvas *canvas, const grid *g)
{
    int64_t classes = g->args->classes;
    for (int64_t at = 0; at < classes * classes; at++) {
        double x = g->left + (double)(at % classes) * g->cell;
        double y = g->top + (double)(at / classes) * g->cell;
        cr_color color = cr_theme_heat(canvas->theme, sqrt(g->share[at]));
        cr_canvas_color(canvas, color);
        cairo_rectangle(canvas->cairo, x, y, g->cell - 1, g->cell - 1);
        cairo_fill(canvas->cairo);
        if (g->number_size == 0)
            continue;
        char label[32];
        cell_label(g, at, label, sizeof(label));
        cr_color ink = cr_color_luminance(color) > 0.48 ? (cr_color){ 0.08, 0.1, 0.13 }
                                                        : (cr_color){ 1, 1, 1 };
        /* Zeros recede, so that the mistakes stand out. */
        if (g->args->matrix[at] == 0)
            ink = cr_color_mix(color, ink, 0.4);
        cr_font font = { .size = g->number_size, .color = ink, .align = 0.5 };
        cr_canvas_text(canvas, x + (g->cell - 1) / 2, y + g->cell / 2 + 0.34 * g->number_size, font,
                       label);
    }
}

/* Each class as so many pixels that the picture is not smoothed into its neighbours. */
static cr_status draw_picture(cr_canvas *canvas, const grid *g)
{
    int64_t classes = g->args->classes;
    int64_t repeat = classes < 200 ? 8 : classes < 500 ? 3 : 1;
    int64_t side = classes * repeat;
    uint32_t *rgb = cr_alloc_array((size_t)(side * side), sizeof(*rgb));
    if (rgb == NULL)
        return cr_error_status();
    for (int64_t at = 0; at < side * side; at++) {
        int64_t row = at / side / repeat;
        int64_t column = at % side / repeat;
        cr_color color = cr_theme_heat(canvas->theme, sqrt(g->share[row * classes + column]));
        rgb[at] = (uint32_t)(color.red * 255 + 0.5) << 16 |
                  (uint32_t)(color.green * 255 + 0.5) << 8 | (uint32_t)(color.blue * 255 + 0.5);
    }
    double extent = g->cell * (double)classes;
    cr_canvas_pixels(canvas, rgb, (int)side, (int)side, g->left, g->top, extent, extent);
    cr_free(rgb);
    cairo_set_line_width(canvas->cairo, 1);
    cr_canvas_color(canvas, canvas->theme->grid);
    cairo_rectangle(canvas->cairo, g->left, g->top, extent, extent);
    cairo_stroke(canvas->cairo);
    return CR_OK;
}

static void draw_names(cr_canvas *canvas, const grid *g)
{
    double bottom = g->top + g->cell * (double)g->args->classes;
    for (int64_t i = 0; i < g->args->classes; i += g->name_step) {
        char number[24];
        const char *name;
        class_name(g, i, number, sizeof(number), &name);
        double middle = ((double)i + 0.5) * g->cell - 0.5;
        cr_font font = { .size = g->name_size,
                         .color = canvas->theme->text,
                         .align = 1,
                         .limit = g->names_room + 1 };
        cr_canvas_text(canvas, g->left - 8, g->top + middle + 0.36 * g->name_size, font, name);
        if (g->turned) {
            font.turn = -M_PI / 4;
            cr_canvas_text(canvas, g->left + middle + 0.5 * g->name_size, bottom + 12, font, name);
        } else {
            font.align = 0.5;
            cr_canvas_text(canvas, g->left + middle, bottom + 4 + g->name_size, font, name);
        }
    }
}

static void draw_axis_labels(cr_canvas *canvas, const grid *g)
{
    double extent = g->cell * (double)g->args->classes;
    cr_font font = { .size = 12, .color = canvas->theme->muted, .align = 0.5, .bold = true };
    double names = g->turned ? 0.71 * g->names_room + 14 : 20;
    cr_canvas_text(canvas, g->left + extent / 2, g->top + extent + names + 18, font, "predicted");
    font.turn = -M_PI / 2;
    cr_canvas_text(canvas, g->left - g->names_room - 20, g->top + extent / 2, font, "true");
}

/* The height at which the matrix fills a canvas of this width, from the lengths of the names. */
static int natural_height(const cr_plot_confusion_args *args, int width)
{
    size_t longest = 3;
    for (int64_t i = 0; args->names != NULL && i < args->classes; i++) {
        size_t length = args->names[i] != NULL ? strlen(args->names[i]) : 0;
        longest = length > longest ? length : longest;
    }
    double names = fmin(6.8 * (double)longest, 0.24 * width);
    double matrix = fmin(width - names - 66, MAX_CELL * (double)args->classes);
    bool turned = names > 0.92 * matrix / (double)args->classes;
    return (int)(cr_canvas_title_height(&args->style) + matrix + (turned ? 0.71 * names : 8) + 64);
}

static cr_status draw_confusion(cr_canvas *canvas, const cr_plot_confusion_args *args,
                                const double *share)
{
    grid g = plan(canvas, args, share);
    if (args->classes > MAX_CELLS_AS_SHAPES)
        draw_picture(canvas, &g);
    else
        draw_cells(canvas, &g);
    draw_names(canvas, &g);
    draw_axis_labels(canvas, &g);
    return cr_error_status();
}

cr_status cr_plot_confusion_with(cr_plot_confusion_args args)
{
    if (args.matrix == NULL || args.classes < 1 || args.classes > CR_MAX_DRAWN_CLASSES)
        return cr_error_set(
            CR_ERROR_ARGUMENT, "confusion matrix chart: %lld classes, but there must be 1 to %d",
            args.matrix != NULL ? (long long)args.classes : 0, CR_MAX_DRAWN_CLASSES);
    size_t cells = (size_t)(args.classes * args.classes);
    double *share = cr_alloc_array(cells, sizeof(*share));
    if (share == NULL)
        return cr_error_status();
    cr_confusion_norm norm = args.norm == CR_CONFUSION_COUNTS ? CR_CONFUSION_BY_TRUE : args.norm;
    int width = args.style.width != 0 ? args.style.width : 660;
    int height = natural_height(&args, width);
    cr_canvas canvas;
    if (cr_confusion_matrix_normalize(args.matrix, args.classes, norm, share) == CR_OK &&
        cr_canvas_open(&canvas, args.sink, &args.style, width, height) == CR_OK) {
        draw_confusion(&canvas, &args, share);
        cr_canvas_close(&canvas);
    }
    cr_free(share);
    return cr_error_status();
}
