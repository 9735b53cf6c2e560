/* Kernels that work element by element, over operands of any strides.
 *
 * An elementwise_plan holds the operands' common shape, with dimensions merged where all of them
 * allow it; elementwise_run hands rows of it to an inner loop. A plan has operand 0 as what is
 * written, the rest as what is read. */
#ifndef CR_KERNELS_ELEMENTWISE_ELEMENTWISE_H
#define CR_KERNELS_ELEMENTWISE_ELEMENTWISE_H

#include "tensor/tensor.h"

#define ELEMENTWISE_OPERANDS 6

/* n elements; pointers[i] steps by strides[i] bytes. `context` is what was given to the run. */
typedef void (*elementwise_loop)(int64_t n, char *const *pointers, const int64_t *strides,
                                 const void *context);

struct elementwise_plan {
    int operands;
    int ndim;
    int64_t size[CR_MAX_DIMS];                         /* fastest dimension first */
    int64_t stride[ELEMENTWISE_OPERANDS][CR_MAX_DIMS]; /* bytes */
    char *data[ELEMENTWISE_OPERANDS];
};

/* Plans a walk over `shape`, to which every operand must broadcast. */
void elementwise_plan_make(struct elementwise_plan *plan, const cr_shape *shape,
                           const cr_tensor *const *tensors, int operands);

/* Runs the loop over the plan, on several threads where it is long enough. */
void elementwise_run(const struct elementwise_plan *plan, elementwise_loop loop,
                     const void *context);

/* The same on the calling thread alone, in row-major order. */
void elementwise_run_serial(const struct elementwise_plan *plan, elementwise_loop loop,
                            const void *context);

/* ---- loops by operation and dtype ---- */

enum binary_kind { BINARY_ADD, BINARY_SUB, BINARY_MUL, BINARY_DIV, BINARY_COUNT };

/* The loop for two operands of `dtype` and a result of it; NULL where there is none. bfloat16 and
 * float16 are computed in float32. */
struct pointwise_loops {
    elementwise_loop binary[BINARY_COUNT][CR_DTYPE_COUNT];
};

/* The loops for the instruction set in use. */
const struct pointwise_loops *pointwise_loops(void);

/* Copies `from` to `to`, broadcasting and converting; any strides and dtypes. */
void copy_tensor(cr_tensor *to, const cr_tensor *from);

#endif
