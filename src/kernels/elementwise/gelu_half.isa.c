/* GELU of bfloat16 and its gradient from tables, compiled for each instruction set: there are but
 * 65536 numbers, and those of one batch lie in a few kilobytes of a table, so a look costs a third
 * of the polynomials. The tables are made by the loops for float32 at the first use, so results are
 * those of computing in float32 and rounding. */
#include <pthread.h>
#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "kernels/elementwise/elementwise.h"

#define ALL   (1 << 16)
#define PIECE 512
#define LANES 16

static uint16_t values[ALL + 2]; /* an element is looked up with the one beside it */
static float slopes[ALL];
static pthread_once_t values_made = PTHREAD_ONCE_INIT, slopes_made = PTHREAD_ONCE_INIT;

static void widen_piece(int first, float *x)
{
    for (int i = 0; i < PIECE; i++)
        x[i] = bf16_to_float((uint16_t)(first + i));
}

static void make_values(void)
{
    float x[PIECE], y[PIECE];
    for (int first = 0; first < ALL; first += PIECE) {
        widen_piece(first, x);
        activation_map(ACTIVATION_GELU)->f32(PIECE, y, (const void *[]){ x }, NULL);
        for (int i = 0; i < PIECE; i++)
            values[first + i] = bf16_from_float(y[i]);
    }
}

static void make_slopes(void)
{
    float x[PIECE], one[PIECE];
    for (int i = 0; i < PIECE; i++)
        one[i] = 1;
    for (int first = 0; first < ALL; first += PIECE) {
        widen_piece(first, x);
        activation_map(ACTIVATION_GELU_BACKWARD)
            ->f32(PIECE, slopes + first, (const void *[]){ one, x }, NULL);
    }
}

static void gelu(int64_t n, void *to, const void *const *from, const double *parameters)
{
    (void)parameters;
    const uint16_t *x = from[0];
    uint16_t *out = to;
    int64_t i = 0;
    pthread_once(&values_made, make_values);
#if defined(__AVX512F__)
    for (; i + LANES <= n; i += LANES) {
        __m512i at = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(x + i)));
        __m512i two = _mm512_i32gather_epi32(at, values, 2);
        _mm256_storeu_si256((void *)(out + i), _mm512_cvtepi32_epi16(two));
    }
#endif
    for (; i < n; i++)
        out[i] = values[x[i]];
}

static void gelu_backward(int64_t n, void *to, const void *const *from, const double *parameters)
{
    (void)parameters;
    const uint16_t *grad = from[0], *x = from[1];
    uint16_t *out = to;
    int64_t i = 0;
    pthread_once(&slopes_made, make_slopes);
#if defined(__AVX512F__)
    for (; i + LANES <= n; i += LANES) {
        __m512i at = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(x + i)));
        __m512 slope = _mm512_i32gather_ps(at, slopes, 4);
        __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(grad + i)));
        __m512 y = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16)), slope);
        /* As bf16_from_float rounds. */
        __m512i bits = _mm512_castps_si512(y), high = _mm512_srli_epi32(bits, 16);
        __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
        __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
        __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
        __mmask16 is_nan = _mm512_cmp_ps_mask(y, y, _CMP_UNORD_Q);
        rounded = _mm512_mask_or_epi32(rounded, is_nan, high, _mm512_set1_epi32(0x40));
        _mm256_storeu_si256((void *)(out + i), _mm512_cvtepi32_epi16(rounded));
    }
#endif
    for (; i < n; i++)
        out[i] = bf16_from_float(bf16_to_float(grad[i]) * slopes[x[i]]);
}

extern const map_loop CR_ISA_NAME(gelu_half_loops)[GELU_HALF_COUNT];
const map_loop CR_ISA_NAME(gelu_half_loops)[GELU_HALF_COUNT] = {
    [GELU_HALF] = gelu,
    [GELU_HALF_BACKWARD] = gelu_backward,
};
