/* The inner loops of reductions, for one instruction set.
 *
 * Kinds are made from one template: STEP(a, v) adds the value v to the total a. Within a row many
 * totals are kept side by side (a vector of them), and then added in order by JOIN. */
#include <math.h>

#include "kernels/elementwise/fastmath.h"
#include "kernels/reduce/reduce.h"

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define JOIN_(name, type) name##_##type
#define JOIN(name, type)  JOIN_(name, type)
#define NAME(name)        JOIN(name, TYPE)

#define REAL    float
#define INTEGER int32_t
#define TYPE    F32
#include "kernels/reduce/row_sums.inc"
#include "kernels/reduce/row_sums_end.inc"

#define REAL    double
#define INTEGER int64_t
#define TYPE    F64
#include "kernels/reduce/row_sums.inc"
#include "kernels/reduce/row_sums_end.inc"

#define VALUE_F32 float
#define VALUE_F64 double
#define VALUE_I64 int64_t

/* Totals side by side in a row. */
#define ROW_LANES 32

/* ---- a kind from what it does with a total `a` and a value `v` ---- */

#define ROW_LOOP(kind, type, total_type, member, start, step, join)                                \
    static void row_##kind##_##type(const void *from, int64_t n, double parameter,                 \
                                    union reduce_total *total)                                     \
    {                                                                                              \
        const VALUE_##type *x = from;                                                              \
        total_type lanes[ROW_LANES];                                                               \
        const double p = parameter;                                                                \
        (void)p;                                                                                   \
        int64_t i = 0;                                                                             \
        for (int l = 0; l < ROW_LANES; l++)                                                        \
            lanes[l] = start;                                                                      \
        for (; i + ROW_LANES <= n; i += ROW_LANES) {                                               \
            for (int l = 0; l < ROW_LANES; l++) {                                                  \
                const total_type a = lanes[l];                                                     \
                const VALUE_##type v = x[i + l];                                                   \
                lanes[l] = step;                                                                   \
            }                                                                                      \
        }                                                                                          \
        for (int l = 0; i < n; i++, l++) {                                                         \
            const total_type a = lanes[l];                                                         \
            const VALUE_##type v = x[i];                                                           \
            lanes[l] = step;                                                                       \
        }                                                                                          \
        total_type a = (total_type)total->member;                                                  \
        for (int l = 0; l < ROW_LANES; l++) {                                                      \
            const total_type v = lanes[l];                                                         \
            a = join;                                                                              \
        }                                                                                          \
        total->member = a;                                                                         \
    }

#define COLUMNS_LOOP(kind, type, total_type, member, step)                                         \
    static void columns_##kind##_##type(const void *from, int64_t row_step, int64_t rows,          \
                                        int64_t n, const double *parameters,                       \
                                        union reduce_total *totals)                                \
    {                                                                                              \
        total_type *CR_RESTRICT into = &totals->member;                                            \
        for (int64_t r = 0; r < rows; r++) {                                                       \
            const VALUE_##type *x = (const VALUE_##type *)from + r * row_step;                     \
            for (int64_t j = 0; j < n; j++) {                                                      \
                const total_type a = into[j];                                                      \
                const VALUE_##type v = x[j];                                                       \
                const double p = parameters[j];                                                    \
                (void)p;                                                                           \
                into[j] = step;                                                                    \
            }                                                                                      \
        }                                                                                          \
    }

#define KIND(kind, type, total_type, member, start, step, join)                                    \
    ROW_LOOP(kind, type, total_type, member, start, step, join)                                    \
    COLUMNS_LOOP(kind, type, total_type, member, step)

#define REAL_KIND(kind, start, step, join)                                                         \
    KIND(kind, F32, double, real, start, step, join)                                               \
    KIND(kind, F64, double, real, start, step, join)

/* Extremes of float32 are exact in float32, where twice as many fit in a vector. */
#define EXTREME_KIND(kind, start, step, join)                                                      \
    ROW_LOOP(kind, F32, float, real, start, step, join)                                            \
    COLUMNS_LOOP(kind, F32, double, real, step)                                                    \
    KIND(kind, F64, double, real, start, step, join)

