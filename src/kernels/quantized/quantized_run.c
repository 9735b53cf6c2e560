/* Convolutions of bytes over all pixels: tiles of pixels by blocks of output channels, in parts for
 * threads that do not depend on their number. A linear layer is one over an image one pixel wide.
 */
#include "kernels/quantized/quantized.h"

#include <string.h>

#include "kernels/variants.h"

#define PART_TILES  4    /* of pixels: what reads a block of weights while it is near */
#define PART_BLOCKS 8    /* of output channels */
#define DEPTHWISE   64   /* channels that are summed at once */
#define PART_BYTES  8192 /* that a thread quantizes at least */

CR_KERNEL_VARIANTS(const struct quantized_loops, quantized_loops, [2]);

static bool has_vnni(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512vnni");
#else
    return false;
#endif
}

static const struct quantized_loops *choose_loops(void)
{
    return &(*CR_KERNELS_IN_USE(quantized_loops))[has_vnni()];
}

/* ---- packing ---- */

static int64_t taps_of(const struct quantized_conv *c)
{
    return c->kernel[0] * c->kernel[1];
}

static int64_t block_size(const struct quantized_conv *c)
{
    return taps_of(c) * CR_DIV_UP(c->in_channels, QUANTIZED_GROUP) * QUANTIZED_GROUP *
           QUANTIZED_COLUMNS;
}

size_t quantized_packed_size(const struct quantized_conv *c)
{
    if (c->is_depthwise)
        return (size_t)(taps_of(c) * c->out_channels);
    return (size_t)(CR_DIV_UP(c->out_channels, QUANTIZED_COLUMNS) * block_size(c));
}

static void pack_depthwise(const struct quantized_conv *c, const int8_t *weights, int8_t *packed,
                           int32_t *sums)
{
    int64_t taps = taps_of(c);
    for (int64_t o = 0; o < c->out_channels; o++) {
        sums[o] = 0;
        for (int64_t t = 0; t < taps; t++) {
            packed[t * c->out_channels + o] = weights[o * taps + t];
            sums[o] += weights[o * taps + t];
        }
    }
}

/* Blocks of columns; in each, groups of channels of one tap after the other; in each, columns. */
void quantized_pack(const struct quantized_conv *c, const int8_t *weights, int8_t *packed,
                    int32_t *sums)
{
    if (c->is_depthwise) {
        pack_depthwise(c, weights, packed, sums);
        return;
    }
    int64_t taps = taps_of(c), groups = CR_DIV_UP(c->in_channels, QUANTIZED_GROUP);
    memset(packed, 0, quantized_packed_size(c));
    for (int64_t o = 0; o < c->out_channels; o++) {
        int8_t *block = packed + o / QUANTIZED_COLUMNS * block_size(c);
        const int8_t *from = weights + o * c->in_channels * taps;
        sums[o] = 0;
        for (int64_t i = 0; i < c->in_channels; i++) {
            for (int64_t t = 0; t < taps; t++) {
                int64_t group = t * groups + i / QUANTIZED_GROUP;
                int64_t column = o % QUANTIZED_COLUMNS;
                block[(group * QUANTIZED_COLUMNS + column) * QUANTIZED_GROUP +
                      i % QUANTIZED_GROUP] = from[i * taps + t];
                sums[o] += from[i * taps + t];
            }
        }
    }
}

/* ---- pixels ---- */

struct job {
    const struct quantized_conv *c;
    const struct quantized_loops *loops;
    const uint8_t *outside; /* a pixel of zero points */
    int64_t pixels, parts, blocks, block_parts;
};

/* What the taps of `count` output pixels of the batch read, tap by tap. */
static void find_rows(const struct job *job, int64_t pixel, int64_t count, const uint8_t **rows)
{
    const struct quantized_conv *c = job->c;
    int64_t area = c->out_height * c->out_width;
    for (int64_t r = 0; r < count; r++) {
        int64_t at = CR_MIN(pixel + r, job->pixels - 1), inside = at % area;
        int64_t top = inside / c->out_width * c->stride[0] - c->padding[0];
        int64_t left = inside % c->out_width * c->stride[1] - c->padding[1];
        const uint8_t *image = c->x + at / area * c->in_height * c->in_width * c->in_channels;
        const uint8_t **to = rows + r;
        for (int64_t ky = 0; ky < c->kernel[0]; ky++) {
            int64_t y = top + ky * c->dilation[0];
            for (int64_t kx = 0; kx < c->kernel[1]; kx++, to += count) {
                int64_t x = left + kx * c->dilation[1];
                bool is_inside = y >= 0 && y < c->in_height && x >= 0 && x < c->in_width;
                *to = is_inside ? image + (y * c->in_width + x) * c->in_channels : job->outside;
            }
        }
    }
}

