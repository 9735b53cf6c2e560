/* Transforms that keep the size, work in place, and but for those that draw boxes or change values
 * do so on pictures and tensors alike: what moves is a pixel of several bytes, be it the three
 * colours of a picture or one float of a plane. */
#include <math.h>
#include <string.h>

#include "data/data.h"

#define WHITE 255.0f /* the uint8 value that becomes 1 */

/* ---- ranges of parameters ---- */

static bool is_probability(double value)
{
    return value >= 0 && value <= 1;
}

const char *data_check_probability(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    return is_probability(transform->parameters[0]) ? NULL : "a probability of 0 to 1";
}

/* Sizes stay far from where sums of coordinates could overflow. */
static const char *check_pixels(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    double pixels = transform->parameters[0];
    return pixels >= 0 && pixels <= 65536 && pixels == floor(pixels)
               ? NULL
               : "a whole number of pixels, 0 to 65536";
}

static const char *check_fraction(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    return is_probability(transform->parameters[0]) ? NULL : "a fraction of 0 to 1";
}

static const char *check_erase(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    const double *p = transform->parameters;
    return is_probability(p[0]) && p[1] > 0 && p[1] <= p[2] && p[2] <= 1
               ? NULL
               : "a probability and two areas, 0 < MIN <= MAX <= 1";
}

static const char *check_normalize(const cr_transform *transform, int64_t channels)
{
    int given = transform->count / 2;
    bool good = transform->count == 2 * given;
    good = good && (given == 1 || channels == 0 || given == channels);
    for (int c = 0; c < given; c++)
        good = good && transform->parameters[given + c] > 0;
    return good ? NULL : "one mean and one deviation over 0, or one of each for every channel";
}

/* ---- pictures and tensors as planes of pixels ---- */

struct raster {
    char *data;
    int64_t planes;
    int64_t height;
    int64_t width;
    size_t pixel; /* bytes */
};

static struct raster raster_of_picture(const cr_image *image)
{
    return (struct raster){ (char *)image->pixels, 1, image->height, image->width,
                            (size_t)image->channels };
}

static struct raster raster_of_tensor(const cr_sample *sample)
{
    return (struct raster){ (char *)sample->data, sample->channels, sample->height, sample->width,
                            sizeof(float) };
}

/* The two functions of a transform that is the same for both. */
#define FOR_BOTH(name)                                                                             \
    static cr_status name##_picture(const cr_transform *transform, cr_image *image,                \
                                    cr_image *spare, cr_generator *generator)                      \
    {                                                                                              \
        (void)spare;                                                                               \
        struct raster raster = raster_of_picture(image);                                           \
        name(transform, &raster, generator);                                                       \
        return CR_OK;                                                                              \
    }                                                                                              \
    static void name##_tensor(const cr_transform *transform, cr_sample *sample,                    \
                              cr_generator *generator)                                             \
    {                                                                                              \
        struct raster raster = raster_of_tensor(sample);                                           \
        name(transform, &raster, generator);                                                       \
    }

/* ---- flips ---- */

static void swap_bytes(char *a, char *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char held = a[i];
        a[i] = b[i];
        b[i] = held;
    }
}

static void flip(const cr_transform *transform, const struct raster *raster,
                 cr_generator *generator)
{
    if (cr_random_uniform(generator) >= transform->parameters[0])
        return;
    size_t row = (size_t)raster->width * raster->pixel;
    for (int64_t y = 0; y < raster->planes * raster->height; y++) {
        char *left = raster->data + (size_t)y * row;
        char *right = left + row - raster->pixel;
        for (; left < right; left += raster->pixel, right -= raster->pixel)
            swap_bytes(left, right, raster->pixel);
    }
}

FOR_BOTH(flip)

static void vertical_flip(const cr_transform *transform, const struct raster *raster,
                          cr_generator *generator)
{
    if (cr_random_uniform(generator) >= transform->parameters[0])
        return;
    size_t row = (size_t)raster->width * raster->pixel;
    for (int64_t plane = 0; plane < raster->planes; plane++) {
        char *top = raster->data + (size_t)(plane * raster->height) * row;
        char *bottom = top + (size_t)(raster->height - 1) * row;
        for (; top < bottom; top += row, bottom -= row)
            swap_bytes(top, bottom, row);
    }
}

