/* The tile of convolution by pairs of channels, by the tiles of AMX: the weights are the left
 * operand, and the image, where it lies, the right one, since 16 pairs of channels at 16 points
 * that follow each other are what a register holds. */
#include <immintrin.h>

#include "kernels/conv/conv.h"

#define SIDE       16
#define TILE_BYTES (SIDE * 64)

CR_INLINE void multiply(bool tall, bool wide, const cr_pair_tile *t)
{
    int64_t plane = t->plane * (int64_t)sizeof(uint32_t), stride = CR_PAIR_COLUMNS * sizeof(float);
    const char *a = (const char *)t->weight;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t block = 0; block < t->blocks; block++)
        for (int64_t i = 0; i < t->taps; i++) {
            const uint32_t *b = t->image + block * SIDE * t->plane + t->tap[i];
            _tile_loadd(6, b, plane);
            _tile_loadd(4, a, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (wide) {
                _tile_loadd(7, b + SIDE, plane);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (tall) {
                _tile_loadd(5, a + TILE_BYTES, 64);
                _tile_dpbf16ps(2, 5, 6);
            }
            if (tall && wide)
                _tile_dpbf16ps(3, 5, 7);
            a += tall ? 2 * TILE_BYTES : TILE_BYTES;
        }
    _tile_stored(0, t->sums, stride);
    if (wide)
        _tile_stored(1, t->sums + SIDE, stride);
    if (tall)
        _tile_stored(2, t->sums + SIDE * CR_PAIR_COLUMNS, stride);
    if (tall && wide)
        _tile_stored(3, t->sums + SIDE * CR_PAIR_COLUMNS + SIDE, stride);
}

static void pair_tile(const cr_pair_tile *t)
{
    bool wide = t->columns > SIDE;
    if (t->rows > SIDE && wide)
        multiply(true, true, t);
    else if (t->rows > SIDE)
        multiply(true, false, t);
    else if (wide)
        multiply(false, true, t);
    else
        multiply(false, false, t);
}

/* ---- the gradient of weights: rows are input channels, where they lie ---- */

CR_INLINE void sum_points(bool tall, const cr_pair_sum *s)
{
    int64_t plane = s->left_plane * (int64_t)sizeof(uint16_t), row = CR_PAIR_COLUMNS * 4;
    int64_t stride = s->sum_stride * (int64_t)sizeof(float);
    if (s->accumulate) {
        _tile_loadd(0, s->sums, stride);
        _tile_loadd(1, s->sums + SIDE, stride);
        if (tall) {
            _tile_loadd(2, s->sums + SIDE * s->sum_stride, stride);
            _tile_loadd(3, s->sums + SIDE * s->sum_stride + SIDE, stride);
        }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t image = 0; image < s->images; image++) {
        const uint16_t *a = s->left + image * s->left_image;
        const uint16_t *b = s->right + image * s->right_image;
        for (int64_t step = 0; step < s->steps; step++) {
            _tile_loadd(6, b, row);
            _tile_loadd(4, a, plane);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b + SIDE * 2, row);
            _tile_dpbf16ps(1, 4, 7);
            if (tall) {
                _tile_loadd(5, a + SIDE * s->left_plane, plane);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
            a += SIDE * 2;
            b += SIDE * 2 * CR_PAIR_COLUMNS;
        }
    }
    _tile_stored(0, s->sums, stride);
    _tile_stored(1, s->sums + SIDE, stride);
    if (tall) {
        _tile_stored(2, s->sums + SIDE * s->sum_stride, stride);
        _tile_stored(3, s->sums + SIDE * s->sum_stride + SIDE, stride);
    }
}

static void pair_sum(const cr_pair_sum *s)
{
    if (s->rows > SIDE)
        sum_points(true, s);
    else
        sum_points(false, s);
}

const cr_pair_kernels cr_pair_kernels_amx_bf16 = {
    .tile = pair_tile,
    .sum = pair_sum,
    .row = cr_pair_row,
};
