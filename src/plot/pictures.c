/* Pictures: one alone as a PNG, and many in a grid with captions. */
#include <string.h>

#include "canvas.h"
#include "cresset/memory.h"

enum { MAX_PICTURES = 1000, MAX_PICTURE_SIDE = 8192, CAPTION_LINES = 3 };

static const double CAPTION_SIZE = 11;
static const double LINE_HEIGHT = 15;
static const double GAP = 16;

static cr_status check_picture(const cr_plot_picture *picture)
{
    bool channels = picture->channels == 1 || picture->channels == 3 || picture->channels == 4;
    bool sides = picture->width >= 1 && picture->width <= MAX_PICTURE_SIDE &&
                 picture->height >= 1 && picture->height <= MAX_PICTURE_SIDE;
    if (picture->pixels == NULL || !channels || !sides)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "picture: %d x %d pixels with %d channels cannot be drawn; sides are 1 "
                            "to %d, channels 1, 3 or 4",
                            picture->width, picture->height, picture->channels, MAX_PICTURE_SIDE);
    return CR_OK;
}

uint32_t *cr_picture_rgb(const cr_plot_picture *picture)
{
    if (check_picture(picture) != CR_OK)
        return NULL;
    size_t count = (size_t)picture->width * (size_t)picture->height;
    uint32_t *rgb = cr_alloc_array(count, sizeof(*rgb));
    if (rgb == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *pixel = picture->pixels + i * (size_t)picture->channels;
        uint32_t green = picture->channels == 1 ? pixel[0] : pixel[1];
        uint32_t blue = picture->channels == 1 ? pixel[0] : pixel[2];
        rgb[i] = (uint32_t)pixel[0] << 16 | green << 8 | blue;
    }
    return rgb;
}

static cairo_status_t append_bytes(void *text, const unsigned char *data, unsigned int length)
{
    cr_text_append_bytes(text, data, length);
    return cr_failed() ? CAIRO_STATUS_WRITE_ERROR : CAIRO_STATUS_SUCCESS;
}

/* The picture drawn on a smaller surface; out of memory, cairo gives a surface that says so. */
static cairo_surface_t *shrunk(cairo_surface_t *picture, int width, int height, int side)
{
    int longer = width > height ? width : height;
    int narrow = (int)((int64_t)width * side / longer);
    int low = (int)((int64_t)height * side / longer);
    cairo_surface_t *small =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, narrow < 1 ? 1 : narrow, low < 1 ? 1 : low);
    cairo_t *cairo = cairo_create(small);
    cairo_scale(cairo, (double)cairo_image_surface_get_width(small) / width,
                (double)cairo_image_surface_get_height(small) / height);
    cairo_set_source_surface(cairo, picture, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(cairo), CAIRO_FILTER_GOOD);
    cairo_pattern_set_extend(cairo_get_source(cairo), CAIRO_EXTEND_PAD);
    cairo_paint(cairo);
    cairo_destroy(cairo);
    return small;
}

cr_status cr_picture_png(const cr_plot_picture *picture, int side, cr_text *png)
{
    uint32_t *rgb = cr_picture_rgb(picture);
    if (rgb == NULL)
        return cr_error_status();
    /* The stride of 32-bit pixels is their width, so cairo reads the words where they are. */
    cairo_surface_t *surface =
        cairo_image_surface_create_for_data((unsigned char *)rgb, CAIRO_FORMAT_RGB24,
                                            picture->width, picture->height, 4 * picture->width);
    if (picture->width > side || picture->height > side) {
        cairo_surface_t *small = shrunk(surface, picture->width, picture->height, side);
        cairo_surface_destroy(surface);
        surface = small;
    }
    cairo_status_t status = cairo_surface_write_to_png_stream(surface, append_bytes, png);
    if (status != CAIRO_STATUS_SUCCESS && !cr_failed())
        cr_error_set(CR_ERROR_MEMORY, "picture: writing PNG failed: %s",
                     cairo_status_to_string(status));
    cairo_surface_destroy(surface);
    cr_free(rgb);
    return cr_error_status();
}

cr_status cr_plot_picture_png(const cr_plot_picture *picture, cr_text *png)
{
    return cr_picture_png(picture, MAX_PICTURE_SIDE, png);
}

