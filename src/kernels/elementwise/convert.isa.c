/* Conversions between float32 and the 16-bit floats of elements that lie side by side, compiled for
 * each instruction set. Rounding is to the nearest even whatever the set, so all give the same
 * bits; processors' own instructions for bfloat16 take subnormal numbers for 0 and are left alone.
 */
#if defined(__F16C__)
#include <immintrin.h>
#elif defined(CR_TARGET_NEON)
#include <arm_neon.h>
#endif
#include <string.h>

#include "kernels/elementwise/elementwise.h"

static void bf16_widen(int64_t n, void *to, const void *from)
{
    uint32_t *CR_RESTRICT out = to;
    const uint16_t *in = from;
    for (int64_t i = 0; i < n; i++)
        out[i] = (uint32_t)in[i] << 16;
}

/* bf16_from_float without a branch, on bits. */
static void bf16_narrow(int64_t n, void *to, const void *from)
{
    uint16_t *CR_RESTRICT out = to;
    const uint32_t *in = from;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = in[i];
        uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        uint32_t nan = (bits >> 16) | 0x40u;
        out[i] = (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
    }
}

static void f16_widen(int64_t n, void *to, const void *from)
{
    float *CR_RESTRICT out = to;
    const uint16_t *in = from;
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(out + i, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(in + i))));
#elif defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(in + i))));
#elif defined(CR_TARGET_NEON)
    for (; i + 4 <= n; i += 4)
        vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(in + i))));
#endif
    for (; i < n; i++)
        out[i] = f16_to_float(in[i]);
}

/* The processor keeps the payload of a NaN where f16_from_float does not: no one looks at it. */
static void f16_narrow(int64_t n, void *to, const void *from)
{
    uint16_t *CR_RESTRICT out = to;
    const float *in = from;
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((void *)(out + i), _mm512_cvtps_ph(_mm512_loadu_ps(in + i), 0));
#elif defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((void *)(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(in + i), 0));
#elif defined(CR_TARGET_NEON)
    for (; i + 4 <= n; i += 4)
        vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(in + i))));
#endif
    for (; i < n; i++)
        out[i] = f16_from_float(in[i]);
}

extern const half_loop CR_ISA_NAME(half_loops)[HALF_LOOP_COUNT];
const half_loop CR_ISA_NAME(half_loops)[HALF_LOOP_COUNT] = {
    [BF16_WIDEN] = bf16_widen,
    [BF16_NARROW] = bf16_narrow,
    [F16_WIDEN] = f16_widen,
    [F16_NARROW] = f16_narrow,
};
