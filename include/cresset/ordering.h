/* Ordering: sorting, the greatest elements and their positions, counting, binary search. NaN is
 * greater than everything. Where `indices` (or another output) is asked for by a pointer, NULL
 * means that it is not wanted. Names and rules are those of torch. */
#ifndef CRESSET_ORDERING_H
#define CRESSET_ORDERING_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The elements along dim in rising or falling order, and where they were (int64). Stable: equal
 * elements keep their order. */
cr_tensor *cr_sort(cr_tensor *x, int dim, bool descending, cr_tensor **indices);
cr_tensor *cr_argsort(cr_tensor *x, int dim, bool descending);

/* The k greatest (or smallest) along dim, in order. */
cr_tensor *cr_topk(cr_tensor *x, int64_t k, int dim, bool smallest, cr_tensor **indices);

/* The k-th smallest along dim, k from 1. */
cr_tensor *cr_kthvalue(cr_tensor *x, int64_t k, int dim, bool keepdim, cr_tensor **indices);

/* The position of the greatest (least) element along dim, of equal ones the first: int64. The
 * second form looks at all elements and gives a row-major position. */
cr_tensor *cr_argmax(cr_tensor *x, int dim, bool keepdim);
cr_tensor *cr_argmin(cr_tensor *x, int dim, bool keepdim);
cr_tensor *cr_argmax_all(cr_tensor *x);
cr_tensor *cr_argmin_all(cr_tensor *x);

/* The different elements in rising order, for each element of x which of them it is (x's shape),
 * and how often each occurs. Not on the meta device. */
cr_tensor *cr_unique(cr_tensor *x, cr_tensor **inverse, cr_tensor **counts);

/* For each value, how many elements of `sorted` are less (with `right`: less or equal): int64, the
 * shape of values. sorted is a vector, or has the leading dimensions of values. bucketize is the
 * same with the arguments of torch.bucketize. */
cr_tensor *cr_searchsorted(cr_tensor *sorted, cr_tensor *values, bool right);
cr_tensor *cr_bucketize(cr_tensor *values, cr_tensor *boundaries, bool right);

/* How often each of 0, 1, … occurs in a vector of integers, at least minlength of them: int64, or
 * the sums of weights (may be NULL) in their dtype. Not on the meta device. */
cr_tensor *cr_bincount(cr_tensor *x, cr_tensor *weights, int64_t minlength);

/* How many elements fall into each of `bins` equal parts of [min, max]; both 0 means the range of
 * x. Others are not counted. x's dtype, floating. */
cr_tensor *cr_histc(cr_tensor *x, int64_t bins, double min, double max);

#ifdef __cplusplus
}
#endif
#endif
