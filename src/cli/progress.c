/* Progress of a long work: on a terminal one line that is rewritten, elsewhere a plain line now and
 * then. Both go to standard error, so that standard output holds results only. */
#include "cli.h"
#include "cresset/system.h"

#define REPAINT_SECONDS 0.1
#define PLAIN_SECONDS   10.0
#define BAR_LEAST       10
#define BAR_MOST        40

void progress_begin(progress *bar, const char *label, int64_t total, const char *unit)
{
    *bar = (progress){ .label = label,
                       .unit = unit,
                       .total = total,
                       .first = -1,
                       .live = terminal_is_live(stderr),
                       .color = terminal_has_color(stderr),
                       .unicode = terminal_has_unicode(),
                       .began = cr_clock_seconds() };
    bar->painted = bar->live ? 0 : bar->began;
}

/* A bar of `columns` columns, of which `share` is done. */
static void append_bar(cr_text *out, const progress *bar, double share, int columns)
{
    int halves = (int)(share * columns * 2 + 0.5);
    const char *full = bar->unicode ? "━" : "#";
    const char *half = bar->unicode ? "╸" : "#";
    const char *none = bar->unicode ? (bar->color ? "━" : " ") : "-";
    cr_text_append(out, bar->color ? "\033[32m" : "");
    int at = 0;
    for (; at < halves / 2; at++)
        cr_text_append(out, full);
    if (halves % 2 && at < columns) {
        cr_text_append(out, half);
        at++;
    }
    cr_text_append(out, bar->color ? "\033[90m" : "");
    for (; at < columns; at++)
        cr_text_append(out, none);
    cr_text_append(out, bar->color ? "\033[0m" : "");
}

/* "  loss 0.3412  acc 88.1 %  12,345/s  0:12 left" */
static void append_figures(cr_text *out, const progress *bar, const char *tail)
{
    double elapsed = cr_clock_seconds() - bar->began;
    char number[NUMBER_SIZE];
    if (*tail)
        cr_text_printf(out, "  %s", tail);
    if (bar->done == bar->first || elapsed <= 0)
        return;
    double own_rate = (double)(bar->done - bar->first) / elapsed;
    double rate = bar->rate > 0 ? bar->rate : own_rate;
    double left = bar->left > 0 ? bar->left : (double)(bar->total - bar->done) / own_rate;
    if (rate >= 10)
        cr_text_printf(out, "  %s", format_count(number, (int64_t)(rate + 0.5)));
    else
        cr_text_printf(out, "  %.1f", rate);
    cr_text_printf(out, "%s%s/s", bar->live ? "" : " ", bar->live ? "" : bar->unit);
    if (left > 0)
        cr_text_printf(out, "  %s left", format_clock(number, left));
}

/* Cuts a line of plain text to a number of columns. */
static void cut_columns(char *text, int columns)
{
    for (; *text; text++) {
        if (((unsigned char)*text & 0xC0) == 0x80)
            continue;
        if (columns-- == 0) {
            *text = '\0';
            return;
        }
    }
}

static void paint_live(progress *bar, double share, const char *tail)
{
    int width = terminal_width(stderr) - 3; /* room for the ^C that a terminal shows */
    cr_text line = { 0 }, figures = { 0 };
    append_figures(&figures, bar, tail);
    int taken = text_columns(bar->label) + 7 + (figures.data ? text_columns(figures.data) : 0);
    int columns = width - taken > BAR_MOST ? BAR_MOST : width - taken;
    cr_text_printf(&line, "\r%s ", bar->label);
    if (columns >= BAR_LEAST)
        append_bar(&line, bar, share, columns);
    cr_text_printf(&line, "%s%3d %%", columns >= BAR_LEAST ? " " : "", (int)(share * 100));
    if (figures.data) {
        cut_columns(figures.data, width - text_columns(bar->label) - 6);
        cr_text_append(&line, figures.data);
    }
    cr_text_append(&line, "\033[K");
    if (line.data)
        fputs(line.data, stderr);
    fflush(stderr);
    cr_text_free(&figures);
    cr_text_free(&line);
    bar->shown = true;
}

static void print_plain(const progress *bar, double share, const char *tail)
{
    cr_text line = { 0 };
    cr_text_printf(&line, "%s  %d %%", bar->label, (int)(share * 100));
    append_figures(&line, bar, tail);
    if (line.data)
        fprintf(stderr, "%s\n", line.data);
    cr_text_free(&line);
}

void progress_update(progress *bar, int64_t done, const char *tail)
{
    double now = cr_clock_seconds();
    bar->done = done;
    if (bar->first < 0)
        bar->first = done;
    if (now - bar->painted < (bar->live ? REPAINT_SECONDS : PLAIN_SECONDS))
        return;
    bar->painted = now;
    double share = bar->total > 0 ? (double)done / (double)bar->total : 0;
    if (share > 1)
        share = 1;
    if (bar->live)
        paint_live(bar, share, tail);
    else
        print_plain(bar, share, tail);
}

void progress_clear(progress *bar)
{
    if (bar->shown)
        fputs("\r\033[K", stderr);
    fflush(stderr);
    bar->shown = false;
    bar->painted = bar->live ? 0 : bar->painted;
}
