/* Kernels that reduce dimensions of a tensor. */
#ifndef CR_KERNELS_REDUCE_REDUCE_H
#define CR_KERNELS_REDUCE_REDUCE_H

#include "tensor/tensor.h"

/* out = the sum of x (any strides) over the dimensions of the list; out is contiguous, of x's dtype
 * or, for integers and bool, int64. Floats are summed in double precision. */
void reduce_sum(cr_tensor *out, const cr_tensor *x, const cr_shape *dims);

#endif