#define WHOLE_KIND(kind, type, start, step, join)                                                  \
    KIND(kind, type, int64_t, whole, start, step, join)

/* Integers wrap around. */
#define WRAP(a, operation, v) ((int64_t)((uint64_t)(a)operation(uint64_t)(v)))

#define MAX_STEP (v <= a || a != a ? a : v)
#define MIN_STEP (v >= a || a != a ? a : v)

REAL_KIND(PROD, 1, a *(double)v, a *v)
EXTREME_KIND(MAX, -INFINITY, MAX_STEP, MAX_STEP)
EXTREME_KIND(MIN, INFINITY, MIN_STEP, MIN_STEP)
REAL_KIND(NANSUM, 0, v == v ? a + (double)v : a, a + v)
REAL_KIND(ABSOLUTES, 0, a + fabs((double)v), a + v)
REAL_KIND(POWERS, 0, a + pow(fabs((double)v), p), a + v)
REAL_KIND(LARGEST, 0, fabs((double)v) <= a || a != a ? a : fabs((double)v), MAX_STEP)
REAL_KIND(SMALLEST, INFINITY, fabs((double)v) >= a || a != a ? a : fabs((double)v), MIN_STEP)
KIND(EXPS, F32, double, real, 0, a + (double)fast_exp((float)((double)v - p)), a + v)
KIND(EXPS, F64, double, real, 0, a + exp((double)v - p), a + v)

WHOLE_KIND(NONZERO, F32, 0, a + (v != 0), a + v)
WHOLE_KIND(NONZERO, F64, 0, a + (v != 0), a + v)
WHOLE_KIND(NONZERO, I64, 0, a + (v != 0), a + v)
WHOLE_KIND(NUMBERS, F32, 0, a + (v == v), a + v)
WHOLE_KIND(NUMBERS, F64, 0, a + (v == v), a + v)
WHOLE_KIND(SUM, I64, 0, WRAP(a, +, v), WRAP(a, +, v))
WHOLE_KIND(PROD, I64, 1, WRAP(a, *, v), WRAP(a, *, v))
WHOLE_KIND(MAX, I64, INT64_MIN, (v > a ? v : a), (v > a ? v : a))
WHOLE_KIND(MIN, I64, INT64_MAX, (v < a ? v : a), (v < a ? v : a))

/* ---- sums and squares of floats: rows by vectors, columns by eight rows at a time ---- */

#define FAST_ROWS(type)                                                                            \
    static void row_SUM_##type(const void *x, int64_t n, double parameter,                         \
                               union reduce_total *total)                                          \
    {                                                                                              \
        (void)parameter;                                                                           \
        total->real += row_sum_##type(x, n);                                                       \
    }                                                                                              \
                                                                                                   \
    static void row_SQUARES_##type(const void *x, int64_t n, double parameter,                     \
                                   union reduce_total *total)                                      \
    {                                                                                              \
        (void)parameter;                                                                           \
        total->real += row_squares_##type(x, 0, n);                                                \
    }                                                                                              \
                                                                                                   \
    static void row_CENTERED_##type(const void *x, int64_t n, double center,                       \
                                    union reduce_total *total)                                     \
    {                                                                                              \
        total->real += row_squares_##type(x, (VALUE_##type)center, n);                             \
    }

FAST_ROWS(F32)
FAST_ROWS(F64)

COLUMNS_LOOP(SUM1, F32, double, real, a + (double)v)
COLUMNS_LOOP(SUM1, F64, double, real, a + (double)v)
COLUMNS_LOOP(SQUARES, F32, double, real, a + (double)v * (double)v)
COLUMNS_LOOP(SQUARES, F64, double, real, a + (double)v * (double)v)
COLUMNS_LOOP(CENTERED, F32, double, real, a + ((double)v - p) * ((double)v - p))
COLUMNS_LOOP(CENTERED, F64, double, real, a + ((double)v - p) * ((double)v - p))

