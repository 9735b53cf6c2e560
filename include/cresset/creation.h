/* Tensors made from ranges and from random numbers; those from shapes and buffers are tensor.h's.
 *
 * Random tensors draw from the calling thread's generator (cr_manual_seed), the fills in place from
 * the generator given, or the thread's if it is NULL. Elements have the same bits at any number of
 * threads. */
#ifndef CRESSET_CREATION_H
#define CRESSET_CREATION_H

#include "cresset/random.h"
#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- ranges ---- */

/* start, start + step, … before end: cr_arange(0, n, .dtype = CR_I64). step 0 means 1. */
typedef struct cr_arange_args {
    double start;
    double end;
    double step;
    cr_dtype dtype;
    cr_device device;
} cr_arange_args;
#define cr_arange(...) cr_arange_with((cr_arange_args){ .start = __VA_ARGS__ })
cr_tensor *cr_arange_with(cr_arange_args args);

/* `steps` numbers from start to end, both included; logspace gives base to the power of them (base
 * 0 means 10): cr_linspace(0, 1, 11). */
typedef struct cr_linspace_args {
    double start;
    double end;
    int64_t steps;
    cr_dtype dtype;
    cr_device device;
    double base; /* logspace only */
} cr_linspace_args;
#define cr_linspace(...) cr_linspace_with((cr_linspace_args){ .start = __VA_ARGS__ })
#define cr_logspace(...) cr_logspace_with((cr_linspace_args){ .start = __VA_ARGS__ })
cr_tensor *cr_linspace_with(cr_linspace_args args);
cr_tensor *cr_logspace_with(cr_linspace_args args);

/* (n, m) with ones on the diagonal; m 0 means n: cr_eye(3). */
typedef struct cr_eye_args {
    int64_t n;
    int64_t m;
    cr_dtype dtype;
    cr_device device;
} cr_eye_args;
#define cr_eye(...) cr_eye_with((cr_eye_args){ .n = __VA_ARGS__ })
cr_tensor *cr_eye_with(cr_eye_args args);

/* The row and column numbers, (2, count) int64, of the lower (upper) triangle of a (row, column)
 * matrix, in row-major order. */
cr_tensor *cr_tril_indices(int64_t row, int64_t column, int64_t offset);
cr_tensor *cr_triu_indices(int64_t row, int64_t column, int64_t offset);

/* Of x's shape, dtype and device. */
cr_tensor *cr_empty_like(cr_tensor *x);
cr_tensor *cr_zeros_like(cr_tensor *x);
cr_tensor *cr_ones_like(cr_tensor *x);
cr_tensor *cr_full_like(cr_tensor *x, double value);
cr_tensor *cr_rand_like(cr_tensor *x);
cr_tensor *cr_randn_like(cr_tensor *x);

/* ---- random tensors ---- */

/* Uniform in [0, 1), or [from, until); standard normal, or of a mean and standard deviation; with
 * options: cr_randn(CR_SHAPE(2, 3), .dtype = CR_F64). Floating dtypes only. */
#define cr_rand(...)  cr_uniform_with(0.0, 1.0, (cr_tensor_args){ .shape = __VA_ARGS__ })
#define cr_randn(...) cr_normal_with(0.0, 1.0, (cr_tensor_args){ .shape = __VA_ARGS__ })
#define cr_uniform(from, until, ...)                                                               \
    cr_uniform_with((from), (until), (cr_tensor_args){ .shape = __VA_ARGS__ })
#define cr_normal(mean, deviation, ...)                                                            \
    cr_normal_with((mean), (deviation), (cr_tensor_args){ .shape = __VA_ARGS__ })
cr_tensor *cr_uniform_with(double from, double until, cr_tensor_args args);
cr_tensor *cr_normal_with(double mean, double deviation, cr_tensor_args args);

/* Integers in [low, high); int64 unless another dtype is given. */
#define cr_randint(low, high, ...)                                                                 \
    cr_randint_with((low), (high), (cr_tensor_args){ .shape = __VA_ARGS__ })
cr_tensor *cr_randint_with(int64_t low, int64_t high, cr_tensor_args args);

/* The integers 0 … n-1 in random order, int64. */
cr_tensor *cr_randperm(int64_t n);

/* 1 with the probability that the element of x gives, else 0; x's shape and dtype. */
cr_tensor *cr_bernoulli(cr_tensor *x);

/* `samples` column numbers of each row of weights (N, C) or (C,), drawn by weight: (N, samples) or
 * (samples,) int64. Weights are not negative and not all 0. Without replacement no column comes
 * twice. */
cr_tensor *cr_multinomial(cr_tensor *weights, int64_t samples, bool replacement);

/* ---- fills in place; not recorded ---- */

cr_status cr_fill_(cr_tensor *to, double value);
cr_status cr_zero_(cr_tensor *to);
cr_status cr_uniform_(cr_tensor *to, double from, double until, cr_generator *generator);
cr_status cr_normal_(cr_tensor *to, double mean, double deviation, cr_generator *generator);

/* Normal, but within [low, high], as torch.nn.init.trunc_normal_. */
cr_status cr_trunc_normal_(cr_tensor *to, double mean, double deviation, double low, double high,
                           cr_generator *generator);
cr_status cr_bernoulli_(cr_tensor *to, double probability, cr_generator *generator);
cr_status cr_random_(cr_tensor *to, int64_t low, int64_t high, cr_generator *generator);

#ifdef __cplusplus
}
#endif
#endif
