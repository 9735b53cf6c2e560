/* Charts as PNG or SVG, drawn by cairo: lines, bars, confusion matrices, sheets of pictures.
 *
 *     cr_plot_series series[] = { { .name = "train", .y = train_loss, .count = epochs },
 *                                 { .name = "validation", .y = loss, .count = epochs } };
 *     cr_plot_panel panel = { .x_label = "epoch", .y_label = "loss", .series = series,
 *                             .series_count = 2 };
 *     cr_plot_lines(cr_plot_to_file("loss.png"), .panels = &panel);
 *
 * A chart goes to a file (written beside and renamed) or is appended to a cr_text. Every option
 * left at zero has the usual default. Colours stay apart for colour-blind eyes; strings are UTF-8,
 * what is not is shown as a replacement character, and what does not fit is cut with "…". Every
 * function is thread-safe; none keeps what it is given.
 *
 * Errors: CR_ERROR_ARGUMENT for missing data or sizes out of range, CR_ERROR_IO for a file that
 * cannot be written, CR_ERROR_MEMORY. Values that are not finite are left out of a chart, not
 * refused.
 *
 * In the component cresset_plot. In C++, call the functions ending in _with. */
#ifndef CRESSET_PLOT_H
#define CRESSET_PLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "cresset/metrics.h"
#include "cresset/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The longest side of a chart in pixels. */
#define CR_PLOT_MAX_SIDE 16384

/* Where a chart goes; made by one of the functions below. */
typedef struct cr_plot_sink {
    const char *path; /* a file, or NULL and then */
    cr_text *text;    /* the bytes are appended here */
    bool svg;         /* for text; a file goes by its ending */
} cr_plot_sink;

/* A file ending in .png or .svg. */
cr_plot_sink cr_plot_to_file(const char *path);
cr_plot_sink cr_plot_to_png(cr_text *text);
cr_plot_sink cr_plot_to_svg(cr_text *text);

/* What all charts share. */
typedef struct cr_plot_style {
    const char *title; /* NULL: none */
    int width;         /* logical pixels; 0: what suits the chart, 640 to 800 where possible */
    int height;
    double scale;     /* pixels of a PNG to a logical pixel, e.g. 2 for sharp screens; 0: 1 */
    bool dark;        /* light on dark instead of dark on light */
    bool transparent; /* no background */
} cr_plot_style;

/* One curve. A value that is not finite is a gap. */
typedef struct cr_plot_series {
    const char *name; /* for the legend; NULL: not listed */
    const double *x;  /* (count); NULL: 1, 2, 3 … */
    const double *y;  /* (count) */
    int64_t count;
    bool dashed;
    bool plain; /* no dots at the points, however few they are */
    bool bars;  /* columns from zero instead of a line */
} cr_plot_series;

/* One coordinate system. */
typedef struct cr_plot_panel {
    const char *title;
    const char *x_label;
    const char *y_label;
    const cr_plot_series *series;
    int series_count;
    double x_min; /* both 0: from the values */
    double x_max;
    double y_min; /* both 0: from the values */
    double y_max;
    bool log_x; /* logarithmic; values that are not positive are left out */
    bool log_y;
    bool percent;           /* values are fractions, shown in percent */
    const char *mark_label; /* a vertical line with this label, e.g. "best"… */
    double mark_x;          /* …here; no line without a label */
} cr_plot_panel;

typedef struct cr_plot_lines_args {
    cr_plot_sink sink;
    const cr_plot_panel *panels;
    int panel_count; /* 0: 1; at most 16 */
    int columns;     /* panels side by side; 0: 1 */
    cr_plot_style style;
} cr_plot_lines_args;

/* Curves, e.g. of a training run: one or more panels, each with axes, grid and legend. */
cr_status cr_plot_lines_with(cr_plot_lines_args args);
#define cr_plot_lines(where, ...)                                                                  \
    cr_plot_lines_with((cr_plot_lines_args){ .sink = (where), __VA_ARGS__ })