#define FAST_COLUMNS(type)                                                                         \
    static void columns_SUM_##type(const void *from, int64_t step, int64_t rows, int64_t n,        \
                                   const double *parameters, union reduce_total *totals)           \
    {                                                                                              \
        double *CR_RESTRICT into = &totals->real;                                                  \
        const VALUE_##type *x = from;                                                              \
        for (; rows >= 8; rows -= 8, x += 8 * step) {                                              \
            for (int64_t j = 0; j < n; j++) {                                                      \
                const VALUE_##type *v = x + j;                                                     \
                into[j] += (double)(((v[0] + v[step]) + (v[2 * step] + v[3 * step])) +             \
                                    ((v[4 * step] + v[5 * step]) + (v[6 * step] + v[7 * step])));  \
            }                                                                                      \
        }                                                                                          \
        columns_SUM1_##type(x, step, rows, n, parameters, totals);                                 \
    }

FAST_COLUMNS(F32)
FAST_COLUMNS(F64)

/* ---- gathering ---- */

#define GATHER(dtype, stored, loaded, read)                                                        \
    static void gather_##dtype(const char *from, int64_t stride, int64_t n, void *to)              \
    {                                                                                              \
        loaded *CR_RESTRICT out = to;                                                              \
        if (stride == (int64_t)sizeof(stored)) {                                                   \
            const stored *x = (const void *)from;                                                  \
            for (int64_t i = 0; i < n; i++) {                                                      \
                const stored v = x[i];                                                             \
                out[i] = (loaded)(read);                                                           \
            }                                                                                      \
            return;                                                                                \
        }                                                                                          \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const stored v = *(const stored *)(const void *)(from + i * stride);                   \
            out[i] = (loaded)(read);                                                               \
        }                                                                                          \
    }

GATHER(F32, float, float, v)
GATHER(F64, double, double, v)
GATHER(BF16, uint16_t, float, bf16_to_float(v))
GATHER(F16, uint16_t, float, f16_to_float(v))
GATHER(I64, int64_t, int64_t, v)
GATHER(I32, int32_t, int64_t, v)
GATHER(I16, int16_t, int64_t, v)
GATHER(I8, int8_t, int64_t, v)
GATHER(U8, uint8_t, int64_t, v)
GATHER(BOOL, bool, int64_t, v)

/* ---- the table ---- */

#define REAL_ENTRY(kind, shape) [REDUCE_##kind] = { shape##_##kind##_F32, shape##_##kind##_F64 }
#define ALL_ENTRY(kind, shape)                                                                     \
    [REDUCE_##kind] = { shape##_##kind##_F32, shape##_##kind##_F64, shape##_##kind##_I64 }
#define ENTRIES(shape)                                                                             \
    ALL_ENTRY(SUM, shape), ALL_ENTRY(PROD, shape), ALL_ENTRY(MAX, shape), ALL_ENTRY(MIN, shape),   \
        ALL_ENTRY(NONZERO, shape), REAL_ENTRY(NUMBERS, shape), REAL_ENTRY(NANSUM, shape),          \
        REAL_ENTRY(ABSOLUTES, shape), REAL_ENTRY(SQUARES, shape), REAL_ENTRY(POWERS, shape),       \
        REAL_ENTRY(LARGEST, shape), REAL_ENTRY(SMALLEST, shape), REAL_ENTRY(CENTERED, shape),      \
        REAL_ENTRY(EXPS, shape)

extern const struct reduce_loops CR_ISA_NAME(reduce_loops);
const struct reduce_loops CR_ISA_NAME(reduce_loops) = {
    .row = { ENTRIES(row) },
    .columns = { ENTRIES(columns) },
    .gather = { gather_F32, gather_F64, gather_BF16, gather_F16, gather_I64, gather_I32, gather_I16,
                gather_I8, gather_U8, gather_BOOL },
};
