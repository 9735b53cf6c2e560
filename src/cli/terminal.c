/* What can be shown where, and how text and numbers are laid out for a person. */
#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

#define DEFAULT_WIDTH 80
#define LEAST_WIDTH   40

static int limit_width(long width)
{
    if (width < LEAST_WIDTH)
        return LEAST_WIDTH;
    return width > 1000 ? 1000 : (int)width;
}

int terminal_width(FILE *stream)
{
    struct winsize size;
    long long columns;
    const char *setting = getenv("COLUMNS");
    if (setting && cr_parse_int64(setting, &columns) && columns > 0)
        return limit_width((long)columns);
    if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return limit_width(size.ws_col);
    return DEFAULT_WIDTH;
}

bool terminal_is_live(FILE *stream)
{
    const char *kind = getenv("TERM");
    return isatty(fileno(stream)) && kind && *kind && strcmp(kind, "dumb") != 0;
}

bool terminal_has_color(FILE *stream)
{
    const char *refused = getenv("NO_COLOR");
    return terminal_is_live(stream) && !(refused && *refused);
}

bool terminal_has_unicode(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

int text_columns(const char *text)
{
    int columns = 0;
    for (; *text; text++)
        if (((unsigned char)*text & 0xC0) != 0x80) /* not a continuation byte */
            columns++;
    return columns;
}

void text_pad(cr_text *out, int from, int to)
{
    if (to > from)
        cr_text_printf(out, "%*s", to - from, "");
}

void text_wrap(cr_text *out, const char *text, int column, int indent, int width)
{
    bool line_is_empty = true;
    while (*text) {
        if (*text == '\n') { /* two of them part paragraphs */
            cr_text_append(out, "\n\n");
            text += strspn(text, "\n");
            text_pad(out, 0, indent);
            column = indent;
            line_is_empty = true;
        }
        size_t length = strcspn(text, " \n");
        char word[256];
        snprintf(word, sizeof word, "%.*s", (int)length, text);
        int columns = text_columns(word);
        if (!line_is_empty && column + 1 + columns > width) {
            cr_text_append(out, "\n");
            text_pad(out, 0, indent);
            column = indent;
            line_is_empty = true;
        }
        cr_text_printf(out, "%s%s", line_is_empty ? "" : " ", word);
        column += columns + !line_is_empty;
        line_is_empty = false;
        text += length;
        text += strspn(text, " ");
    }
}

const char *format_count(char buffer[NUMBER_SIZE], int64_t value)
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)value);
    int at = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && digits[i - 1] != '-' && (length - i) % 3 == 0)
            buffer[at++] = ',';
        buffer[at++] = digits[i];
    }
    buffer[at] = '\0';
    return buffer;
}

/* Three digits and the unit of the power of `base` that leaves a number below it. */
static const char *format_unit(char buffer[NUMBER_SIZE], double value, double base,
                               const char *const units[5])
{
    int unit = 0;
    while (fabs(value) >= base * 0.9995 && unit < 4) {
        value /= base;
        unit++;
    }
    int decimals = unit == 0 || fabs(value) >= 99.95 ? 0 : fabs(value) >= 9.995 ? 1 : 2;
    snprintf(buffer, NUMBER_SIZE, "%.*f%s%s", decimals, value, *units[unit] ? " " : "",
             units[unit]);
    return buffer;
}

const char *format_scaled(char buffer[NUMBER_SIZE], double value)
{
    static const char *const units[] = { "", "k", "M", "G", "T" };
    return format_unit(buffer, value, 1000, units);
}

const char *format_bytes(char buffer[NUMBER_SIZE], double bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    return format_unit(buffer, bytes, 1024, units);
}

const char *format_seconds(char buffer[NUMBER_SIZE], double seconds)
{
    if (seconds < 999.5e-6)
        snprintf(buffer, NUMBER_SIZE, "%.3g %ss", seconds * 1e6,
                 terminal_has_unicode() ? "µ" : "u");
    else if (seconds < 0.9995)
        snprintf(buffer, NUMBER_SIZE, "%.3g ms", seconds * 1e3);
    else if (seconds < 99.95)
        snprintf(buffer, NUMBER_SIZE, "%.3g s", seconds);
    else
        format_clock(buffer, seconds);
    return buffer;
}

const char *format_clock(char buffer[NUMBER_SIZE], double seconds)
{
    long long whole = seconds > 0 && seconds < 1e12 ? (long long)(seconds + 0.5) : 0;
    long long hours = whole / 3600, minutes = whole / 60 % 60;
    if (hours > 0)
        snprintf(buffer, NUMBER_SIZE, "%lld:%02lld:%02lld", hours, minutes, whole % 60);
    else
        snprintf(buffer, NUMBER_SIZE, "%lld:%02lld", minutes, whole % 60);
    return buffer;
}

const char *format_sizes(char *buffer, size_t room, const cr_shape *shape, int first)
{
    int at = 0;
    buffer[0] = '\0';
    for (int i = first; i < shape->ndim && at < (int)room; i++)
        at += snprintf(buffer + at, room - (size_t)at, "%s%lld", i > first ? "x" : "",
                       (long long)shape->dim[i]);
    return buffer;
}