static int caption_lines(const cr_plot_pictures_args *args)
{
    int most = 0;
    for (int64_t i = 0; i < args->count; i++) {
        const char *caption = args->pictures[i].caption;
        int lines = caption != NULL;
        for (; lines > 0 && lines < CAPTION_LINES; lines++) {
            caption = strchr(caption, '\n');
            if (caption++ == NULL)
                break;
        }
        most = lines > most ? lines : most;
    }
    return most;
}

static void draw_caption(cr_canvas *canvas, const cr_plot_picture *picture, double x, double y,
                         double side)
{
    cr_font font = { .size = CAPTION_SIZE,
                     .color = picture->wrong ? canvas->theme->wrong : canvas->theme->text,
                     .align = 0.5,
                     .limit = side + GAP - 4 };
    const char *line = picture->caption;
    for (int i = 0; line != NULL && i < CAPTION_LINES; i++) {
        char part[128];
        const char *end = strchr(line, '\n');
        size_t length = end != NULL ? (size_t)(end - line) : strlen(line);
        length = length < sizeof(part) ? length : sizeof(part) - 1;
        memcpy(part, line, length);
        part[length] = '\0';
        cr_canvas_text(canvas, x + side / 2, y + 13 + i * LINE_HEIGHT, font, part);
        line = end != NULL ? end + 1 : NULL;
    }
}

static cr_status draw_picture(cr_canvas *canvas, const cr_plot_picture *picture, double x, double y,
                              double side)
{
    uint32_t *rgb = cr_picture_rgb(picture);
    if (rgb == NULL)
        return cr_error_status();
    int longer = picture->width > picture->height ? picture->width : picture->height;
    double width = side * picture->width / longer;
    double height = side * picture->height / longer;
    double left = x + (side - width) / 2;
    double top = y + (side - height) / 2;
    cr_canvas_pixels(canvas, rgb, picture->width, picture->height, left, top, width, height);
    cr_free(rgb);
    cairo_set_line_width(canvas->cairo, picture->wrong ? 1.5 : 1);
    cr_canvas_color(canvas, picture->wrong ? canvas->theme->wrong : canvas->theme->axis);
    cairo_rectangle(canvas->cairo, left - 0.5, top - 0.5, width + 1, height + 1);
    cairo_stroke(canvas->cairo);
    draw_caption(canvas, picture, x, y + side + 2, side);
    return CR_OK;
}

static cr_status draw_grid(cr_canvas *canvas, const cr_plot_pictures_args *args, int columns,
                           double side, double cell_height)
{
    for (int64_t i = 0; i < args->count; i++) {
        double x = GAP + (double)(i % columns) * (side + GAP);
        double y = canvas->top + GAP + (double)(i / columns) * cell_height;
        if (draw_picture(canvas, &args->pictures[i], x, y, side) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

cr_status cr_plot_pictures_with(cr_plot_pictures_args args)
{
    if (args.pictures == NULL || args.count < 1 || args.count > MAX_PICTURES)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "contact sheet: %lld pictures, but there must be 1 to %d",
                            args.pictures != NULL ? (long long)args.count : 0, MAX_PICTURES);
    int side = args.side != 0 ? args.side : 96;
    if (side < 8 || side > CR_PLOT_MAX_SIDE || args.columns < 0 || args.columns > MAX_PICTURES)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "contact sheet: side %d and %d columns are out of range", side,
                            args.columns);
    int cell = side + (int)GAP;
    int width = args.style.width != 0 ? args.style.width : 720;
    int columns = args.columns != 0 ? args.columns : (width - (int)GAP) / cell;
    columns = columns < 1 ? 1 : columns;
    if (args.columns == 0 && args.count < columns)
        columns = (int)args.count;
    int rows = (int)((args.count + columns - 1) / columns);
    double cell_height = cell + LINE_HEIGHT * caption_lines(&args);
    width = columns * cell + (int)GAP;
    double height = cr_canvas_title_height(&args.style) + GAP + rows * cell_height;
    if (height > CR_PLOT_MAX_SIDE || (int64_t)columns * cell > CR_PLOT_MAX_SIDE)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "contact sheet: %lld pictures of side %d in %d columns are too large",
                            (long long)args.count, side, columns);
    cr_canvas canvas;
    if (cr_canvas_open(&canvas, args.sink, &args.style, width < 64 ? 64 : width, (int)height) !=
        CR_OK)
        return cr_error_status();
    draw_grid(&canvas, &args, columns, side, cell_height);
    return cr_canvas_close(&canvas);
}
