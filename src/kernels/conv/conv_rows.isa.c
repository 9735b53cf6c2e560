/* The tiles of convolution over channels-last images for one instruction set.
 *
 * A tile is some rows of a matrix of patches, which lie CR_ROWS_STEP apart, by a panel of weights:
 * its sums stay in registers from the first step of k to the epilogue, and are written as vectors
 * of channels. */
#include "kernels/conv/vectors.inc"

#include "kernels/conv/epilogue.inc"

#if defined(__AVX512F__)
#define TILE_ROWS 14
#elif defined(CR_TARGET_NEON)
#define TILE_ROWS 10 /* with more, the compiler does not keep all sums in registers */
#elif defined(__AVX2__)
#define TILE_ROWS 6
#else
#define TILE_ROWS 4
#endif

#define AHEAD 24 /* steps of k by which weights are asked for early */

/* What is left of the epilogue where the activation is not simple. */
static void finish_rest(const cr_rows_tile *t)
{
    cr_gemm_finish finish = { .rows = t->rows,
                              .columns = t->channels,
                              .sum = t->output,
                              .sum_stride = t->output_step,
                              .c = t->output,
                              .c_stride = t->output_step,
                              .c_column_stride = 1,
                              .alpha = 1,
                              .epilogue = { .activation = t->activation, .slope = t->slope } };
    cr_gemm_kernels_of(CR_GEMM_F32)->finish(&finish);
}

/* Adds what lies at `from`, laid out as the result. */
CR_INLINE void add_rows(const cr_rows_tile *t, int rows, int vectors, bool whole, const float *from,
                        vector sum[TILE_ROWS][2])
{
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) {
            const float *at = from + i * t->output_step + j * LANES;
            sum[i][j] += whole ? load(at) : load_some(at, t->channels - j * LANES);
        }
}

CR_INLINE void activate_rows(int rows, int vectors, cr_activation activation,
                             vector sum[TILE_ROWS][2])
{
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            sum[i][j] = activate(sum[i][j], activation);
}

CR_INLINE void write_rows(const cr_rows_tile *t, int rows, int vectors, bool whole,
                          vector sum[TILE_ROWS][2])
{
    if (!t->first)
        add_rows(t, rows, vectors, whole, t->output, sum);
    if (t->last && t->residual)
        add_rows(t, rows, vectors, whole, t->residual, sum);
    if (t->last && t->activation == CR_ACTIVATION_RELU)
        activate_rows(rows, vectors, CR_ACTIVATION_RELU, sum);
    else if (t->last && t->activation == CR_ACTIVATION_RELU6)
        activate_rows(rows, vectors, CR_ACTIVATION_RELU6, sum);
    else if (t->last && t->activation == CR_ACTIVATION_HARDSWISH)
        activate_rows(rows, vectors, CR_ACTIVATION_HARDSWISH, sum);
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) {
            float *to = t->output + i * t->output_step + j * LANES;
            if (whole)
                store(to, sum[i][j]);
            else
                store_some(to, sum[i][j], t->channels - j * LANES);
        }
}

CR_INLINE void multiply(const cr_rows_tile *t, int rows, int vectors)
{
    vector sum[TILE_ROWS][2];
#pragma GCC unroll 2
    for (int j = 0; j < vectors; j++) {
        vector begin = { 0 };
        if (t->first && t->bias)
            begin = load_some(t->bias + j * LANES, t->channels - j * LANES);
#pragma GCC unroll 14
        for (int i = 0; i < rows; i++)
            sum[i][j] = begin;
    }
    const float *row = t->patches, *weight = t->weight;
    for (int64_t k = 0; k < t->k_count; k++, row++, weight += PANEL) {
        vector w[2];
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            w[j] = load(weight + j * LANES);
        CR_PREFETCH(weight + AHEAD * PANEL);
        CR_PREFETCH(weight + AHEAD * PANEL + LANES);
#pragma GCC unroll 14
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++)
                sum[i][j] += row[i * CR_ROWS_STEP] * w[j];
    }
    if (t->channels == vectors * LANES)
        write_rows(t, rows, vectors, true, sum);
    else
        write_rows(t, rows, vectors, false, sum);
}

