/* Colours of pictures, with the arithmetic of Pillow's ImageEnhance, ImageOps and HSV conversion,
 * as torchvision uses them: jitter, grey, invert, posterize, solarize, equalize, autocontrast. The
 * fourth channel of RGBA stays. */
#include <math.h>
#include <string.h>

#include "data/data.h"

static size_t pixel_count(const cr_image *image)
{
    return (size_t)image->height * (size_t)image->width;
}

/* Channels that hold colour. */
static int colours_of(const cr_image *image)
{
    return CR_MIN(image->channels, 3);
}

/* ---- tables: what becomes of each value of a channel ---- */

static void look_up(cr_image *image, int channel, const uint8_t table[256])
{
    uint8_t *at = image->pixels + channel;
    size_t count = pixel_count(image);
    for (size_t i = 0; i < count; i++, at += image->channels)
        *at = table[*at];
}

static void look_up_all(cr_image *image, const uint8_t table[256])
{
    for (int c = 0; c < colours_of(image); c++)
        look_up(image, c, table);
}

static void count_values(const cr_image *image, int channel, int64_t counts[256])
{
    const uint8_t *at = image->pixels + channel;
    size_t count = pixel_count(image);
    memset(counts, 0, 256 * sizeof *counts);
    for (size_t i = 0; i < count; i++, at += image->channels)
        counts[*at]++;
}

void data_invert(cr_image *image)
{
    uint8_t table[256];
    for (int i = 0; i < 256; i++)
        table[i] = (uint8_t)(255 - i);
    look_up_all(image, table);
}

void data_posterize(cr_image *image, int bits)
{
    uint8_t table[256];
    int mask = ~((1 << (8 - bits)) - 1);
    for (int i = 0; i < 256; i++)
        table[i] = (uint8_t)(i & mask);
    look_up_all(image, table);
}

void data_solarize(cr_image *image, double threshold)
{
    uint8_t table[256];
    for (int i = 0; i < 256; i++)
        table[i] = (uint8_t)(i < threshold ? i : 255 - i);
    look_up_all(image, table);
}

void data_equalize(cr_image *image)
{
    for (int c = 0; c < colours_of(image); c++) {
        int64_t counts[256];
        int64_t kinds = 0, last = 0;
        count_values(image, c, counts);
        for (int i = 0; i < 256; i++) {
            kinds += counts[i] > 0;
            last = counts[i] > 0 ? counts[i] : last;
        }
        int64_t step = ((int64_t)pixel_count(image) - last) / 255;
        if (kinds <= 1 || step == 0)
            continue;
        uint8_t table[256];
        int64_t sum = step / 2;
        for (int i = 0; i < 256; i++) {
            table[i] = (uint8_t)CR_MIN(sum / step, 255);
            sum += counts[i];
        }
        look_up(image, c, table);
    }
}

void data_autocontrast(cr_image *image)
{
    for (int c = 0; c < colours_of(image); c++) {
        int64_t counts[256];
        int low = 0, high = 255;
        count_values(image, c, counts);
        while (low < 255 && counts[low] == 0)
            low++;
        while (high > 0 && counts[high] == 0)
            high--;
        if (high <= low)
            continue;
        uint8_t table[256];
        double scale = 255.0 / (high - low);
        double offset = -low * scale;
        for (int i = 0; i < 256; i++) {
            int value = (int)(i * scale + offset);
            table[i] = (uint8_t)CR_MIN(CR_MAX(value, 0), 255);
        }
        look_up(image, c, table);
    }
}

/* ---- blends of a picture with a plainer one ---- */

uint8_t data_blend(uint8_t plain, uint8_t own, float factor)
{
    float value = (float)plain + factor * (float)(own - plain);
    return (uint8_t)(value <= 0 ? 0 : value >= 255 ? 255 : value);
}

/* With one value for all. */
static void blend_with_grey(cr_image *image, uint8_t grey, float factor)
{
    uint8_t table[256];
    for (int i = 0; i < 256; i++)
        table[i] = factor == 1 ? (uint8_t)i : data_blend(grey, (uint8_t)i, factor);
    look_up_all(image, table);
}

static uint8_t luma(const cr_image *image, size_t pixel)
{
    const uint8_t *at = image->pixels + pixel * (size_t)image->channels;
    return image->channels == 1 ? *at : data_grey(at);
}

void data_brightness(cr_image *image, double factor)
{
    blend_with_grey(image, 0, (float)factor);
}

void data_contrast(cr_image *image, double factor)
{
    uint64_t sum = 0;
    size_t count = pixel_count(image);
    for (size_t i = 0; i < count; i++)
        sum += luma(image, i);
    blend_with_grey(image, (uint8_t)((double)sum / (double)count + 0.5), (float)factor);
}

