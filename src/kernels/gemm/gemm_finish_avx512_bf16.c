/* What the kernels for pairs of bfloat16 share beside their packing: sums on their way to C, which
 * the processor's own conversion rounds, and what is the same as that of AVX-512. */
#include <immintrin.h>
#include <math.h>

#include "kernels/gemm/gemm.h"

#define LANES 16

CR_INLINE __mmask16 first_lanes(int64_t count)
{
    return count >= LANES ? (__mmask16)0xffff : (__mmask16)((1u << count) - 1);
}

/* ---- elements of C and of what is added to it: float or bfloat16, side by side or two apart ----
 */

CR_INLINE __m512 widened(__m512i low_halves)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(low_halves, 16));
}

CR_INLINE __m512 read_side_by_side(const void *from, int64_t at, bool is_float, __mmask16 mask)
{
    if (is_float)
        return _mm512_maskz_loadu_ps(mask, (const float *)from + at);
    __m256i half = _mm256_maskz_loadu_epi16(mask, (const uint16_t *)from + at);
    return widened(_mm512_cvtepu16_epi32(half));
}

CR_INLINE void write_side_by_side(void *to, int64_t at, bool is_float, __mmask16 mask, __m512 value)
{
    if (is_float)
        _mm512_mask_storeu_ps((float *)to + at, mask, value);
    else
        _mm256_mask_storeu_epi16((uint16_t *)to + at, mask, (__m256i)_mm512_cvtneps_pbh(value));
}

/* Every other element: the low halves of 32 bits, of which nothing else is touched. */
CR_INLINE __mmask32 low_halves(__mmask16 mask)
{
    return _pdep_u32(mask, 0x55555555u);
}

CR_INLINE __m512 read_apart(const uint16_t *from, __mmask16 mask)
{
    return widened(_mm512_maskz_loadu_epi16(low_halves(mask), from));
}

CR_INLINE void write_apart(uint16_t *to, __mmask16 mask, __m512 value)
{
    __m512i halves = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(value));
    _mm512_mask_storeu_epi16(to, low_halves(mask), halves);
}

/* ---- a tile ---- */

CR_INLINE __m512 activated(__m512 value, cr_activation activation)
{
    /* What is not a number stays, since it comes second. */
    __m512 positive = _mm512_max_ps(_mm512_setzero_ps(), value);
    if (activation == CR_ACTIVATION_RELU)
        return positive;
    if (activation == CR_ACTIVATION_RELU6)
        return _mm512_min_ps(_mm512_set1_ps(6), positive);
    return value;
}

/* Columns from j on of one row, with all that `finish` says. */
CR_INLINE void finish_columns(const cr_gemm_finish *f, int64_t row, int64_t j, float bias,
                              bool apart)
{
    const cr_epilogue *e = &f->epilogue;
    __mmask16 mask = first_lanes(f->columns - j);
    int64_t at = row * f->c_stride + j * f->c_column_stride;
    __m512 value = _mm512_maskz_loadu_ps(mask, (const float *)f->sum + row * f->sum_stride + j);
    value = _mm512_fmadd_ps(value, _mm512_set1_ps((float)f->alpha), _mm512_set1_ps(bias));
    if (e->column_bias)
        value = _mm512_add_ps(value, read_side_by_side(e->column_bias, j, f->bias_float, mask));
    if (f->accumulate)
        value = _mm512_add_ps(value, apart ? read_apart((const uint16_t *)f->c + at, mask)
                                           : read_side_by_side(f->c, at, f->c_float, mask));
    if (e->residual)
        value = _mm512_add_ps(value, apart ? read_apart((const uint16_t *)e->residual + at, mask)
                                           : read_side_by_side(e->residual, at, f->c_float, mask));
    value = activated(value, e->activation);
    if (apart)
        write_apart((uint16_t *)f->c + at, mask, value);
    else
        write_side_by_side(f->c, at, f->c_float, mask, value);
}

CR_INLINE float bias_of_row(const cr_gemm_finish *f, int64_t row)
{
    const void *bias = f->epilogue.row_bias;
    if (!bias)
        return 0;
    return _mm512_cvtss_f32(read_side_by_side(bias, row, f->bias_float, 1));
}

static void finish_any(const cr_gemm_finish *f, bool apart)
{
    for (int64_t row = 0; row < f->rows; row++) {
        float bias = bias_of_row(f, row);
        if (apart)
            for (int64_t j = 0; j < f->columns; j += LANES)
                finish_columns(f, row, j, bias, true);
        else
            for (int64_t j = 0; j < f->columns; j += LANES)
                finish_columns(f, row, j, bias, false);
    }
}

