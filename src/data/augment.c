/* The kinds of transforms: small changes to small images, each in place and each with its record in
 * the table at the end. A new kind is one function and one line there. */
#include <math.h>
#include <string.h>

#include "data/data.h"

/* ---- ranges of parameters ---- */

static bool is_probability(double value)
{
    return value >= 0 && value <= 1;
}

static const char *check_probability(const cr_transform *transform, int64_t channels)
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

/* ---- flip ---- */

static void flip_row(float *row, int64_t width)
{
    for (int64_t i = 0, j = width - 1; i < j; i++, j--) {
        float held = row[i];
        row[i] = row[j];
        row[j] = held;
    }
}

static void flip(const cr_transform *transform, cr_sample *sample, cr_generator *generator)
{
    if (cr_random_uniform(generator) >= transform->parameters[0])
        return;
    int64_t rows = sample->channels * sample->height;
    for (int64_t i = 0; i < rows; i++)
        flip_row(sample->data + i * sample->width, sample->width);
}

/* ---- crop and shift ---- */

/* One channel moved `down` and `right`, zeros where nothing comes from. Rows are moved in the order
 * in which none is overwritten before it was read. */
static void move_plane(float *plane, int64_t height, int64_t width, int64_t down, int64_t right)
{
    int64_t kept = CR_MAX(width - CR_MAX(right, -right), 0);
    int64_t to = CR_MIN(CR_MAX(right, 0), width);
    int64_t from = CR_MIN(CR_MAX(-right, 0), width);
    for (int64_t i = 0; i < height; i++) {
        int64_t row = down > 0 ? height - 1 - i : i;
        int64_t source = row - down;
        float *target = plane + row * width;
        bool outside = source < 0 || source >= height;
        if (!outside)
            memmove(target + to, plane + source * width + from, (size_t)kept * sizeof *plane);
        int64_t left = outside ? width : to; /* zeros on the left, then after what was kept */
        memset(target, 0, (size_t)left * sizeof *plane);
        if (!outside)
            memset(target + to + kept, 0, (size_t)(width - to - kept) * sizeof *plane);
    }
}

static void move(cr_sample *sample, int64_t down, int64_t right)
{
    if (down == 0 && right == 0)
        return;
    int64_t area = sample->height * sample->width;
    for (int64_t c = 0; c < sample->channels; c++)
        move_plane(sample->data + c * area, sample->height, sample->width, down, right);
}

/* A whole number in -limit … limit. */
static int64_t draw_offset(cr_generator *generator, int64_t limit)
{
    return (int64_t)cr_random_below(generator, 2 * (uint64_t)limit + 1) - limit;
}

/* Cutting the sample's own size out of the padded one is a shift by up to the padding. */
static void crop(const cr_transform *transform, cr_sample *sample, cr_generator *generator)
{
    int64_t padding = (int64_t)transform->parameters[0];
    int64_t down = draw_offset(generator, padding);
    int64_t right = draw_offset(generator, padding);
    move(sample, down, right);
}

static void shift(const cr_transform *transform, cr_sample *sample, cr_generator *generator)
{
    double fraction = transform->parameters[0];
    int64_t down = draw_offset(generator, llround(fraction * (double)sample->height));
    int64_t right = draw_offset(generator, llround(fraction * (double)sample->width));
    move(sample, down, right);
}

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
static void normalize(const cr_transform *transform, cr_sample *sample, cr_generator *generator)
{
    (void)generator;
    int64_t given = transform->count / 2;
    int64_t area = sample->height * sample->width;
    for (int64_t c = 0; c < sample->channels; c++) {
        int64_t which = given == 1 ? 0 : c;
        float mean = (float)transform->parameters[which];
        float deviation = (float)transform->parameters[given + which];
        float *plane = sample->data + c * area;
        for (int64_t i = 0; i < area; i++)
            plane[i] = (plane[i] - mean) / deviation;
    }
}

static const cr_transform_type types[] = {
    { "flip", 0, 1, { 0.5 }, check_probability, flip },
    { "crop", 0, 1, { 4 }, check_pixels, crop },
    { "shift", 0, 1, { 0.1 }, check_fraction, shift },
    { "erase", 0, 3, { 0.5, 0.02, 0.33 }, check_erase, erase },
    { "cutout", 0, 1, { 8 }, check_pixels, cutout },
    { "normalize", 2, CR_TRANSFORM_PARAMETERS, { 0 }, check_normalize, normalize },
};

const cr_transform_type *cr_transform_type_at(int index)
{
    return index >= 0 && index < CR_COUNT_OF(types) ? &types[index] : NULL;
}