FOR_BOTH(vertical_flip)

/* ---- crop and shift ---- */

/* One plane moved `down` and `right`, zeros where nothing comes from. Rows are moved in the order
 * in which none is overwritten before it was read. */
static void move_plane(const struct raster *raster, char *plane, int64_t down, int64_t right)
{
    int64_t height = raster->height;
    int64_t width = raster->width;
    size_t pixel = raster->pixel;
    size_t row = (size_t)width * pixel;
    size_t kept = (size_t)CR_MAX(width - CR_MAX(right, -right), 0) * pixel;
    size_t to = (size_t)CR_MIN(CR_MAX(right, 0), width) * pixel;
    size_t from = (size_t)CR_MIN(CR_MAX(-right, 0), width) * pixel;
    for (int64_t i = 0; i < height; i++) {
        int64_t y = down > 0 ? height - 1 - i : i;
        int64_t source = y - down;
        char *target = plane + (size_t)y * row;
        bool outside = source < 0 || source >= height;
        if (!outside)
            memmove(target + to, plane + (size_t)source * row + from, kept);
        size_t left = outside ? row : to; /* zeros on the left, then after what was kept */
        memset(target, 0, left);
        if (!outside)
            memset(target + to + kept, 0, row - to - kept);
    }
}

static void move(const struct raster *raster, int64_t down, int64_t right)
{
    size_t plane = (size_t)(raster->height * raster->width) * raster->pixel;
    for (int64_t c = 0; (down != 0 || right != 0) && c < raster->planes; c++)
        move_plane(raster, raster->data + (size_t)c * plane, down, right);
}

/* A whole number in -limit … limit. */
static int64_t draw_offset(cr_generator *generator, int64_t limit)
{
    return (int64_t)cr_random_below(generator, 2 * (uint64_t)limit + 1) - limit;
}

/* Cutting the sample's own size out of the padded one is a shift by up to the padding. */
static void crop(const cr_transform *transform, const struct raster *raster,
                 cr_generator *generator)
{
    int64_t padding = (int64_t)transform->parameters[0];
    int64_t down = draw_offset(generator, padding);
    int64_t right = draw_offset(generator, padding);
    move(raster, down, right);
}

FOR_BOTH(crop)

static void shift(const cr_transform *transform, const struct raster *raster,
                  cr_generator *generator)
{
    double fraction = transform->parameters[0];
    int64_t down = draw_offset(generator, llround(fraction * (double)raster->height));
    int64_t right = draw_offset(generator, llround(fraction * (double)raster->width));
    move(raster, down, right);
}

FOR_BOTH(shift)

/* ---- erase and cutout ---- */

/* Zeroes rows top … bottom - 1 and columns left … right - 1, as far as they are inside. */
static void zero_box(cr_sample *sample, int64_t top, int64_t left, int64_t bottom, int64_t right)
{
    top = CR_MAX(top, 0);
    left = CR_MAX(left, 0);
    bottom = CR_MIN(bottom, sample->height);
    right = CR_MIN(right, sample->width);
    if (left >= right)
        return;
    for (int64_t c = 0; c < sample->channels; c++) {
        for (int64_t y = top; y < bottom; y++)
            memset(sample->data + (c * sample->height + y) * sample->width + left, 0,
                   (size_t)(right - left) * sizeof *sample->data);
    }
}

/* As torchvision.transforms.RandomErasing: up to ten tries at a rectangle of random area and aspect
 * ratio that fits; if none does, the sample stays as it is. */
static void erase(const cr_transform *transform, cr_sample *sample, cr_generator *generator)
{
    const double *p = transform->parameters;
    if (cr_random_uniform(generator) >= p[0])
        return;
    double area = (double)(sample->height * sample->width);
    double longest = log(3.3); /* the aspect ratio lies in 0.3 … 3.3, uniform in its logarithm */
    double shortest = log(0.3);
    for (int tries = 0; tries < 10; tries++) {
        double wanted = area * (p[1] + (p[2] - p[1]) * cr_random_uniform(generator));
        double ratio = exp(shortest + (longest - shortest) * cr_random_uniform(generator));
        int64_t height = llround(sqrt(wanted * ratio));
        int64_t width = llround(sqrt(wanted / ratio));
        if (height >= sample->height || width >= sample->width)
            continue;
        uint64_t rows = (uint64_t)(sample->height - height + 1);
        uint64_t columns = (uint64_t)(sample->width - width + 1);
        int64_t top = (int64_t)cr_random_below(generator, rows);
        int64_t left = (int64_t)cr_random_below(generator, columns);
        zero_box(sample, top, left, top + height, left + width);
        return;
    }
}