/* Sums that become C as they are, but for their type. */
CR_INLINE void finish_plain(const cr_gemm_finish *f, bool is_float)
{
    __mmask16 mask = first_lanes(f->columns % LANES);
    for (int64_t row = 0; row < f->rows; row++) {
        const float *sum = (const float *)f->sum + row * f->sum_stride;
        int64_t j = 0, at = row * f->c_stride;
        for (; j + LANES <= f->columns; j += LANES)
            write_side_by_side(f->c, at + j, is_float, 0xffff, _mm512_loadu_ps(sum + j));
        if (mask)
            write_side_by_side(f->c, at + j, is_float, mask, _mm512_maskz_loadu_ps(mask, sum + j));
    }
}

/* The usual end of a convolution, to bfloat16: a bias, perhaps a residual, and an activation that
 * cuts off, all the same for every element. */
CR_INLINE void finish_usual(const cr_gemm_finish *f, bool adds)
{
    const cr_epilogue *e = &f->epilogue;
    bool cuts = e->activation != CR_ACTIVATION_NONE, is_six = e->activation == CR_ACTIVATION_RELU6;
    __m512 least = _mm512_set1_ps(cuts ? 0 : -INFINITY),
           most = _mm512_set1_ps(is_six ? 6 : INFINITY);
    __m512 alpha = _mm512_set1_ps((float)f->alpha);
    for (int64_t row = 0; row < f->rows; row++) {
        const float *sum = (const float *)f->sum + row * f->sum_stride;
        __m512 bias = _mm512_set1_ps(bias_of_row(f, row));
        int64_t at = row * f->c_stride;
        for (int64_t j = 0; j < f->columns; j += LANES) {
            __mmask16 mask = first_lanes(f->columns - j);
            __m512 value = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, sum + j), alpha, bias);
            if (adds)
                value = _mm512_add_ps(value, read_side_by_side(e->residual, at + j, false, mask));
            /* What is not a number stays, since it comes second. */
            value = _mm512_min_ps(most, _mm512_max_ps(least, value));
            write_side_by_side(f->c, at + j, false, mask, value);
        }
    }
}

void cr_gemm_finish_pairs(const cr_gemm_finish *f)
{
    const cr_epilogue *e = &f->epilogue;
    bool apart = f->c_column_stride == 2 && !f->c_float;
    bool usual = f->c_column_stride == 1 && !f->c_float && !f->accumulate && !e->column_bias;
    if ((f->c_column_stride != 1 && !apart) || e->activation > CR_ACTIVATION_RELU6)
        cr_gemm_kernels_avx512[CR_GEMM_BF16].finish(f);
    else if (usual && e->residual)
        finish_usual(f, true);
    else if (usual && (e->row_bias || e->activation != CR_ACTIVATION_NONE))
        finish_usual(f, false);
    else if (apart || e->row_bias || e->column_bias || e->residual || f->accumulate ||
             f->alpha != 1 || e->activation != CR_ACTIVATION_NONE)
        finish_any(f, apart);
    else if (f->c_float)
        finish_plain(f, true);
    else
        finish_plain(f, false);
}

void cr_gemm_narrow_pairs(const float *from, int64_t count, uint16_t *to)
{
    for (int64_t i = 0; i < count; i += LANES) {
        __mmask16 mask = first_lanes(count - i);
        write_side_by_side(to, i, false, mask, _mm512_maskz_loadu_ps(mask, from + i));
    }
}

/* ---- as AVX-512 does them ---- */

void cr_gemm_add_pairs(const void *from, int64_t count, void *to)
{
    cr_gemm_kernels_avx512[CR_GEMM_BF16].add(from, count, to);
}

void cr_gemm_dot_pairs(int64_t rows, int64_t columns, int64_t k, const void *a, int64_t a_stride,
                       const void *b, int64_t b_stride, void *sum, int64_t sum_stride)
{
    cr_gemm_kernels_avx512[CR_GEMM_BF16].dot(rows, columns, k, a, a_stride, b, b_stride, sum,
                                             sum_stride);
}

void cr_gemm_axpy_pairs(int64_t rows, int64_t columns, int64_t k, const void *a, int64_t a_stride,
                        int64_t a_k_stride, const void *b, int64_t b_k_stride, void *sum,
                        int64_t sum_stride)
{
    cr_gemm_kernels_avx512[CR_GEMM_BF16].axpy(rows, columns, k, a, a_stride, a_k_stride, b,
                                              b_k_stride, sum, sum_stride);
}
