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

/* The product over `dims` or of all elements. */
cr_tensor *cr_prod_dims(cr_tensor *x, cr_shape dims, bool keepdim);
cr_tensor *cr_prod(cr_tensor *x);

/* The largest and the smallest over `dims`, and of all elements; NaN if there is one. Elements that
 * are equally extreme share the gradient. Refuses to look among no elements. */
cr_tensor *cr_amax(cr_tensor *x, cr_shape dims, bool keepdim);
cr_tensor *cr_amin(cr_tensor *x, cr_shape dims, bool keepdim);
cr_tensor *cr_max(cr_tensor *x);
cr_tensor *cr_min(cr_tensor *x);

/* Whether any or all elements over `dims` are not zero: bool (uint8 of uint8). How many: int64. */
cr_tensor *cr_any(cr_tensor *x, cr_shape dims, bool keepdim);
cr_tensor *cr_all(cr_tensor *x, cr_shape dims, bool keepdim);
cr_tensor *cr_count_nonzero(cr_tensor *x, cr_shape dims);

/* Sum and mean of what is not NaN. */
cr_tensor *cr_nansum(cr_tensor *x, cr_shape dims, bool keepdim);
cr_tensor *cr_nanmean(cr_tensor *x, cr_shape dims, bool keepdim);

/* (Σ |x|^p)^(1/p); p 0 counts what is not zero, INFINITY and -INFINITY give the largest and the
 * smallest |x|. cr_norm: of order 2, of all elements. */
cr_tensor *cr_norm_dims(cr_tensor *x, double p, cr_shape dims, bool keepdim);
cr_tensor *cr_norm(cr_tensor *x);

/* log Σ exp(x), without overflow. */
cr_tensor *cr_logsumexp(cr_tensor *x, cr_shape dims, bool keepdim);

/* Variance and standard deviation over `dims` (none: all), with the mean in *mean or not:
 * cr_var(x, .dims = CR_SHAPE(0), .biased = true). Unless biased they are divided by n - 1. */
typedef struct cr_var_args {
    cr_tensor *x;
    cr_shape dims;
    bool keepdim;
    bool biased;
} cr_var_args;
#define cr_var(...)            cr_var_with((cr_var_args){ .x = __VA_ARGS__ })
#define cr_std(...)            cr_std_with((cr_var_args){ .x = __VA_ARGS__ })
#define cr_var_mean(mean, ...) cr_var_mean_with(mean, (cr_var_args){ .x = __VA_ARGS__ })
#define cr_std_mean(mean, ...) cr_std_mean_with(mean, (cr_var_args){ .x = __VA_ARGS__ })
cr_tensor *cr_var_with(cr_var_args args);
cr_tensor *cr_std_with(cr_var_args args);
cr_tensor *cr_var_mean_with(cr_tensor **mean, cr_var_args args);
cr_tensor *cr_std_mean_with(cr_tensor **mean, cr_var_args args);

/* Running sums, products (int64 of integers and bool) and log-sum-exp along a dimension. */
cr_tensor *cr_cumsum(cr_tensor *x, int64_t dim);
cr_tensor *cr_cumprod(cr_tensor *x, int64_t dim);
cr_tensor *cr_logcumsumexp(cr_tensor *x, int64_t dim);

/* Running extremes along a dimension; *indices (unless NULL) tells where each last occurred. */
cr_tensor *cr_cummax(cr_tensor *x, int64_t dim, cr_tensor **indices);
cr_tensor *cr_cummin(cr_tensor *x, int64_t dim, cr_tensor **indices);

/* The extreme along a dimension; *indices (unless NULL) tells where it first occurs. NaN counts as
 * extreme. */
cr_tensor *cr_max_dim(cr_tensor *x, int64_t dim, bool keepdim, cr_tensor **indices);
cr_tensor *cr_min_dim(cr_tensor *x, int64_t dim, bool keepdim, cr_tensor **indices);

/* The median, the lower of the two middle ones, along a dimension and of all elements; NaN if there
 * is one. */
cr_tensor *cr_median_dim(cr_tensor *x, int64_t dim, bool keepdim, cr_tensor **indices);
cr_tensor *cr_median(cr_tensor *x);

/* Sums what broadcasting from `shape` would have repeated: the gradient of a broadcast. */
cr_tensor *cr_sum_to_size(cr_tensor *x, cr_shape shape);

#ifdef __cplusplus
}
#endif
#endif
