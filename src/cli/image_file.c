/* Reads a picture file (PNG, by cairo) as a model's input: scaled to its size with a triangle
 * filter that also averages when it shrinks, as Pillow and torchvision do, on white where
 * transparent. */
#include <cairo.h>
#include <math.h>
#include <string.h>

#include "cli.h"
#include "cresset/memory.h"

/* One of 0 … channels - 1 of a pixel, 0 to 1: RGB, or the lightness that Pillow's mode L has. */
static float channel_value(uint32_t argb, bool has_alpha, int channel, int channels)
{
    float white = has_alpha ? 1 - (float)(argb >> 24) / 255 : 0; /* colours are premultiplied */
    float rgb[3] = { (float)(argb >> 16 & 255) / 255 + white,
                     (float)(argb >> 8 & 255) / 255 + white, (float)(argb & 255) / 255 + white };
    return channels == 1 ? 0.299F * rgb[0] + 0.587F * rgb[1] + 0.114F * rgb[2] : rgb[channel];
}

/* Scales `count` values, `from_step` apart, to `to_count` values, `to_step` apart. */
static void scale_line(const float *from, int count, int from_step, float *to, int to_count,
                       int to_step)
{
    double scale = (double)count / to_count, support = fmax(scale, 1);
    for (int i = 0; i < to_count; i++) {
        double center = (i + 0.5) * scale, sum = 0, weights = 0;
        int first = (int)fmax(0, floor(center - support));
        for (int j = first; j < count && j < center + support; j++) {
            double weight = fmax(0, 1 - fabs(j + 0.5 - center) / support);
            sum += weight * from[(size_t)j * (size_t)from_step];
            weights += weight;
        }
        to[(size_t)i * (size_t)to_step] = (float)(sum / weights);
    }
}

/* One channel of a surface, scaled into plane (height, width). */
static bool scale_channel(cairo_surface_t *surface, int channel, int channels, float *plane,
                          int height, int width)
{
    int rows = cairo_image_surface_get_height(surface);
    int columns = cairo_image_surface_get_width(surface);
    bool has_alpha = cairo_image_surface_get_format(surface) == CAIRO_FORMAT_ARGB32;
    const uint8_t *data = cairo_image_surface_get_data(surface);
    size_t stride = (size_t)cairo_image_surface_get_stride(surface);
    float *line = cr_alloc_array((size_t)columns, sizeof *line);
    float *narrow = cr_alloc_array((size_t)rows * (size_t)width, sizeof *narrow);
    for (int y = 0; line && narrow && y < rows; y++) {
        for (int x = 0; x < columns; x++) {
            uint32_t argb;
            memcpy(&argb, data + (size_t)y * stride + 4 * (size_t)x, sizeof argb);
            line[x] = channel_value(argb, has_alpha, channel, channels);
        }
        scale_line(line, columns, 1, narrow + (size_t)y * (size_t)width, width, 1);
    }
    for (int x = 0; line && narrow && x < width; x++)
        scale_line(narrow + x, rows, width, plane + x, height, width);
    bool good = line && narrow;
    cr_free(line);
    cr_free(narrow);
    return good;
}

bool read_image(const char *path, float *sample, const cr_shape *shape)
{
    int channels = (int)shape->dim[0], height = (int)shape->dim[1], width = (int)shape->dim[2];
    if (channels != 1 && channels != 3) {
        cr_error_set(CR_ERROR_SHAPE, "pictures have 1 or 3 channels, and the model takes %d",
                     channels);
        return false;
    }
    cairo_surface_t *surface = cairo_image_surface_create_from_png(path);
    cairo_status_t status = cairo_surface_status(surface);
    cairo_format_t format = cairo_image_surface_get_format(surface);
    bool good = false;
    if (status == CAIRO_STATUS_FILE_NOT_FOUND)
        cr_error_set(CR_ERROR_IO, "there is no picture %s", path);
    else if (status != CAIRO_STATUS_SUCCESS) /* cairo's own words would mislead */
        cr_error_set(CR_ERROR_FORMAT,
                     "%s could not be read as a PNG picture: it is something else, "
                     "or damaged",
                     path);
    else if (format != CAIRO_FORMAT_ARGB32 && format != CAIRO_FORMAT_RGB24)
        cr_error_set(CR_ERROR_FORMAT, "%s has more than 8 bits a channel", path);
    else
        good = true;
    for (int c = 0; good && c < channels; c++)
        good = scale_channel(surface, c, channels, sample + (size_t)c * (size_t)(height * width),
                             height, width);
    cairo_surface_destroy(surface);
    return good;
}
