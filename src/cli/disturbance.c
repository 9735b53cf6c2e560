/* What happens to pictures in use, as transforms of tensors between evaluation's size and its
 * normalization: noise, blur, light, and the blocks of a strong JPEG compression, each in three
 * strengths. */
#include <math.h>

#include "cli.h"
#include "cresset/random.h"

#define BLOCK 8

static void clamp(cr_sample *sample)
{
    int64_t numel = sample->channels * sample->height * sample->width;
    for (int64_t i = 0; i < numel; i++)
        sample->data[i] = fminf(fmaxf(sample->data[i], 0), 1);
}

/* The same noise in every channel would be grey; each has its own, as in a camera. */
static void apply_noise(const cr_transform *transform, cr_sample *sample, cr_generator *generator)
{
    int64_t numel = sample->channels * sample->height * sample->width;
    for (int64_t i = 0; i < numel; i++)
        sample->data[i] += (float)(transform->parameters[0] * cr_random_normal(generator));
    clamp(sample);
}

/* One pass of 1, 2, 1 along a line, which is a blur of variance 1/2; the ends repeat. */
static void smooth_line(float *data, int64_t count, int64_t stride)
{
    float before = data[0];
    for (int64_t i = 0; i < count; i++) {
        float own = data[i * stride];
        float after = i + 1 < count ? data[(i + 1) * stride] : own;
        data[i * stride] = 0.25F * before + 0.5F * own + 0.25F * after;
        before = own;
    }
}

/* A Gaussian of the parameter's deviation in 128ths of the shorter side, by repeated passes. */
static void apply_blur(const cr_transform *transform, cr_sample *sample, cr_generator *generator)
{
    int64_t side = sample->height < sample->width ? sample->height : sample->width;
    double deviation = transform->parameters[0] * fmax(1, (double)side / 128);
    int passes = (int)fmax(1, round(2 * deviation * deviation));
    (void)generator;
    for (int pass = 0; pass < passes; pass++) {
        for (int64_t row = 0; row < sample->channels * sample->height; row++)
            smooth_line(sample->data + row * sample->width, sample->width, 1);
        for (int64_t at = 0; at < sample->channels * sample->width; at++)
            smooth_line(sample->data + at / sample->width * sample->height * sample->width +
                            at % sample->width,
                        sample->height, sample->width);
    }
}

static void apply_light(const cr_transform *transform, cr_sample *sample, cr_generator *generator)
{
    int64_t numel = sample->channels * sample->height * sample->width;
    (void)generator;
    for (int64_t i = 0; i < numel; i++)
        sample->data[i] *= (float)transform->parameters[0];
    clamp(sample);
}

/* The quantisation of brightness that the JPEG standard suggests (T.81, table K.1). */
static const unsigned char steps[BLOCK * BLOCK] = {
    16, 11, 10, 16, 24,  40,  51,  61,  12, 12, 14, 19, 26,  58,  60,  55,
    14, 13, 16, 24, 40,  57,  69,  56,  14, 17, 22, 29, 51,  87,  80,  62,
    18, 22, 37, 56, 68,  109, 103, 77,  24, 35, 55, 64, 81,  104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
};

typedef struct cosines {
    double at[BLOCK][BLOCK]; /* [frequency][place], orthonormal */
} cosines;

static cosines make_cosines(void)
{
    cosines table;
    for (int k = 0; k < BLOCK; k++)
        for (int x = 0; x < BLOCK; x++)
            table.at[k][x] = sqrt((k ? 2.0 : 1.0) / BLOCK) * cos((2 * x + 1) * k * M_PI / 16);
    return table;
}