void data_saturation(cr_image *image, double factor)
{
    size_t count = pixel_count(image);
    uint8_t *at = image->pixels;
    if (image->channels == 1 || (float)factor == 1)
        return;
    for (size_t i = 0; i < count; i++, at += image->channels) {
        uint8_t grey = data_grey(at);
        for (int c = 0; c < 3; c++)
            at[c] = data_blend(grey, at[c], (float)factor);
    }
}

/* ---- hue ---- */

static uint8_t to_byte(int value)
{
    return (uint8_t)CR_MIN(CR_MAX(value, 0), 255);
}

static void rgb_to_hsv(const uint8_t rgb[3], uint8_t hsv[3])
{
    uint8_t most = CR_MAX(CR_MAX(rgb[0], rgb[1]), rgb[2]);
    uint8_t least = CR_MIN(CR_MIN(rgb[0], rgb[1]), rgb[2]);
    hsv[0] = hsv[1] = 0;
    hsv[2] = most;
    if (most == least)
        return;
    float range = (float)(most - least);
    float saturation = range / (float)most;
    float r = (float)(most - rgb[0]) / range;
    float g = (float)(most - rgb[1]) / range;
    float b = (float)(most - rgb[2]) / range;
    float hue;
    if (rgb[0] == most)
        hue = b - g;
    else if (rgb[1] == most)
        hue = (float)(2.0 + r - b);
    else
        hue = (float)(4.0 + g - r);
    hue = (float)fmod(hue / 6.0 + 1.0, 1.0);
    hsv[0] = to_byte((int)(hue * 255.0));
    hsv[1] = to_byte((int)(saturation * 255.0));
}

static void hsv_to_rgb(const uint8_t hsv[3], uint8_t rgb[3])
{
    uint8_t v = hsv[2];
    if (hsv[1] == 0) {
        rgb[0] = rgb[1] = rgb[2] = v;
        return;
    }
    int sixth = (int)floor((float)hsv[0] * 6.0 / 255.0);
    float rest = (float)((float)hsv[0] * 6.0 / 255.0 - (float)sixth);
    float saturation = (float)(hsv[1] / 255.0);
    uint8_t p = to_byte((int)round((float)v * (1.0 - saturation)));
    uint8_t q = to_byte((int)round((float)v * (1.0 - saturation * rest)));
    uint8_t t = to_byte((int)round((float)v * (1.0 - saturation * (1.0 - rest))));
    const uint8_t all[6][3] = { { v, t, p }, { q, v, p }, { p, v, t },
                                { p, q, v }, { t, p, v }, { v, p, q } };
    memcpy(rgb, all[sixth % 6], 3);
}

void data_hue(cr_image *image, double factor)
{
    size_t count = pixel_count(image);
    uint8_t shift = (uint8_t)(int)(factor * 255);
    uint8_t *at = image->pixels;
    for (size_t i = 0; image->channels > 1 && i < count; i++, at += image->channels) {
        uint8_t hsv[3];
        rgb_to_hsv(at, hsv);
        hsv[0] = (uint8_t)(hsv[0] + shift);
        hsv_to_rgb(hsv, at);
    }
}

/* ---- jitter ---- */

static const char *check_jitter(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    const double *p = transform->parameters;
    for (int i = 0; i < 3; i++) {
        if (!(p[i] >= 0 && p[i] <= 100))
            return "a brightness, a contrast and a saturation of 0 or more";
    }
    return p[3] >= 0 && p[3] <= 0.5 ? NULL : "a hue of 0 to 0.5";
}

/* 0 … 3 in random order (Fisher and Yates). */
static void draw_order(cr_generator *generator, int order[4])
{
    for (int i = 0; i < 4; i++) {
        int j = (int)cr_random_below(generator, (uint64_t)i + 1);
        order[i] = order[j];
        order[j] = i;
    }
}

static double draw_factor(cr_generator *generator, double strength)
{
    double low = fmax(0, 1 - strength);
    return low + (1 + strength - low) * cr_random_uniform(generator);
}

static cr_status jitter(const cr_transform *transform, cr_image *image, cr_image *spare,
                        cr_generator *generator)
{
    (void)spare;
    static void (*const changes[])(cr_image *, double) = { data_brightness, data_contrast,
                                                           data_saturation, data_hue };
    const double *p = transform->parameters;
    int order[4];
    double factors[4];
    draw_order(generator, order);
    for (int i = 0; i < 3; i++)
        factors[i] = draw_factor(generator, p[i]);
    factors[3] = p[3] * (2 * cr_random_uniform(generator) - 1);
    for (int i = 0; i < 4; i++) {
        if (p[order[i]] > 0)
            changes[order[i]](image, factors[order[i]]);
    }
    return CR_OK;
}