static void run_tile(const struct job *job, int64_t pixel, int64_t block,
                     const uint8_t *const *rows)
{
    const struct quantized_conv *c = job->c;
    int32_t sums[QUANTIZED_ROWS * QUANTIZED_COLUMNS];
    int64_t first = block * QUANTIZED_COLUMNS;
    int64_t count = CR_MIN(c->out_channels - first, (int64_t)QUANTIZED_COLUMNS);
    int64_t used = CR_MIN(job->pixels - pixel, (int64_t)QUANTIZED_ROWS);
    job->loops->tile(taps_of(c), c->in_channels, rows, c->weights + block * block_size(c), sums);
    for (int64_t r = 0; r < used; r++)
        job->loops->finish(&c->finish, sums + r * QUANTIZED_COLUMNS, first,
                           (pixel + r) * c->out_channels + first, count);
}

static void run_parts(int64_t begin, int64_t end, void *context)
{
    const struct job *job = context;
    const uint8_t *rows[PART_TILES][QUANTIZED_TAPS * QUANTIZED_ROWS];
    for (int64_t part = begin; part < end; part++) {
        int64_t pixel = part / job->block_parts * PART_TILES * QUANTIZED_ROWS;
        int64_t block = part % job->block_parts * PART_BLOCKS, tiles = 0;
        for (; tiles < PART_TILES && pixel + tiles * QUANTIZED_ROWS < job->pixels; tiles++)
            find_rows(job, pixel + tiles * QUANTIZED_ROWS, QUANTIZED_ROWS, rows[tiles]);
        int64_t last = CR_MIN(block + PART_BLOCKS, job->blocks);
        for (; block < last; block++) {
            for (int64_t t = 0; t < tiles; t++)
                run_tile(job, pixel + t * QUANTIZED_ROWS, block, rows[t]);
        }
    }
}

static void run_depthwise(int64_t begin, int64_t end, void *context)
{
    const struct job *job = context;
    const struct quantized_conv *c = job->c;
    const uint8_t *rows[QUANTIZED_TAPS], *at[QUANTIZED_TAPS];
    int64_t taps = taps_of(c);
    int32_t sums[DEPTHWISE];
    for (int64_t pixel = begin; pixel < end; pixel++) {
        find_rows(job, pixel, 1, rows);
        for (int64_t first = 0; first < c->out_channels; first += DEPTHWISE) {
            int64_t count = CR_MIN(c->out_channels - first, (int64_t)DEPTHWISE);
            for (int64_t t = 0; t < taps; t++)
                at[t] = rows[t] + first;
            if (count == DEPTHWISE)
                job->loops->depthwise(taps, DEPTHWISE, at, c->weights + first, c->out_channels,
                                      sums);
            else
                job->loops->depthwise(taps, count, at, c->weights + first, c->out_channels, sums);
            job->loops->finish(&c->finish, sums, first, pixel * c->out_channels + first, count);
        }
    }
}

void quantized_conv_run(const struct quantized_conv *c, void *workspace)
{
    memset(workspace, c->zero, (size_t)c->in_channels);
    struct job job = { .c = c,
                       .loops = choose_loops(),
                       .outside = workspace,
                       .pixels = c->batch * c->out_height * c->out_width };
    if (c->is_depthwise) {
        int64_t cost = CR_MAX(taps_of(c) * c->out_channels, (int64_t)1);
        cr_parallel_for(job.pixels, CR_MAX(PART_BYTES / cost, (int64_t)1), run_depthwise, &job);
        return;
    }
    job.parts = CR_DIV_UP(job.pixels, PART_TILES * QUANTIZED_ROWS);
    job.blocks = CR_DIV_UP(c->out_channels, QUANTIZED_COLUMNS);
    job.block_parts = CR_DIV_UP(job.blocks, PART_BLOCKS);
    cr_parallel_for(job.parts * job.block_parts, 1, run_parts, &job);
}

/* ---- conversion ---- */

struct conversion {
    const struct quantized_loops *loops;
    const float *reals;
    const uint8_t *bytes;
    float *to_reals;
    uint8_t *to_bytes;
    float factor;
    int32_t zero;
};

static void run_quantize(int64_t begin, int64_t end, void *context)
{
    const struct conversion *c = context;
    c->loops->quantize(c->reals + begin, end - begin, c->factor, c->zero, c->to_bytes + begin);
}

static void run_dequantize(int64_t begin, int64_t end, void *context)
{
    const struct conversion *c = context;
    c->loops->dequantize(c->bytes + begin, end - begin, c->factor, c->zero, c->to_reals + begin);
}

void quantized_quantize(const float *x, int64_t count, float scale, int32_t zero, uint8_t *to)
{
    struct conversion c = {
        .loops = choose_loops(), .reals = x, .to_bytes = to, .factor = 1 / scale, .zero = zero
    };
    cr_parallel_for(count, PART_BYTES, run_quantize, &c);
}

void quantized_dequantize(const uint8_t *x, int64_t count, float scale, int32_t zero, float *to)
{
    struct conversion c = {
        .loops = choose_loops(), .bytes = x, .to_reals = to, .factor = scale, .zero = zero
    };
    cr_parallel_for(count, PART_BYTES, run_dequantize, &c);
}
