/* Elementary functions of float32 without calls and branches, so that loops over them vectorise.
 *
 * Each reduces its argument to a short interval, evaluates a minimax polynomial there and puts the
 * result together again. Errors stay below 3 units in the last place (mostly 1.5); infinities, NaN,
 * zeros and subnormals give what the C library gives. Products followed by sums may be fused by the
 * compiler or not: nothing here relies on it. float64 goes through the C library. */
#ifndef CR_KERNELS_ELEMENTWISE_FASTMATH_H
#define CR_KERNELS_ELEMENTWISE_FASTMATH_H

#include <math.h>

#include "base/base.h"

CR_INLINE uint32_t fast_bits(float x)
{
    union {
        float value;
        uint32_t bits;
    } both = { .value = x };
    return both.bits;
}

CR_INLINE float fast_from_bits(uint32_t bits)
{
    union {
        uint32_t bits;
        float value;
    } both = { .bits = bits };
    return both.value;
}

CR_INLINE float fast_abs(float x)
{
    return fast_from_bits(fast_bits(x) & 0x7fffffffu);
}

/* |x| with the sign of y. */
CR_INLINE float fast_copysign(float x, float y)
{
    return fast_from_bits((fast_bits(x) & 0x7fffffffu) | (fast_bits(y) & 0x80000000u));
}

/* 2^n for -126 <= n <= 127. */
CR_INLINE float fast_power_of_2(int32_t n)
{
    return fast_from_bits((uint32_t)(n + 127) << 23);
}

/* Adding it leaves the nearest integer in the low bits of a float below 2^22. */
#define FAST_ROUNDER 0x1.8p23f

#define FAST_LN2_HIGH                                                                              \
    0x1.62e4p-1f /* 16 bits, so that its products with small integers are exact                    \
                  */
#define FAST_LN2_LOW 0x1.7f7d1cp-20f

/* ---- exponentials ---- */

/* The nearest n to x / ln 2, and what is left of x. */
CR_INLINE float fast_reduce_exp(float x, int32_t *n)
{
    float rounded = x * 0x1.715476p+0f + FAST_ROUNDER;
    float whole = rounded - FAST_ROUNDER;
    *n = (int32_t)(fast_bits(rounded) - fast_bits(FAST_ROUNDER));
    return (x - whole * FAST_LN2_HIGH) - whole * FAST_LN2_LOW;
}

/* e^r - 1 for |r| <= ln 2 / 2. */
CR_INLINE float fast_expm1_core(float r)
{
    float p = 0x1.6db4e8p-10f;
    p = p * r + 0x1.123bdep-7f;
    p = p * r + 0x1.55545ep-5f;
    p = p * r + 0x1.55548ep-3f;
    p = p * r + 0.5f;
    return p * (r * r) + r;
}

CR_INLINE float fast_exp(float x)
{
    int32_t n;
    x = x > 90.0f ? 90.0f : x;
    x = x < -105.0f ? -105.0f : x;
    float p = fast_expm1_core(fast_reduce_exp(x, &n)) + 1.0f;
    /* In two steps, for 2^n alone may overflow or be subnormal. */
    int32_t half = n >> 1;
    return p * fast_power_of_2(half) * fast_power_of_2(n - half);
}

/* e^x for x <= 88, but 0 instead of what is subnormal: sums of weights do not feel the difference,
 * and products with subnormals are slow. */
CR_INLINE float fast_exp_normal(float x)
{
    int32_t n;
    float p = fast_expm1_core(fast_reduce_exp(x < -87.0f ? -87.0f : x, &n)) + 1.0f;
    return x < -87.0f ? 0.0f : p * fast_power_of_2(n);
}

CR_INLINE float fast_expm1(float x)
{
    int32_t n;
    float within = x > 88.8f ? 88.8f : x;
    within = within < -20.0f ? -20.0f : within;
    float p = fast_expm1_core(fast_reduce_exp(within, &n));
    float scale = fast_power_of_2(n - 1); /* halved, for 2^128 overflows */
    float y = (p * scale + (scale - 0.5f)) * 2.0f;
    y = n == 0 ? p : y;
    return fast_abs(x) < 0x1p-26f ? x : y;
}

/* ---- logarithms ---- */

/* x = 2^e * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); x normal and positive. */
CR_INLINE float fast_split(float x, int32_t *e)
{
    uint32_t bits = fast_bits(x);
    *e = (int32_t)(bits - 0x3f3504f3u) >> 23;
    return fast_from_bits(bits - ((uint32_t)*e << 23)) - 1.0f;
}

/* The same for subnormals, too. */
CR_INLINE float fast_split_any(float x, int32_t *e)
{
    bool is_small = x < 0x1p-126f;
    float f = fast_split(is_small ? x * 0x1p23f : x, e);
    *e -= is_small ? 23 : 0;
    return f;
}

/* log(1 + f) - f for 1 + f in [sqrt(1/2), sqrt(2)). */
CR_INLINE float fast_log_core(float f)
{
    float p = 0x1.1457a2p-4f;
    p = p * f - 0x1.de3c14p-4f;
    p = p * f + 0x1.e6f06cp-4f;
    p = p * f - 0x1.fc2208p-4f;
    p = p * f + 0x1.233768p-3f;
    p = p * f - 0x1.555c4ep-3f;
    p = p * f + 0x1.99a4b6p-3f;
    p = p * f - 0x1.000006p-2f;
    p = p * f + 0x1.555548p-2f;
    float square = f * f;
    return p * (square * f) - 0.5f * square;
}

/* The values of a logarithm at zero, below it, at infinity and NaN; y elsewhere. */
CR_INLINE float fast_log_edges(float x, float y)
{
    y = x == 0.0f ? -INFINITY : y;
    y = x < 0.0f ? NAN : y;
    return x < INFINITY ? y : x;
}

