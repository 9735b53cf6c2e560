/* Reductions. Dimensions may count from the end; NULL dims (or none) means all of them. The order
 * of summation is fixed by the shape, so results have the same bits at any thread count. */
#ifndef CRESSET_REDUCTION_H
#define CRESSET_REDUCTION_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The sum over `dims`, a list as CR_SHAPE(0, 2); cr_shape_scalar() for all. Integers and bool sum
 * to int64. */
cr_tensor *cr_sum_dims(cr_tensor *x, cr_shape dims, bool keepdim);

/* The sum of all elements, of no dimensions. */
cr_tensor *cr_sum(cr_tensor *x);

/* The mean over `dims` or of all elements; floating dtypes only. */
cr_tensor *cr_mean_dims(cr_tensor *x, cr_shape dims, bool keepdim);
cr_tensor *cr_mean(cr_tensor *x);

/* Sums what broadcasting from `shape` would have repeated: the gradient of a broadcast. */
cr_tensor *cr_sum_to_size(cr_tensor *x, cr_shape shape);

#ifdef __cplusplus
}
#endif
#endif
