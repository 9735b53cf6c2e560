/* Reading and writing by index, masks, and ordering.
 *
 * Indices are int64 tensors. One that is out of range is an error that names it, its position and
 * the size. Where several values go to one place, sums have a fixed order and of plain writes the
 * last one stays, at any number of threads. Names and rules are those of torch. */
#ifndef CRESSET_INDEXING_H
#define CRESSET_INDEXING_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- reading ---- */

/* Entries `index` (a vector) of dimension dim. */
cr_tensor *cr_index_select(cr_tensor *x, int dim, cr_tensor *index);

/* out[i][j][k] = x[index[i][j][k]][j][k] for dim 0, and so on; shape of index, whose other sizes
 * are at most those of x. take_along_dim broadcasts the two, and lets indices count from the end.
 */
cr_tensor *cr_gather(cr_tensor *x, int dim, cr_tensor *index);
cr_tensor *cr_take_along_dim(cr_tensor *x, cr_tensor *index, int dim);

/* Elements of the flattened x, in the shape of index; indices may count from the end. */
cr_tensor *cr_take(cr_tensor *x, cr_tensor *index);

/* x[indices[0], indices[1], …] as in Python: index tensors (int64, or bool masks over as many
 * dimensions as they have) for the first dimensions, NULL for a dimension taken whole (`:`). Index
 * tensors broadcast together; their dimensions come where they stand if they stand together, else
 * in front. Indices may count from the end. */
cr_tensor *cr_index(cr_tensor *x, cr_tensor *const *indices, int count);

/* ---- writing: the result is new, x stays as it is ---- */

/* x with out[index[i][j][k]][j][k] = source[i][j][k] for dim 0, and so on; `value` for all. */
cr_tensor *cr_scatter(cr_tensor *x, int dim, cr_tensor *index, cr_tensor *source);
cr_tensor *cr_scatter_value(cr_tensor *x, int dim, cr_tensor *index, double value);

/* The same, adding. */
cr_tensor *cr_scatter_add(cr_tensor *x, int dim, cr_tensor *index, cr_tensor *source);

/* The same, combining; without include_self places that are written forget what x had there. */
typedef enum cr_scatter_reduction {
    CR_SCATTER_SUM,
    CR_SCATTER_PROD,
    CR_SCATTER_MEAN, /* floating only */
    CR_SCATTER_AMAX,
    CR_SCATTER_AMIN
} cr_scatter_reduction;
cr_tensor *cr_scatter_reduce(cr_tensor *x, int dim, cr_tensor *index, cr_tensor *source,
                             cr_scatter_reduction reduction, bool include_self);

/* Entries `index` (a vector) of a dimension replaced by those of source, added to (times alpha), or
 * set to a value. */
cr_tensor *cr_index_copy(cr_tensor *x, int dim, cr_tensor *index, cr_tensor *source);
cr_tensor *cr_index_add(cr_tensor *x, int dim, cr_tensor *index, cr_tensor *source, double alpha);
cr_tensor *cr_index_fill(cr_tensor *x, int dim, cr_tensor *index, double value);

/* x with x[indices…] = values (broadcast), or += values; indices as of cr_index. */
cr_tensor *cr_index_put(cr_tensor *x, cr_tensor *const *indices, int count, cr_tensor *values,
                        bool accumulate);

/* ---- masks ---- */

/* x, but `value` where the mask (bool, broadcast to x) is true. */
cr_tensor *cr_masked_fill(cr_tensor *x, cr_tensor *mask, double value);

/* The elements where the mask is true, as a vector; both broadcast. Not on the meta device, as its
 * size depends on the data. */
cr_tensor *cr_masked_select(cr_tensor *x, cr_tensor *mask);

/* Where x is not 0: (count, dimensions of x) int64, in row-major order. Not on the meta device. */
cr_tensor *cr_nonzero(cr_tensor *x);

/* ---- tables ---- */

/* Rows of weight (count, dim) by indices (…): (…, dim). The row padding_idx gets no gradient; -1
 * for none. (cr_embedding of nn.h makes the table as a parameter.) */
cr_tensor *cr_functional_embedding(cr_tensor *weight, cr_tensor *indices, int64_t padding_idx);

/* (…, num_classes) int64: 1 at the index, 0 elsewhere; num_classes -1 means the greatest index + 1.
 */
cr_tensor *cr_one_hot(cr_tensor *index, int64_t num_classes);

#ifdef __cplusplus
}
#endif
#endif
