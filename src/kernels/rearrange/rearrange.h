/* Kernels that move elements without computing with them: triangles, padding. */
#ifndef CR_KERNELS_REARRANGE_REARRANGE_H
#define CR_KERNELS_REARRANGE_REARRANGE_H

#include "tensor/tensor.h"

/* The lower (upper) triangle of the last two dimensions, the rest zeros; both contiguous, of one
 * shape and dtype. */
void rearrange_triangle(cr_tensor *out, const cr_tensor *x, int64_t diagonal, bool is_upper);

/* Where the elements beside the input come from. */
enum pad_source { PAD_CONSTANT, PAD_REFLECT, PAD_REPLICATE, PAD_CIRCULAR };

/* out[i] = x[source of i - before], both contiguous; `value` where there is no source. */
void rearrange_pad(cr_tensor *out, const cr_tensor *x, const int64_t *before, enum pad_source mode,
                   double value);

/* grad_x[source of i - before] += grad[i], in fixed order; both contiguous, floating. */
void rearrange_pad_backward(cr_tensor *grad_x, const cr_tensor *grad, const int64_t *before,
                            enum pad_source mode);

#endif
