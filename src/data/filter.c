/* Filters of pictures: gaussian blur as torchvision computes it, and Pillow's sharpness. */
#include <math.h>
#include <string.h>

#include "data/data.h"

/* ---- gaussian blur ---- */

/* Weights of a window of `size` (odd) in float32, as torch.linspace and exp give them. */
static void gaussian(float *weights, int size, double sigma)
{
    float sum = 0;
    for (int i = 0; i < size; i++) {
        float x = (float)(i - (size - 1) * 0.5) / (float)sigma;
        weights[i] = expf(-0.5f * x * x);
        sum += weights[i];
    }
    for (int i = 0; i < size; i++)
        weights[i] /= sum;
}

/* An index outside is mirrored at the edge, whose pixel is not repeated. */
static int64_t mirror(int64_t i, int64_t size)
{
    while (i < 0 || i >= size)
        i = i < 0 ? -i : 2 * (size - 1) - i;
    return i;
}

/* One line of `count` values, `step` apart, blurred in double. */
static void blur_line(float *line, int64_t count, int64_t step, const float *weights, int size,
                      float *room)
{
    for (int64_t i = -(size / 2); i < count + size / 2; i++)
        room[i + size / 2] = line[(count == 1 ? 0 : mirror(i, count)) * step];
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int t = 0; t < size; t++)
            sum += (double)weights[t] * room[i + t];
        line[i * step] = (float)sum;
    }
}

bool data_blur_plane(float *plane, int64_t height, int64_t width, int size, double sigma)
{
    float *weights = cr_alloc_array((size_t)size, sizeof *weights);
    float *room = cr_alloc_array((size_t)(CR_MAX(height, width) + size), sizeof *room);
    bool good = weights && room;
    if (good)
        gaussian(weights, size, sigma);
    for (int64_t y = 0; good && y < height; y++)
        blur_line(plane + y * width, width, 1, weights, size, room);
    for (int64_t x = 0; good && x < width; x++)
        blur_line(plane + x, height, width, weights, size, room);
    cr_free(weights);
    cr_free(room);
    return good;
}

static const char *check_blur(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    const double *p = transform->parameters;
    if (!(p[0] >= 1 && p[0] <= 1001) || fmod(p[0], 2) != 1)
        return "an odd size of 1 to 1001 pixels";
    return p[1] > 0 && p[1] <= p[2] && p[2] <= 1000 ? NULL : "sigmas with 0 < MIN <= MAX <= 1000";
}

static cr_status blur(const cr_transform *transform, cr_image *image, cr_image *spare,
                      cr_generator *generator)
{
    const double *p = transform->parameters;
    double sigma = p[1] + (p[2] - p[1]) * cr_random_uniform(generator);
    int64_t count = image->height * image->width;
    int size = (int)p[0];
    (void)spare;
    if (size / 2 >= CR_MIN(image->height, image->width))
        return cr_error_set(CR_ERROR_SHAPE,
                            "a window of %d pixels does not fit a picture of %lld × %lld", size,
                            (long long)image->width, (long long)image->height);
    float *plane = cr_alloc_array((size_t)count, sizeof *plane);
    for (int c = 0; plane && c < image->channels; c++) {
        uint8_t *at = image->pixels + c;
        for (int64_t i = 0; i < count; i++)
            plane[i] = at[i * image->channels];
        if (!data_blur_plane(plane, image->height, image->width, size, sigma))
            break;
        for (int64_t i = 0; i < count; i++)
            at[i * image->channels] = (uint8_t)nearbyintf(plane[i]);
    }
    cr_free(plane);
    return cr_error_status();
}

const cr_transform_type data_blur = {
    .name = "blur",
    .about = "blurred by a gaussian of SIZE pixels and a sigma of MIN to MAX",
    .least = 1,
    .most = 3,
    .parameters = { { "size", 0, NULL }, { "min", 0.1, NULL }, { "max", 2, NULL } },
    .check = check_blur,
    .picture = blur,
};

/* ---- sharpness ---- */

/* Pillow's filter SMOOTH: the mean of 3 × 3 pixels, the middle one five times; edges stay. */
static void smooth(const cr_image *image, cr_image *to)
{
    int64_t channels = image->channels, row = image->width * channels;
    const float side = 1.0f / 13, middle = 5.0f / 13;
    memcpy(to->pixels, image->pixels, (size_t)(image->height * row));
    for (int64_t y = 1; y + 1 < image->height; y++) {
        const uint8_t *in = image->pixels + y * row;
        uint8_t *out = to->pixels + y * row;
        for (int64_t i = channels; i < row - channels; i++) {
            float sum = 0.5f;
            for (int64_t line = row; line >= -row; line -= row)
                sum += in[line + i - channels] * side + in[line + i] * (line ? side : middle) +
                       in[line + i + channels] * side;
            out[i] = (uint8_t)sum;
        }
    }
}

cr_status data_sharpness(cr_image *image, cr_image *spare, double factor)
{
    if ((float)factor == 1)
        return CR_OK;
    if (cr_image_resize_room(spare, image->height, image->width, image->channels) != CR_OK)
        return cr_error_status();
    smooth(image, spare);
    int64_t count = image->height * image->width;
    for (int64_t i = 0; i < count; i++) {
        for (int c = 0; c < CR_MIN(image->channels, 3); c++) {
            int64_t at = i * image->channels + c;
            image->pixels[at] = data_blend(spare->pixels[at], image->pixels[at], (float)factor);
        }
    }
    return CR_OK;
}

static const char *check_sharpness(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    const double *p = transform->parameters;
    return p[0] >= 0 && p[0] <= 1000 && p[1] >= 0 && p[1] <= 1
               ? NULL
               : "a factor of 0 or more and a probability";
}

static cr_status sharpness(const cr_transform *transform, cr_image *image, cr_image *spare,
                           cr_generator *generator)
{
    const double *p = transform->parameters;
    return cr_random_uniform(generator) < p[1] ? data_sharpness(image, spare, p[0]) : CR_OK;
}

const cr_transform_type data_sharpness_type = {
    .name = "sharpness",
    .about = "0 blurred, 1 as it is, 2 sharper: by FACTOR, with probability P",
    .least = 1,
    .most = 2,
    .parameters = { { "factor", 1, NULL }, { "p", 0.5, NULL } },
    .check = check_sharpness,
    .picture = sharpness,
};
