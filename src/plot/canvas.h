/* The private side of the charts: a canvas (a cairo surface, its theme and its way out), text on
 * it, the ticks of an axis, and the pieces of HTML that reports are made of. Coordinates are
 * logical pixels from the top left. */
#ifndef CR_CANVAS_H
#define CR_CANVAS_H

#include <cairo.h>

#include "cresset/report.h"

typedef struct cr_color {
    double red, green, blue;
} cr_color;

/* Values beyond this count as not finite: the span of an axis must not overflow. */
#define CR_LARGEST_DRAWN 1e300

enum { CR_PALETTE_SIZE = 8 };

/* The most classes whose matrix is drawn and whose scores are listed. */
enum { CR_MAX_DRAWN_CLASSES = 1000 };

typedef struct cr_theme {
    cr_color background;
    cr_color text;
    cr_color muted; /* tick labels, axis labels */
    cr_color grid;
    cr_color axis;
    cr_color wrong;
    cr_color heat_low, heat_middle, heat_high;
    cr_color series[CR_PALETTE_SIZE];
} cr_theme;

typedef struct cr_canvas {
    cairo_t *cairo;
    cairo_surface_t *surface;
    const cr_theme *theme;
    double width, height;
    double top; /* below the title */
    cr_plot_sink sink;
    bool svg;
    cr_text bytes; /* what the surface has written */
} cr_canvas;

/* Opens a canvas of the style's size or the given default, paints background and title. The canvas
 * must stay where it is in memory until it is closed. On failure nothing is left to close. */
cr_status cr_canvas_open(cr_canvas *canvas, cr_plot_sink sink, const cr_plot_style *style,
                         int width, int height);

/* Writes the picture to its sink and frees the canvas, also after a failure. */
cr_status cr_canvas_close(cr_canvas *canvas);

/* The height that the title of a chart takes, for charts that choose their height. */
double cr_canvas_title_height(const cr_plot_style *style);

void cr_canvas_color(cr_canvas *canvas, cr_color color);
void cr_canvas_line(cr_canvas *canvas, double x0, double y0, double x1, double y1);

/* How text is set: align 0 puts x at its left, 0.5 at its middle, 1 at its right; y is the
 * baseline; turn is in radians around (x, y). A limit above 0 cuts the text to that width. */
typedef struct cr_font {
    double size;
    cr_color color;
    double align;
    double limit;
    double turn;
    bool bold;
} cr_font;

void cr_canvas_text(cr_canvas *canvas, double x, double y, cr_font font, const char *string);
double cr_canvas_text_width(cr_canvas *canvas, double size, const char *string);

/* Copies what can be shown into clean (size bytes, at least 8): broken UTF-8 becomes U+FFFD,
 * control characters spaces. Returns where it stopped for want of room, at a whole character. */
const char *cr_utf8_clean(char *clean, size_t size, const char *string);

/* Draws pixels as a picture into a rectangle, unsmoothed where it grows. rgb holds 0x00RRGGBB
 * words, row-major. */
void cr_canvas_pixels(cr_canvas *canvas, const uint32_t *rgb, int width, int height, double x,
                      double y, double drawn_width, double drawn_height);

/* The words of a picture's pixels, to be freed with cr_free; NULL on failure. */
uint32_t *cr_picture_rgb(const cr_plot_picture *picture);

/* Appends a picture as PNG, shrunk where its longer side passes `side`. */
cr_status cr_picture_png(const cr_plot_picture *picture, int side, cr_text *png);

cr_color cr_color_mix(cr_color a, cr_color b, double share);
cr_color cr_theme_heat(const cr_theme *theme, double value);
double cr_color_luminance(cr_color color);

enum { CR_MAX_TICKS = 32 };

/* The ticks of an axis, ascending, and their distance; step 0 where that varies. */
typedef struct cr_ticks {
    double at[CR_MAX_TICKS];
    double step;
    int count;
} cr_ticks;

/* About `wanted` ticks at round numbers from low to high; whole numbers only if `whole`. */
cr_ticks cr_ticks_between(double low, double high, int wanted, bool whole);

/* The same where low, high and the ticks are logarithms to base ten. */
cr_ticks cr_ticks_between_logs(double low, double high, int wanted);

/* A number with as many digits as a step of that size needs; percent multiplies by 100. */
void cr_tick_label(char *buffer, size_t size, double value, double step, bool percent);

/* The panels of a run's curves (3 at most) over the given series (5 at most); returns how many
 * panels have data. */
enum { CR_REPORT_PANELS = 3, CR_REPORT_SERIES = 5 };
int cr_report_panels(const cr_report *report, cr_plot_panel *panels, cr_plot_series *series);

/* Whether there is a matrix, and one small enough to be drawn. */
bool cr_report_has_confusion(const cr_report *report);

/* Whether the curves of ranking can be drawn, and the reliability diagram. */
bool cr_report_has_ranking(const cr_report *report);
bool cr_report_has_reliability(const cr_report *report);

/* The page of a report while it is written: its charts are numbered, which makes the names inside
 * them differ. The pieces of it that more than one file writes, and the sections that stand in
 * report_sections.c. */
typedef struct cr_report_page {
    const cr_report *report;
    cr_text *html;
    int charts;
} cr_report_page;

/* Appends a chart that has been drawn, for light or for dark readers, as an element. */
void cr_page_chart(cr_report_page *page, const cr_text *svg, bool dark, const char *description);

/* A sample that was classified wrongly, with its caption. */
void cr_page_mistake(cr_report_page *page, const cr_report_mistake *mistake);

void cr_page_scores(cr_report_page *page);
void cr_page_labels(cr_report_page *page);
void cr_page_ranking(cr_report_page *page);
void cr_page_findings(cr_report_page *page);

/* The style sheet of a report. */
extern const char cr_report_style[];

/* HTML: text escaped; bytes in base64; an SVG as cairo writes it, with its inner names prefixed, as
 * an element of the given class with a description for those who do not see it. */
void cr_html_text(cr_text *html, const char *string);
void cr_html_base64(cr_text *html, const void *bytes, size_t count);
void cr_html_svg(cr_text *html, const char *svg, const char *prefix, const char *class_name,
                 const char *description);

#endif