typedef struct cr_plot_bars_args {
    cr_plot_sink sink;
    const char *const *names; /* (count) */
    const double *values;     /* (count) */
    int64_t count;            /* at most 1000 */
    bool percent;             /* values are fractions, shown in percent */
    cr_plot_style style;
} cr_plot_bars_args;

/* Horizontal bars from zero, one a line, with name and value. */
cr_status cr_plot_bars_with(cr_plot_bars_args args);
#define cr_plot_bars(where, ...)                                                                   \
    cr_plot_bars_with((cr_plot_bars_args){ .sink = (where), __VA_ARGS__ })

typedef struct cr_plot_confusion_args {
    cr_plot_sink sink;
    const int64_t *matrix;    /* (classes, classes) as from cr_confusion_matrix_add */
    int64_t classes;          /* at most 1000 */
    const char *const *names; /* (classes); NULL: numbers */
    cr_confusion_norm norm;   /* what cells show: counts or percent; colours are always by row
                                 unless this is by column or by all */
    cr_plot_style style;
} cr_plot_confusion_args;

/* A confusion matrix as a heat map: true classes down, predicted ones across. Cells carry their
 * numbers while there is room for them. */
cr_status cr_plot_confusion_with(cr_plot_confusion_args args);
#define cr_plot_confusion(where, ...)                                                              \
    cr_plot_confusion_with((cr_plot_confusion_args){ .sink = (where), __VA_ARGS__ })

/* How well a classifier ranks: its classes' curves, each against the rest, from probabilities
 * (count, classes). Where there are more than eight classes those with the smallest areas are
 * drawn; of two classes the second. A class that never (or always) occurs has no curve. */
typedef struct cr_plot_ranking_args {
    cr_plot_sink sink;
    const int64_t *truth; /* (count) */
    const int64_t *marks; /* in its place, for several labels a sample: (count, classes) of 0, 1 */
    const float *probabilities;
    int64_t count;
    int64_t classes;
    const char *const *names; /* (classes); NULL: numbers */
    bool precision;           /* precision against recall instead of the ROC curve */
    cr_plot_style style;
} cr_plot_ranking_args;
cr_status cr_plot_ranking_with(cr_plot_ranking_args args);
#define cr_plot_ranking(where, ...)                                                                \
    cr_plot_ranking_with((cr_plot_ranking_args){ .sink = (where), __VA_ARGS__ })

/* A reliability diagram: accuracy against confidence by bin, and below it how many samples are in
 * each. */
typedef struct cr_plot_reliability_args {
    cr_plot_sink sink;
    const cr_calibration_bin *bins;
    int64_t bin_count;
    cr_plot_style style;
} cr_plot_reliability_args;
cr_status cr_plot_reliability_with(cr_plot_reliability_args args);
#define cr_plot_reliability(where, ...)                                                            \
    cr_plot_reliability_with((cr_plot_reliability_args){ .sink = (where), __VA_ARGS__ })

/* A picture of (height, width, channels) u8 pixels: 1 channel grey, 3 RGB, 4 RGB and alpha (which
 * is ignored). */
typedef struct cr_plot_picture {
    const uint8_t *pixels;
    int width;
    int height;
    int channels;
    const char *caption; /* up to three lines parted by '\n'; NULL: none */
    bool wrong;          /* frame and caption in the colour of mistakes */
} cr_plot_picture;

typedef struct cr_plot_pictures_args {
    cr_plot_sink sink;
    const cr_plot_picture *pictures;
    int64_t count; /* at most 1000 */
    int columns;   /* 0: as many as the width holds */
    int side;      /* logical pixels of the longer side of a picture; 0: 96 */
    cr_plot_style style;
} cr_plot_pictures_args;

/* A contact sheet: pictures in a grid, scaled to one size without smoothing where they grow. */
cr_status cr_plot_pictures_with(cr_plot_pictures_args args);
#define cr_plot_pictures(where, ...)                                                               \
    cr_plot_pictures_with((cr_plot_pictures_args){ .sink = (where), __VA_ARGS__ })

/* One picture's pixels as a PNG file, nothing around it. */
cr_status cr_plot_picture_png(const cr_plot_picture *picture, cr_text *png);

#ifdef __cplusplus
}
#endif
#endif
