/* The test of variants: what its cases are written with.
 *
 * A case draws sizes and operands from the generator of its trial, runs a kernel on buffers of the
 * trial, and says how far its results may be from those of the portable variant. The trial is run
 * once for each instruction set, from the same seed, so that all sets get the same operands.
 *
 * Every buffer has guard bytes on both sides, and a page that cannot be touched at one end, so that
 * reading outside is found as well. Operands must come out as they went in; results and workspaces
 * begin as NaN, so that what is read before it is written shows. */
#ifndef CR_TEST_TRIALS_H
#define CR_TEST_TRIALS_H

#include "kernels/gemm/gemm.h"
#include "kernels/variants.h"
#include "tensor/tensor.h"

struct trial {
    uint64_t state; /* of the generator */
    int number;     /* of the trial */
};

/* ---- drawing ---- */

int64_t draw(struct trial *t, int64_t low, int64_t high);
bool flip(struct trial *t);
double draw_real(struct trial *t, double low, double high);

/* ---- buffers: `count` elements of a dtype ---- */

/* Operands, of [-2, 2] (of small integers, of truths), or between bounds; and copies of the
 * caller's. */
void *operand(struct trial *t, cr_dtype dtype, int64_t count);
void *operand_within(struct trial *t, cr_dtype dtype, int64_t count, double low, double high);
void *operand_of(struct trial *t, const void *data, size_t bytes);

/* What a kernel writes: it begins as NaN, or with what an operand has. It is compared with what the
 * portable variant wrote when the case has returned: bit by bit, or so that |a - b| <= relative *
 * max(|a|, |b|) + absolute. */
void *exact_result(struct trial *t, cr_dtype dtype, int64_t count);
void *exact_update(struct trial *t, cr_dtype dtype, int64_t count);
void *close_result(struct trial *t, cr_dtype dtype, int64_t count, double relative,
                   double absolute);
void *close_update(struct trial *t, cr_dtype dtype, int64_t count, double relative,
                   double absolute);

/* What a kernel works in: aligned to 64 bytes, not compared. */
void *workspace(struct trial *t, size_t bytes);

/* How far two roundings to a dtype may be apart, relatively: one unit in the last place. */
double one_unit(cr_dtype dtype);

/* How far two sums of `terms` products of numbers up to 2, of which the dtype is that of the
 * operands and of the result, may be apart if they are added in different orders. */
double sum_error(cr_dtype dtype, int64_t terms);

/* ---- tensors of buffers ---- */

/* A tensor on the caller's stack; strides contiguous, or NULL. */
struct test_tensor {
    cr_tensor tensor;
    struct storage storage;
};
void tensor_of(struct test_tensor *x, void *data, cr_dtype dtype, const cr_shape *shape);

/* A random shape of up to `dims` dimensions, of up to about `most` elements. */
cr_shape draw_shape(struct trial *t, int dims, int64_t most);

/* An operand of a shape with random strides: contiguous, transposed, with gaps, or repeated. */
void strided_operand(struct trial *t, struct test_tensor *x, cr_dtype dtype, const cr_shape *shape,
                     double low, double high);

/* ---- the cases ---- */

struct variant_case {
    enum cr_kernel_family family;
    const char *name;
    void (*run)(struct trial *t);
    int trials;
};

/* One list a file. */
extern const struct variant_case gemm_cases[], conv_cases[], norm_cases[], sequence_cases[],
    elementwise_cases[], reduce_cases[], image_cases[], other_cases[], quantized_cases[];

#endif
