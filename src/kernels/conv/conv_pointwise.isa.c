/* The tiles of 1 x 1 convolution for one instruction set: a tile of output channels by two vectors
 * of positions stays in registers from the first step of k to the epilogue, and is written to where
 * it belongs, so the result is passed over once. */
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

/* What is left of the epilogue where the activation is not simple. */
static void finish_rest(const cr_pointwise_tile *t)
{
    cr_gemm_finish finish = { .rows = t->rows,
                              .columns = t->columns,
                              .sum = t->output,
                              .sum_stride = t->output_step,
                              .c = t->output,
                              .c_stride = t->output_step,
                              .c_column_stride = 1,
                              .alpha = 1,
                              .epilogue = { .activation = t->activation, .slope = t->slope } };
    cr_gemm_kernels_of(CR_GEMM_F32)->finish(&finish);
}

/* The sums of a tile leave: LANES * vectors of each row. */
CR_INLINE void write_rows(const cr_pointwise_tile *t, int vectors, const float *sums)
{
    for (int64_t i = 0; i < t->rows; i++) {
        float bias = t->last && t->bias ? t->bias[i] : 0;
        for (int j = 0; j < vectors; j++, sums += LANES) {
            int64_t at = i * t->output_step + j * LANES, count = t->columns - j * LANES;
            vector value = load(sums) + bias;
            if (!t->first)
                value += load_some(t->output + at, count);
            if (t->last && t->residual)
                value += load_some(t->residual + at, count);
            if (t->last)
                value = activate(value, t->activation);
            store_some(t->output + at, value, count);
        }
    }
}

static void write_wide(const cr_pointwise_tile *t, const float *sums)
{
    write_rows(t, 2, sums);
}

static void write_narrow(const cr_pointwise_tile *t, const float *sums)
{
    write_rows(t, 1, sums);
}

/* The sums stay in registers because nothing is called until they have been stored. */
CR_INLINE void multiply(const cr_pointwise_tile *t, int rows, int vectors, float *sums)
{
    vector sum[TILE_ROWS][2];
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            sum[i][j] = (vector){ 0 };
    const float *weight = t->weight, *image = t->image;
    for (int64_t k = 0; k < t->k_count; k++, weight += rows, image += t->image_step) {
        vector x[2];
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            x[j] = load(image + j * LANES);
#pragma GCC unroll 14
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++)
                sum[i][j] += weight[i] * x[j];
    }
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            store(sums + (i * vectors + j) * LANES, sum[i][j]);
}

#define TILE(rows)                                                                                 \
    static void wide##rows(const cr_pointwise_tile *t, float *sums)                                \
    {                                                                                              \
        multiply(t, rows, 2, sums);                                                                \
    }                                                                                              \
    static void narrow##rows(const cr_pointwise_tile *t, float *sums)                              \
    {                                                                                              \
        multiply(t, rows, 1, sums);                                                                \
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

static void pointwise_tile(const cr_pointwise_tile *t)
{
    static void (*const tiles[][2])(const cr_pointwise_tile *, float *) = {
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
    CR_ALIGNED(64) float sums[TILE_ROWS * PANEL];
    bool is_wide = t->columns > LANES;
    tiles[t->rows - 1][is_wide](t, sums);
    if (is_wide)
        write_wide(t, sums);
    else
        write_narrow(t, sums);
    if (t->last && !is_simple(t->activation))
        finish_rest(t);
}

/* One panel of up to PANEL positions; what a narrower one has beyond them is zero. */
static void pack_panel(const float *image, int64_t step, int64_t k_count, int64_t columns,
                       float *to)
{
    if (columns == PANEL) {
        for (int64_t k = 0; k < k_count; k++, image += step, to += PANEL) {
            store(to, load(image));
            store(to + LANES, load(image + LANES));
        }
        return;
    }
    memset(to, 0, (size_t)(k_count * PANEL) * sizeof(float));
    for (int64_t k = 0; k < k_count; k++, image += step, to += PANEL)
        memcpy(to, image, (size_t)columns * sizeof(float));
}

static void pointwise_pack(const float *image, int64_t step, int64_t k_count, int64_t columns,
                           float *to)
{
    for (int64_t j = 0; j < columns; j += PANEL)
        pack_panel(image + j, step, k_count, CR_MIN(columns - j, PANEL), to + j * k_count);
}

const cr_pointwise_kernels CR_ISA_NAME(cr_pointwise_kernels) = {
    .rows = TILE_ROWS,
    .lanes = LANES,
    .tile = pointwise_tile,
    .pack = pointwise_pack,
};