const cr_transform_type data_jitter_type = {
    .name = "jitter",
    .about =
        "brightness, contrast and saturation times 1 - X to 1 + X, the hue turned by up to HUE "
        "of the circle, in random order",
    .most = 4,
    .parameters = { { "brightness", 0, NULL },
                    { "contrast", 0, NULL },
                    { "saturation", 0, NULL },
                    { "hue", 0, NULL } },
    .check = check_jitter,
    .picture = jitter,
};

/* ---- with a probability ---- */

/* A transform that happens with the probability that is its parameter `at`. */
#define WITH_PROBABILITY(name, at, action)                                                         \
    static cr_status name(const cr_transform *transform, cr_image *image, cr_image *spare,         \
                          cr_generator *generator)                                                 \
    {                                                                                              \
        const double *p = transform->parameters;                                                   \
        (void)spare;                                                                               \
        if (cr_random_uniform(generator) < p[at])                                                  \
            action;                                                                                \
        return cr_error_status();                                                                  \
    }

static void drop_colour(cr_image *image)
{
    size_t count = pixel_count(image);
    uint8_t *at = image->pixels;
    for (size_t i = 0; image->channels > 1 && i < count; i++, at += image->channels)
        memset(at, data_grey(at), 3);
}

WITH_PROBABILITY(random_grey, 0, drop_colour(image))
WITH_PROBABILITY(random_invert, 0, data_invert(image))
WITH_PROBABILITY(random_equalize, 0, data_equalize(image))
WITH_PROBABILITY(random_autocontrast, 0, data_autocontrast(image))
WITH_PROBABILITY(random_posterize, 1, data_posterize(image, (int)p[0]))
WITH_PROBABILITY(random_solarize, 1, data_solarize(image, p[0]))

const cr_transform_type data_random_grey = {
    .name = "random_grayscale",
    .about = "grey in all channels, with probability P",
    .most = 1,
    .parameters = { { "p", 0.1, NULL } },
    .check = data_check_probability,
    .picture = random_grey,
};

const cr_transform_type data_random_invert = {
    .name = "invert",
    .about = "colours turned to their opposites, with probability P",
    .most = 1,
    .parameters = { { "p", 0.5, NULL } },
    .check = data_check_probability,
    .picture = random_invert,
};

const cr_transform_type data_random_equalize = {
    .name = "equalize",
    .about = "the histogram of each channel made even, with probability P",
    .most = 1,
    .parameters = { { "p", 0.5, NULL } },
    .check = data_check_probability,
    .picture = random_equalize,
};

const cr_transform_type data_random_autocontrast = {
    .name = "autocontrast",
    .about = "each channel stretched from black to white, with probability P",
    .most = 1,
    .parameters = { { "p", 0.5, NULL } },
    .check = data_check_probability,
    .picture = random_autocontrast,
};

static const char *check_posterize(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    const double *p = transform->parameters;
    return p[0] >= 0 && p[0] <= 8 && p[0] == floor(p[0]) && p[1] >= 0 && p[1] <= 1
               ? NULL
               : "a number of bits, 0 to 8, and a probability";
}

const cr_transform_type data_random_posterize = {
    .name = "posterize",
    .about = "only the highest BITS of each value kept, with probability P",
    .least = 1,
    .most = 2,
    .parameters = { { "bits", 0, NULL }, { "p", 0.5, NULL } },
    .check = check_posterize,
    .picture = random_posterize,
};

static const char *check_solarize(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    const double *p = transform->parameters;
    return p[0] >= 0 && p[0] <= 256 && p[1] >= 0 && p[1] <= 1
               ? NULL
               : "a threshold of 0 to 256 and a probability";
}

const cr_transform_type data_random_solarize = {
    .name = "solarize",
    .about = "values of THRESHOLD or more turned to their opposites, with probability P",
    .least = 1,
    .most = 2,
    .parameters = { { "threshold", 128, NULL }, { "p", 0.5, NULL } },
    .check = check_solarize,
    .picture = random_solarize,
};

/* ---- grey as a kind of picture ---- */

static const char *check_grayscale(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    double wanted = transform->parameters[0];
    return wanted == 1 || wanted == 3 ? NULL : "1 or 3 channels";
}

static void grayscale_shape(const cr_transform *transform, cr_shape *shape)
{
    shape->dim[0] = (int64_t)transform->parameters[0];
}

static cr_status grayscale(const cr_transform *transform, cr_image *image, cr_image *spare,
                           cr_generator *generator)
{
    (void)spare;
    (void)generator;
    if (cr_image_convert(image, 1) != CR_OK)
        return cr_error_status();
    return cr_image_convert(image, (int)transform->parameters[0]);
}

const cr_transform_type data_grayscale = {
    .name = "grayscale",
    .about = "grey, in CHANNELS channels",
    .most = 1,
    .parameters = { { "channels", 1, NULL } },
    .check = check_grayscale,
    .shape = grayscale_shape,
    .picture = grayscale,
};
