/* The product of bfloat16 matrices by AMX: a tile register holds 16 rows of 32 steps of k of A, or
 * 16 pairs of steps of 16 columns of B, or 16 x 16 sums.
 *
 * The micro-kernel keeps 2 x 2 tiles of sums and loads two tiles of A and two of B for the four
 * products of 32 steps. A is packed as its tiles lie, B in panels of pairs, of which a tile takes
 * 16 columns. Whatever is not the product itself is that of AVX-512. */
#include <immintrin.h>
#include <string.h>

#include "kernels/gemm/gemm.h"

#define SIDE       16 /* rows and columns of a tile of sums */
#define TILE_STEPS 32
#define TILE_BYTES 1024

/* All eight registers whole: 16 rows of 64 bytes. Few rows and the end of k are padded. */
static const struct configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} whole_tiles = {
    .palette = 1,
    .row_bytes = { 64, 64, 64, 64, 64, 64, 64, 64 },
    .rows = { SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE },
};

static void begin(void)
{
    _tile_loadconfig(&whole_tiles);
}

static void end(void)
{
    _tile_release();
}

/* Sums in registers 0 (top left), 1 (top right), 2 and 3 (below); A in 4 and 5, B in 6 and 7. The
 * names of registers must be constants. */
#define ACCESS_SUMS(access, tall, wide)                                                            \
    do {                                                                                           \
        access(0, c, stride);                                                                      \
        if (wide)                                                                                  \
            access(1, c + SIDE, stride);                                                           \
        if (tall)                                                                                  \
            access(2, c + SIDE * c_stride, stride);                                                \
        if ((tall) && (wide))                                                                      \
            access(3, c + SIDE * c_stride + SIDE, stride);                                         \
    } while (0)
#define CLEAR(tile, at, stride) _tile_zero(tile)
#define LOAD(tile, at, stride)  _tile_loadd(tile, at, stride)
#define STORE(tile, at, stride) _tile_stored(tile, at, stride)

CR_INLINE void multiply(bool tall, bool wide, int64_t k_count, const char *a, const char *b,
                        int64_t b_row, float *c, int64_t c_stride, bool accumulate)
{
    int64_t stride = c_stride * (int64_t)sizeof(float);
    if (accumulate)
        ACCESS_SUMS(LOAD, tall, wide);
    else
        ACCESS_SUMS(CLEAR, tall, wide);
    for (int64_t p = 0; p < k_count; p += TILE_STEPS) {
        _tile_loadd(6, b, b_row);
        _tile_loadd(4, a, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (wide) {
            _tile_loadd(7, b + 64, b_row);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (tall) {
            _tile_loadd(5, a + TILE_BYTES, 64);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (tall && wide)
            _tile_dpbf16ps(3, 5, 7);
        a += tall ? 2 * TILE_BYTES : TILE_BYTES;
        b += SIDE * b_row;
    }
    ACCESS_SUMS(STORE, tall, wide);
}

static void multiply_any(int rows, int64_t width, int64_t k_count, const char *a, const char *b,
                         float *c, int64_t c_stride, bool accumulate)
{
    int64_t b_row = width * 4;
    if (rows > SIDE && width > SIDE)
        multiply(true, true, k_count, a, b, b_row, c, c_stride, accumulate);
    else if (rows > SIDE)
        multiply(true, false, k_count, a, b, b_row, c, c_stride, accumulate);
    else if (width > SIDE)
        multiply(false, true, k_count, a, b, b_row, c, c_stride, accumulate);
    else
        multiply(false, false, k_count, a, b, b_row, c, c_stride, accumulate);
}

/* Rows that do not fill their tiles go through a piece of memory that has room for all. */
static void tile(int64_t k_count, const void *a, int64_t a_step, const void *b, int64_t b_step,
                 int rows, int64_t width, void *c, int64_t c_stride, bool accumulate)
{
    (void)a_step;
    (void)b_step;
    if (rows % SIDE == 0) {
        multiply_any(rows, width, k_count, a, b, c, c_stride, accumulate);
        return;
    }
    CR_ALIGNED(64) float sums[4 * SIDE * SIDE];
    size_t bytes = (size_t)width * sizeof(float);
    for (int i = 0; i < rows && accumulate; i++)
        memcpy(sums + i * width, (float *)c + i * c_stride, bytes);
    multiply_any(rows, width, k_count, a, b, sums, width, accumulate);
    for (int i = 0; i < rows; i++)
        memcpy((float *)c + i * c_stride, sums + i * width, bytes);
}

const cr_gemm_kernels cr_gemm_tiles_amx_bf16 = {
    .element = sizeof(uint16_t),
    .panel_element = sizeof(uint16_t),
    .sum_element = sizeof(float),
    .k_unit = TILE_STEPS,
    .row_unit = SIDE,
    .pairs = true,
    .task_macs = 16 << 20,
    .tile_rows = 2 * SIDE,
    .tile_columns = 2 * SIDE,
    .lanes = SIDE,
    .tile = tile,
    .finish = cr_gemm_finish_pairs,
    .add = cr_gemm_add_pairs,
    .pack = cr_gemm_pack_pairs,
    .narrow = cr_gemm_narrow_pairs,
    .pack_rows = cr_gemm_pack_tile_rows,
    .turn_rows = cr_gemm_turn_tile_rows,
    .begin = begin,
    .end = end,
    .dot = cr_gemm_dot_pairs,
    .axpy = cr_gemm_axpy_pairs,
};
