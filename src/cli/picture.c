/* Small pictures on a terminal: two pixels a character, one above the other, in colour where the
 * terminal has it and as shades of characters elsewhere. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define GAP         3  /* columns between pictures */
#define LARGEST     48 /* columns of one picture; larger ones are shrunk */
#define ASCII_RAMP  " .:-=+*#%@"
#define BLOCK_UPPER "▀"

typedef struct canvas {
    bool color; /* or characters from light to dark */
    bool exact; /* 16 million colours instead of 256 */
} canvas;

typedef struct color {
    int red, green, blue;
} color;

static int shown_width(const cli_picture *picture)
{
    return picture->width > LARGEST ? LARGEST : picture->width;
}

static int shown_height(const cli_picture *picture)
{
    int64_t width = shown_width(picture);
    int64_t height = ((int64_t)picture->height * width + picture->width / 2) / picture->width;
    return height < 1 ? 1 : (int)height;
}

/* The mean of the pixels that one shown pixel stands for; black below the picture. */
static color shown_pixel(const cli_picture *picture, int x, int y)
{
    int width = shown_width(picture), height = shown_height(picture);
    if (y >= height)
        return (color){ 0 };
    int left = x * picture->width / width, right = (x + 1) * picture->width / width;
    int top = y * picture->height / height, bottom = (y + 1) * picture->height / height;
    int64_t sums[3] = { 0 }, count = 0;
    for (int row = top; row < bottom || row == top; row++) {
        for (int column = left; column < right || column == left; column++) {
            int64_t at = ((int64_t)row * picture->width + column) * picture->channels;
            for (int c = 0; c < 3; c++)
                sums[c] += picture->pixels[at + (picture->channels >= 3 ? c : 0)];
            count++;
        }
    }
    return (color){ (int)(sums[0] / count), (int)(sums[1] / count), (int)(sums[2] / count) };
}

/* The nearest of the 256 colours of most terminals: 24 shades of grey or a cube of 6 steps. */
static int palette_index(color c)
{
    if (abs(c.red - c.green) < 8 && abs(c.green - c.blue) < 8) {
        int shade = (c.green - 3) / 10;
        if (c.green < 4)
            return 16;
        return shade > 23 ? 231 : 232 + shade;
    }
    return 16 + 36 * ((c.red + 25) / 51) + 6 * ((c.green + 25) / 51) + (c.blue + 25) / 51;
}

static void append_pixels(cr_text *out, canvas drawn, color upper, color lower)
{
    if (!drawn.color) {
        int light = (299 * (upper.red + lower.red) + 587 * (upper.green + lower.green) +
                     114 * (upper.blue + lower.blue)) /
                    2000;
        cr_text_printf(out, "%c", ASCII_RAMP[light * 9 / 255]);
    } else if (drawn.exact) {
        cr_text_printf(out, "\033[38;2;%d;%d;%d;48;2;%d;%d;%dm" BLOCK_UPPER, upper.red, upper.green,
                       upper.blue, lower.red, lower.green, lower.blue);
    } else {
        cr_text_printf(out, "\033[38;5;%d;48;5;%dm" BLOCK_UPPER, palette_index(upper),
                       palette_index(lower));
    }
}

static void append_pixel_line(cr_text *out, canvas drawn, const cli_picture *picture, int line)
{
    for (int x = 0; x < shown_width(picture); x++)
        append_pixels(out, drawn, shown_pixel(picture, x, 2 * line),
                      shown_pixel(picture, x, 2 * line + 1));
    if (drawn.color)
        cr_text_append(out, "\033[0m");
}

static int column_width(const cli_picture *picture)
{
    int width = shown_width(picture);
    for (int i = 0; i < PICTURE_CAPTIONS; i++)
        if (text_columns(picture->captions[i]) > width)
            width = text_columns(picture->captions[i]);
    return width;
}

/* A line of captions, unless all of them are empty. */
static void append_captions(cr_text *out, const cli_picture *pictures, int count, int caption)
{
    int filled = 0;
    for (int i = 0; i < count; i++)
        if (pictures[i].captions[caption][0])
            filled = i + 1;
    for (int i = 0; i < filled; i++) {
        const char *text = pictures[i].captions[caption];
        cr_text_append(out, text);
        if (i + 1 < filled)
            text_pad(out, text_columns(text), column_width(&pictures[i]) + GAP);
    }
    cr_text_append(out, filled ? "\n" : "");
}

/* One row of pictures side by side, their captions below. */
static void append_pictures(cr_text *out, canvas drawn, const cli_picture *pictures, int count)
{
    int lines = 0;
    for (int i = 0; i < count; i++)
        if ((shown_height(&pictures[i]) + 1) / 2 > lines)
            lines = (shown_height(&pictures[i]) + 1) / 2;
    for (int line = 0; line < lines; line++) {
        for (int i = 0; i < count; i++) {
            append_pixel_line(out, drawn, &pictures[i], line);
            if (i + 1 < count)
                text_pad(out, shown_width(&pictures[i]), column_width(&pictures[i]) + GAP);
        }
        cr_text_append(out, "\n");
    }
    for (int caption = 0; caption < PICTURE_CAPTIONS; caption++)
        append_captions(out, pictures, count, caption);
}

void show_pictures(FILE *stream, const cli_picture *pictures, int count)
{
    const char *depth = getenv("COLORTERM");
    canvas drawn = { .color = terminal_has_color(stream) && terminal_has_unicode(),
                     .exact = depth &&
                              (strcmp(depth, "truecolor") == 0 || strcmp(depth, "24bit") == 0) };
    int width = terminal_width(stream);
    cr_text out = { 0 };
    for (int first = 0; first < count;) {
        int here = 1, taken = column_width(&pictures[first]);
        while (first + here < count &&
               taken + GAP + column_width(&pictures[first + here]) <= width) {
            taken += GAP + column_width(&pictures[first + here]);
            here++;
        }
        cr_text_append(&out, first ? "\n" : "");
        append_pictures(&out, drawn, &pictures[first], here);
        first += here;
    }
    if (out.data)
        fputs(out.data, stream);
    cr_text_free(&out);
}