#define TILE(rows)                                                                                 \
    static void wide##rows(const cr_rows_tile *t)                                                  \
    {                                                                                              \
        multiply(t, rows, 2);                                                                      \
    }                                                                                              \
    static void narrow##rows(const cr_rows_tile *t)                                                \
    {                                                                                              \
        multiply(t, rows, 1);                                                                      \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
#if TILE_ROWS > 4
TILE(5)
TILE(6)
#endif
#if TILE_ROWS > 6
TILE(7)
TILE(8)
TILE(9)
TILE(10)
#endif
#if TILE_ROWS > 10
TILE(11)
TILE(12)
TILE(13)
TILE(14)
#endif

static void rows_tile(const cr_rows_tile *t)
{
    static void (*const tiles[][2])(const cr_rows_tile *) = {
        { narrow1, wide1 },
        { narrow2, wide2 },
        { narrow3, wide3 },
        { narrow4, wide4 },
#if TILE_ROWS > 4
        { narrow5, wide5 },
        { narrow6, wide6 },
#endif
#if TILE_ROWS > 6
        { narrow7, wide7 },
        { narrow8, wide8 },
        { narrow9, wide9 },
        { narrow10, wide10 },
#endif
#if TILE_ROWS > 10
        { narrow11, wide11 },
        { narrow12, wide12 },
        { narrow13, wide13 },
        { narrow14, wide14 },
#endif
    };
    tiles[t->rows - 1][t->channels > LANES](t);
    if (t->last && !is_simple(t->activation))
        finish_rest(t);
}

/* ---- rows of patches ---- */

CR_INLINE void copy_run(float *to, const float *from, int64_t count)
{
    for (; count >= LANES; count -= LANES, to += LANES, from += LANES)
        store(to, load(from));
    if (count > 0)
        store_some(to, load_some(from, count), count);
}

CR_INLINE void clear_run(float *to, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = 0;
}

/* Elements [from, to) of a run of `length` contiguous columns of row `y`, from column `x` on, where
 * those outside the image are zero. */
CR_INLINE void copy_columns(const cr_conv *c, const float *image, int64_t y, int64_t x,
                            int64_t from, int64_t to, float *at)
{
    int64_t channels = c->in_channels, width = c->input[2];
    int64_t begin = CR_MIN(CR_MAX(-x * channels, from), to);
    int64_t end = CR_MAX(CR_MIN((width - x) * channels, to), begin);
    if (y < 0 || y >= c->input[1]) {
        clear_run(at, to - from);
        return;
    }
    if (begin > from)
        clear_run(at, begin - from);
    copy_run(at + begin - from, image + (y * width + x) * channels + begin, end - begin);
    if (end < to)
        clear_run(at + end - from, to - end);
}

/* The patch of one point, elements [k, k + k_count) of it, which are those of taps (y, x), each
 * with its channels. Taps that are neighbours are copied together. */
CR_INLINE void copy_patch(const cr_conv *c, const float *image, int64_t y, int64_t x, int64_t k,
                          int64_t k_count, float *to)
{
    int64_t taps = c->dilation[2] == 1 ? c->kernel[2] : 1, run = taps * c->in_channels;
    int64_t runs = c->kernel[2] / taps, index = k / run, column = index % runs;
    y += index / runs * c->dilation[1];
    for (k -= index * run; k_count > 0; k = 0) {
        int64_t last = CR_MIN(k + k_count, run);
        copy_columns(c, image, y, x + column * c->dilation[2], k, last, to);
        to += last - k;
        k_count -= last - k;
        if (++column == runs) {
            column = 0;
            y += c->dilation[1];
        }
    }
}

/* A whole patch inside the image: `rows` runs that lie row_step apart. */
CR_INLINE void copy_inside(const float *from, int64_t row_step, int64_t rows, int64_t run,
                           float *to)
{
    for (int64_t y = 0; y < rows; y++, from += row_step, to += run)
        copy_run(to, from, run);
}

/* Points [first, first + count) of the result, counted through the images. */
static void rows_patches(const cr_conv *c, const float *input, int64_t first, int64_t count,
                         int64_t k, int64_t k_count, float *to)
{
    int64_t image_size = c->input[1] * c->input[2] * c->in_channels;
    bool is_matrix = c->kernel[1] * c->kernel[2] == 1 && c->stride[1] * c->stride[2] == 1 &&
                     c->padding[1] + c->padding[2] == 0;
    if (is_matrix) {
        const float *from = input + first * c->in_channels + k;
        for (int64_t i = 0; i < count; i++, from += c->in_channels, to += CR_ROWS_STEP)
            copy_run(to, from, k_count);
        return;
    }
    int64_t x = first % c->output[2], row = first / c->output[2];
    int64_t y = row % c->output[1], image = row / c->output[1];
    int64_t run = c->kernel[2] * c->in_channels, in_row = c->input[2] * c->in_channels;
    bool is_whole = k_count == c->kernel[1] * run && c->dilation[2] == 1;
    int64_t last_y = c->input[1] - (c->kernel[1] - 1) * c->dilation[1] - 1;
    int64_t last_x = c->input[2] - c->kernel[2];
    for (int64_t i = 0; i < count; i++, to += CR_ROWS_STEP) {
        int64_t top = y * c->stride[1] - c->padding[1], left = x * c->stride[2] - c->padding[2];
        const float *from = input + image * image_size;
        if (is_whole && top >= 0 && left >= 0 && top <= last_y && left <= last_x)
            copy_inside(from + top * in_row + left * c->in_channels, c->dilation[1] * in_row,
                        c->kernel[1], run, to);
        else
            copy_patch(c, from, top, left, k, k_count, to);
        if (++x < c->output[2])
            continue;
        x = 0;
        if (++y == c->output[1]) {
            y = 0;
            image++;
        }
    }
}

/* ---- from the usual order and back ---- */

/* Rows [begin, end) of an image: channels that lie `plane` apart become the last dimension. */
static void rows_turn(const float *from, int64_t channels, int64_t plane, int64_t begin,
                      int64_t end, float *to)
{
    const cr_gemm_kernels *kernels = cr_gemm_kernels_of(CR_GEMM_F32);
    CR_ALIGNED(64) float square[LANES * LANES];
    int64_t channel = 0;
    for (; channel + LANES <= channels; channel += LANES)
        for (int64_t i = begin; i < end; i += LANES) {
            int64_t count = CR_MIN(end - i, LANES);
            kernels->pack(from + channel * plane + i, plane, 1, LANES, LANES, count, square);
            for (int64_t j = 0; j < count; j++)
                store(to + (i + j) * channels + channel, load(square + j * LANES));
        }
    for (; channel < channels; channel++)
        for (int64_t i = begin; i < end; i++)
            to[i * channels + channel] = from[channel * plane + i];
}

const cr_rows_kernels CR_ISA_NAME(cr_rows_kernels) = {
    .rows = TILE_ROWS,
    .lanes = LANES,
    .tile = rows_tile,
    .patches = rows_patches,
    .turn = rows_turn,
};
