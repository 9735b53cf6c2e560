/* The maps of arithmetic, functions and tests, compiled for each instruction set: loops over
 * elements that lie side by side, in float32, float64 and int64. What is stored otherwise is
 * brought to these by map.c. */
#include <math.h>

#include "kernels/elementwise/elementwise.h"
#include "kernels/elementwise/fastmath.h"

#include "kernels/elementwise/map.inc"

/* ---- what takes more than an expression ---- */

#define DIVISION_OF_REALS(suffix, REAL, fmod, floor)                                               \
    /* The remainder has the divisor's sign. */                                                    \
    CR_INLINE REAL remainder_of_##suffix(REAL x, REAL y)                                           \
    {                                                                                              \
        REAL rest = fmod(x, y);                                                                    \
        return rest != 0 && (y < 0) != (rest < 0) ? rest + y : rest;                               \
    }                                                                                              \
    /* As Python's //: exact where x / y would round up to the next whole number. */               \
    CR_INLINE REAL quotient_of_##suffix(REAL x, REAL y)                                            \
    {                                                                                              \
        if (y == 0)                                                                                \
            return x / y;                                                                          \
        REAL rest = fmod(x, y);                                                                    \
        REAL quotient = (x - rest) / y;                                                            \
        if (rest != 0 && (y < 0) != (rest < 0))                                                    \
            quotient -= 1;                                                                         \
        if (quotient == 0)                                                                         \
            return x / y < 0 ? -(REAL)0 : (REAL)0;                                                 \
        REAL whole = floor(quotient);                                                              \
        return quotient - whole > (REAL)0.5 ? whole + 1 : whole;                                   \
    }                                                                                              \
    /* NaN stays; the upper bound wins over the lower. */                                          \
    CR_INLINE REAL clamp_of_##suffix(REAL x, REAL low, REAL high)                                  \
    {                                                                                              \
        REAL above = x < low ? low : x;                                                            \
        return above > high ? high : above;                                                        \
    }

DIVISION_OF_REALS(f32, float, fmodf, floorf)
DIVISION_OF_REALS(f64, double, fmod, floor)

/* Division by zero is refused before; it gives 0 here. INT64_MIN / -1 wraps around. */
CR_INLINE int64_t fmod_of_i64(int64_t x, int64_t y)
{
    return y == 0 || y == -1 ? 0 : x % y;
}

CR_INLINE int64_t remainder_of_i64(int64_t x, int64_t y)
{
    int64_t rest = fmod_of_i64(x, y);
    return rest != 0 && (y < 0) != (rest < 0) ? rest + y : rest;
}

CR_INLINE int64_t quotient_of_i64(int64_t x, int64_t y)
{
    if (y == 0 || y == -1)
        return y == 0 ? 0 : (int64_t)(0 - (uint64_t)x);
    return x / y - (x % y != 0 && (x < 0) != (y < 0));
}

/* A negative power is 0 but for 1 and -1. */
CR_INLINE int64_t power_of_i64(int64_t base, int64_t exponent)
{
    if (exponent < 0)
        return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
    uint64_t power = 1;
    for (uint64_t square = (uint64_t)base; exponent; exponent >>= 1, square *= square)
        power *= exponent & 1 ? square : 1;
    return (int64_t)power;
}

/* The bound as an integer; infinities are the last ones. */
CR_INLINE int64_t saturate(double bound)
{
    if (bound >= 0x1p63)
        return INT64_MAX;
    return bound >= -0x1p63 ? (int64_t)bound : INT64_MIN;
}

CR_INLINE void clamp_between_i64(int64_t n, int64_t *out, const int64_t *x, int64_t low,
                                 int64_t high)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t above = x[i] < low ? low : x[i];
        out[i] = above > high ? high : above;
    }
}

/* ---- float32 ---- */

#define REAL       float
#define NAME(name) name##_f32
#define F(name)    name##f
#define FAST(name) fast_##name
#define sin_f32    sin_small_f32
#define cos_f32    cos_small_f32
#include "kernels/elementwise/pointwise_real.inc"
#undef sin_f32
#undef cos_f32

/* The reduction of fastmath.h ends at FAST_CIRCLE_LIMIT; what lies above is rare. */
#define CIRCLE_MAP(name)                                                                           \
    MAP_HEAD(name)                                                                                 \
    {                                                                                              \
        const float *x = from[0];                                                                  \
        float *out = to;                                                                           \
        name##_small_f32(n, to, from, parameters);                                                 \
        for (int64_t i = 0; i < n; i++) {                                                          \
            if (CR_UNLIKELY(fast_abs(x[i]) > FAST_CIRCLE_LIMIT))                                   \
                out[i] = name##f(x[i]);                                                            \
        }                                                                                          \
    }
CIRCLE_MAP(sin)
CIRCLE_MAP(cos)
#undef REAL
#undef NAME
#undef F
#undef FAST

/* ---- float64 ---- */

#define REAL       double
#define NAME(name) name##_f64
#define F(name)    name
#define FAST(name) exact_##name
#define exact_exp  exp

CR_INLINE double exact_sigmoid(double x)
{
    double e = exp(-fabs(x));
    return x < 0 ? e / (1.0 + e) : 1.0 / (1.0 + e);
}
#define exact_expm1 expm1
#define exact_log   log
#define exact_log2  log2
#define exact_log10 log10
#define exact_log1p log1p
#define exact_sin   sin
#define exact_cos   cos
#define exact_tanh  tanh
#define exact_erf   erf
#include "kernels/elementwise/pointwise_real.inc"
#undef REAL
#undef NAME
#undef F
#undef FAST

/* ---- int64 ---- */

#define REAL       int64_t
#define NAME(name) name##_i64
#include "kernels/elementwise/pointwise_integer.inc"
#undef REAL
#undef NAME

/* ---- the table ---- */

#define ROW_REAL(kind, name)    [MAP_##kind] = { .f32 = name##_f32, .f64 = name##_f64 },
#define ROW_INTEGER(kind, name) [MAP_##kind] = { .i64 = name##_i64 },
#define ROW_ANY(kind, name)                                                                        \
    [MAP_##kind] = { .f32 = name##_f32, .f64 = name##_f64, .i64 = name##_i64 },
#define ROW_TEST(kind, name)                                                                       \
    [MAP_##kind] = { .f32 = name##_f32, .f64 = name##_f64, .i64 = name##_i64, .gives_bool = true },
#define ROW_SELECT(kind, name)                                                                     \
    [MAP_##kind] = { .f32 = name##_f32, .f64 = name##_f64, .i64 = name##_i64, .truths = 1 },

extern const struct map CR_ISA_NAME(pointwise_maps)[MAP_POINTWISE_COUNT];
const struct map CR_ISA_NAME(pointwise_maps)[MAP_POINTWISE_COUNT] = {
    MAP_POINTWISE_LIST(ROW_REAL, ROW_INTEGER, ROW_ANY, ROW_TEST, ROW_SELECT)
};