/* The square may hang over the edge, so that every pixel is hidden equally often. */
static void cutout(const cr_transform *transform, cr_sample *sample, cr_generator *generator)
{
    int64_t size = (int64_t)transform->parameters[0];
    int64_t top = (int64_t)cr_random_below(generator, (uint64_t)sample->height) - size / 2;
    int64_t left = (int64_t)cr_random_below(generator, (uint64_t)sample->width) - size / 2;
    zero_box(sample, top, left, top + size, left + size);
}

/* ---- normalize ---- */

/* Subtracts and divides as torchvision does, for the same bits. */
static void normalize_plane(const cr_transform *transform, int64_t channel, float *plane,
                            int64_t area)
{
    int64_t given = transform->count / 2;
    int64_t which = given == 1 ? 0 : channel;
    float mean = (float)transform->parameters[which];
    float deviation = (float)transform->parameters[given + which];
    for (int64_t i = 0; i < area; i++)
        plane[i] = (plane[i] - mean) / deviation;
}

static void normalize(const cr_transform *transform, cr_sample *sample, cr_generator *generator)
{
    (void)generator;
    int64_t area = sample->height * sample->width;
    for (int64_t c = 0; c < sample->channels; c++)
        normalize_plane(transform, c, sample->data + c * area, area);
}

/* Divided, not multiplied by the inverse: the same bits as torchvision's ToTensor. */
void data_normalize_table(const cr_transform *transform, int64_t channel, float table[256])
{
    for (int i = 0; i < 256; i++)
        table[i] = (float)i / WHITE;
    if (transform)
        normalize_plane(transform, channel, table, 256);
}

/* ---- their records ---- */

const cr_transform_type data_flip = {
    .name = "flip",
    .about = "mirrored left to right, with probability P",
    .most = 1,
    .parameters = { { "p", 0.5, NULL } },
    .check = data_check_probability,
    .picture = flip_picture,
    .apply = flip_tensor,
};

const cr_transform_type data_vertical_flip = {
    .name = "vertical_flip",
    .about = "mirrored top to bottom, with probability P",
    .most = 1,
    .parameters = { { "p", 0.5, NULL } },
    .check = data_check_probability,
    .picture = vertical_flip_picture,
    .apply = vertical_flip_tensor,
};

const cr_transform_type data_crop = {
    .name = "crop",
    .about = "padded by PADDING zeros on every side, and its own size cut out at random",
    .most = 1,
    .parameters = { { "padding", 4, NULL } },
    .check = check_pixels,
    .picture = crop_picture,
    .apply = crop_tensor,
};

const cr_transform_type data_shift = {
    .name = "shift",
    .about = "moved by up to FRACTION of its size both ways",
    .most = 1,
    .parameters = { { "fraction", 0.1, NULL } },
    .check = check_fraction,
    .picture = shift_picture,
    .apply = shift_tensor,
};

const cr_transform_type data_erase = {
    .name = "erase",
    .about = "with probability P a rectangle of MIN to MAX of the area becomes zero (Zhong et al., "
             "\"Random erasing\", 2017)",
    .most = 3,
    .parameters = { { "p", 0.5, NULL }, { "min", 0.02, NULL }, { "max", 0.33, NULL } },
    .check = check_erase,
    .apply = erase,
};

const cr_transform_type data_cutout = {
    .name = "cutout",
    .about = "a square of SIZE pixels at a random centre becomes zero (DeVries and Taylor, 2017)",
    .most = 1,
    .parameters = { { "size", 8, NULL } },
    .check = check_pixels,
    .apply = cutout,
};

const cr_transform_type data_normalize = {
    .name = "normalize",
    .about = "(x - MEAN) / STD; one mean for all channels and one deviation, or a mean for each of "
             "them (up to 4), then a deviation for each",
    .least = 2,
    .most = CR_TRANSFORM_PARAMETERS,
    .check = check_normalize,
    .apply = normalize,
};