CR_INLINE float fast_log(float x)
{
    int32_t e;
    float f = fast_split_any(x, &e);
    float tail = fast_log_core(f) + (float)e * FAST_LN2_LOW;
    return fast_log_edges(x, (f + tail) + (float)e * FAST_LN2_HIGH);
}

CR_INLINE float fast_log2(float x)
{
    int32_t e;
    float f = fast_split_any(x, &e);
    float tail = fast_log_core(f);
    /* log2(e) - 1 keeps the large part of the product, f itself, exact. */
    float y = (f + tail) * 0x1.c551dap-2f + tail;
    return fast_log_edges(x, (float)e + (f + y));
}

CR_INLINE float fast_log10(float x)
{
    int32_t e;
    float f = fast_split_any(x, &e);
    float tail = fast_log_core(f);
    float y = (f + tail) * 0x1.bcb7b2p-2f + (float)e * 0x1.3509f8p-18f;
    return fast_log_edges(x, y + (float)e * 0x1.344p-2f);
}

CR_INLINE float fast_log1p(float x)
{
    int32_t e;
    float u = 1.0f + x;
    float lost = x > 1.0f ? 1.0f - (u - x) : x - (u - 1.0f);
    float f = fast_split(u, &e);
    /* Beyond 2^60 what was lost in 1 + x is below the last place. */
    f += e < 60 ? lost * fast_power_of_2(-(e < 60 ? e : 0)) : 0.0f;
    float tail = fast_log_core(f) + (float)e * FAST_LN2_LOW;
    float y = (f + tail) + (float)e * FAST_LN2_HIGH;
    y = x == -1.0f ? -INFINITY : y;
    y = x < -1.0f ? NAN : y;
    y = x < INFINITY ? y : x;
    return fast_abs(x) < 0x1p-26f ? x : y;
}

/* ---- sigmoids ---- */

CR_INLINE float fast_tanh(float x)
{
    float size = fast_abs(x);
    float t = fast_expm1(2.0f * (size > 10.0f ? 10.0f : size));
    return fast_copysign(t / (t + 2.0f), x);
}

CR_INLINE float fast_sigmoid(float x)
{
    float e = fast_exp(-fast_abs(x));
    float y = 1.0f / (1.0f + e);
    return x < 0.0f ? e * y : y;
}

/* log(1 + e^x) */
CR_INLINE float fast_softplus(float x)
{
    return fast_log1p(fast_exp(-fast_abs(x))) + (x < 0.0f ? 0.0f : x);
}

/* The error function: an odd polynomial up to 1, and 1 - exp(polynomial) above. */
CR_INLINE float fast_erf(float x)
{
    float size = fast_abs(x);
    float z = x * x;
    float p = 0x1.496a3p-14f;
    p = p * z - 0x1.a3f7p-11f;
    p = p * z + 0x1.5405b2p-8f;
    p = p * z - 0x1.b7f90ep-6f;
    p = p * z + 0x1.ce2cf8p-4f;
    p = p * z - 0x1.81273ep-2f;
    p = p * z + 0x1.06eba8p-3f;
    float below = p * x + x;
    float t = size > 4.0f ? 4.0f : size;
    float q = -0x1.86dd9ap-13f;
    q = q * t + 0x1.825b06p-9f;
    q = q * t - 0x1.65cb7ep-6f;
    q = q * t + 0x1.a65346p-4f;
    q = q * t + 0x1.46baecp-1f;
    q = q * t + 0x1.2088eap+0f;
    q = q * t + 0x1.661cb2p-12f;
    float above = fast_copysign(1.0f - fast_exp(-q), x);
    return size < 1.0f ? below : above;
}

/* ---- circular functions ---- */

/* Above this the reduction below loses digits: callers compute such elements by sinf and cosf. */
#define FAST_CIRCLE_LIMIT 30000.0f

/* The nearest n to x / (pi / 2), and what is left of x. */
CR_INLINE float fast_reduce_circle(float x, uint32_t *n)
{
    float rounded = x * 0x1.45f306p-1f + FAST_ROUNDER;
    float whole = rounded - FAST_ROUNDER;
    *n = fast_bits(rounded) - fast_bits(FAST_ROUNDER);
    /* pi / 2 in four parts, the first three of at most 9 bits, so that their products are exact. */
    float r = x - whole * 0x1.92p0f;
    r -= whole * 0x1.fbp-12f;
    r -= whole * 0x1.51p-22f;
    return r - whole * 0x1.0b4612p-34f;
}

/* sin(r + n pi / 2) for |r| <= pi / 4. */
CR_INLINE float fast_circle(float r, uint32_t n)
{
    float z = r * r;
    float s = -0x1.994062p-13f;
    s = s * z + 0x1.11073p-7f;
    s = s * z - 0x1.555546p-3f;
    s = s * (z * r) + r;
    float c = 0x1.99e86ap-16f;
    c = c * z - 0x1.6c0c28p-10f;
    c = c * z + 0x1.55554ap-5f;
    c = c * (z * z) + (1.0f - 0.5f * z);
    float y = n & 1u ? c : s;
    return fast_from_bits(fast_bits(y) ^ ((n & 2u) << 30));
}

CR_INLINE float fast_sin(float x)
{
    uint32_t n;
    float r = fast_reduce_circle(x, &n);
    return x == 0.0f ? x : fast_circle(r, n);
}

CR_INLINE float fast_cos(float x)
{
    uint32_t n;
    float r = fast_reduce_circle(x, &n);
    return fast_circle(r, n + 1u);
}

#endif