/* Rows, then columns, of a block: forwards to frequencies or back. */
static void turn_block(const cosines *table, double block[BLOCK][BLOCK], bool back)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int line = 0; line < BLOCK; line++) {
            double out[BLOCK] = { 0 };
            for (int k = 0; k < BLOCK; k++)
                for (int x = 0; x < BLOCK; x++) {
                    double value = pass ? block[x][line] : block[line][x];
                    out[k] += value * (back ? table->at[x][k] : table->at[k][x]);
                }
            for (int k = 0; k < BLOCK; k++)
                *(pass ? &block[k][line] : &block[line][k]) = out[k];
        }
    }
}

/* A block at (top, left) of a plane; beyond the edge its last pixels repeat. */
static void compress_block(const cosines *table, double scale, float *plane, int64_t height,
                           int64_t width, int64_t top, int64_t left)
{
    double block[BLOCK][BLOCK];
    for (int y = 0; y < BLOCK; y++)
        for (int x = 0; x < BLOCK; x++) {
            int64_t row = top + y < height ? top + y : height - 1;
            int64_t column = left + x < width ? left + x : width - 1;
            block[y][x] = 255 * (double)plane[row * width + column] - 128;
        }
    turn_block(table, block, false);
    for (int y = 0; y < BLOCK; y++)
        for (int x = 0; x < BLOCK; x++) {
            double step = fmin(fmax(floor((steps[y * BLOCK + x] * scale + 50) / 100), 1), 255);
            block[y][x] = round(block[y][x] / step) * step;
        }
    turn_block(table, block, true);
    for (int y = 0; y < BLOCK && top + y < height; y++)
        for (int x = 0; x < BLOCK && left + x < width; x++)
            plane[(top + y) * width + left + x] = (float)((block[y][x] + 128) / 255);
}

/* Quality as libjpeg has it; each channel as if it were brightness. */
static void apply_compression(const cr_transform *transform, cr_sample *sample,
                              cr_generator *generator)
{
    double quality = transform->parameters[0];
    double scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
    cosines table = make_cosines();
    (void)generator;
    for (int64_t c = 0; c < sample->channels; c++)
        for (int64_t top = 0; top < sample->height; top += BLOCK)
            for (int64_t left = 0; left < sample->width; left += BLOCK)
                compress_block(&table, scale, sample->data + c * sample->height * sample->width,
                               sample->height, sample->width, top, left);
    clamp(sample);
}

/* clang-format off */
static const cr_transform_type noise_type = {
    .name = "noise", .about = "adds normal noise", .least = 1, .most = 1,
    .parameters = { { "deviation", 0, NULL } }, .apply = apply_noise,
};
static const cr_transform_type blur_type = {
    .name = "blurring", .about = "blurs", .least = 1, .most = 1,
    .parameters = { { "deviation", 0, NULL } }, .apply = apply_blur,
};
static const cr_transform_type light_type = {
    .name = "light", .about = "multiplies by a factor", .least = 1, .most = 1,
    .parameters = { { "factor", 1, NULL } }, .apply = apply_light,
};
static const cr_transform_type compression_type = {
    .name = "compression", .about = "rounds like JPEG", .least = 1, .most = 1,
    .parameters = { { "quality", 75, NULL } }, .apply = apply_compression,
};
/* clang-format on */

const disturbance disturbances[DISTURBANCES] = {
    { "noise", "noise of deviation 0.16", &noise_type, { 0.04, 0.08, 0.16 } },
    { "blur", "the strongest blur", &blur_type, { 0.7, 1.2, 2.0 } },
    { "darker", "40 % of the light", &light_type, { 0.8, 0.6, 0.4 } },
    { "brighter", "1.75 times the light", &light_type, { 1.25, 1.5, 1.75 } },
    { "compression", "JPEG-like compression of quality 10", &compression_type, { 50, 25, 10 } },
};

bool disturb(const disturbance *what, int strength, const cr_transform_list *own,
             cr_transform_list *joined)
{
    cr_transform_list list = { 0 };
    return cr_transform_add(&list, what->type, &what->levels[strength], 1) == CR_OK &&
           cr_transform_join(&list, own, joined) == CR_OK;
}
