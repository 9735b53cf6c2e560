/* Shapes: views over the same storage, joins and splits, and rearranged copies.
 *
 * A view costs nothing and shares the storage of what it views: an edit in place of one is seen in
 * the other. Dimensions may count from the end. Names and rules are those of torch. */
#ifndef CRESSET_SHAPING_H
#define CRESSET_SHAPING_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- views ---- */

/* The same elements in row-major order under another shape, of which one size may be -1. view
 * refuses what would need a copy; reshape copies then. */
cr_tensor *cr_view(cr_tensor *x, cr_shape shape);
cr_tensor *cr_reshape(cr_tensor *x, cr_shape shape);

/* The same with the shape of `other`. */
cr_tensor *cr_view_as(cr_tensor *x, cr_tensor *other);
cr_tensor *cr_reshape_as(cr_tensor *x, cr_tensor *other);

/* Dimensions start_dim … end_dim (included) as one; a tensor of no dimensions becomes (1,). */
cr_tensor *cr_flatten(cr_tensor *x, int start_dim, int end_dim);

/* Dimension `dim` as several, of which one size may be -1. */
cr_tensor *cr_unflatten(cr_tensor *x, int dim, cr_shape sizes);

/* Sizes of 1 repeated, and new dimensions in front; -1 keeps a size. broadcast_to is the same. */
cr_tensor *cr_expand(cr_tensor *x, cr_shape shape);
cr_tensor *cr_expand_as(cr_tensor *x, cr_tensor *other);
cr_tensor *cr_broadcast_to(cr_tensor *x, cr_shape shape);

/* Dimension i of the result is dimension dims[i] of x. */
cr_tensor *cr_permute(cr_tensor *x, cr_shape dims);

/* Two dimensions exchanged; t is the transpose of a matrix, and leaves fewer dimensions alone. */
cr_tensor *cr_transpose(cr_tensor *x, int dim0, int dim1);
cr_tensor *cr_t(cr_tensor *x);

/* Dimensions `source` moved to the positions `destination`; the others keep their order. */
cr_tensor *cr_movedim(cr_tensor *x, cr_shape source, cr_shape destination);

/* Without the dimensions of size 1: all of them, or those of `dims` that have size 1. */
cr_tensor *cr_squeeze(cr_tensor *x);
cr_tensor *cr_squeeze_dims(cr_tensor *x, cr_shape dims);

/* With a dimension of size 1 before position dim. */
cr_tensor *cr_unsqueeze(cr_tensor *x, int dim);

/* `length` elements of a dimension from `start` on; a negative start counts from the end. */
cr_tensor *cr_narrow(cr_tensor *x, int dim, int64_t start, int64_t length);

/* One element of a dimension, which disappears. */
cr_tensor *cr_select(cr_tensor *x, int dim, int64_t index);

/* Every step-th element of a dimension, as x[start:end:step] in Python: bounds may be negative and
 * are clamped; CR_SLICE_END stands for no end. step is at least 1. */
#define CR_SLICE_END INT64_MAX
cr_tensor *cr_slice(cr_tensor *x, int dim, int64_t start, int64_t end, int64_t step);

/* The diagonal of two dimensions, which becomes the last one; offset > 0 lies above the main. */
cr_tensor *cr_diagonal(cr_tensor *x, int64_t offset, int dim1, int dim2);

/* All windows of `size` along a dimension, every `step`; the windows' elements become the last
 * dimension. Tensor.unfold of torch. */
cr_tensor *cr_unfold_dim(cr_tensor *x, int dim, int64_t size, int64_t step);

/* ---- joins ---- */

/* Joins along an existing dimension; dtypes are promoted. An empty tensor of shape (0,) joins
 * anything. */
cr_tensor *cr_cat(cr_tensor *const *tensors, int count, int dim);

/* Joins tensors of one shape along a new dimension. */
cr_tensor *cr_stack(cr_tensor *const *tensors, int count, int dim);

/* cr_cat and cr_stack of the tensors named: cr_cat_of(1, a, b, c). */
#define CR_LIST_COUNT_(...) ((int)(sizeof((cr_tensor *[]){ __VA_ARGS__ }) / sizeof(cr_tensor *)))
#define cr_cat_of(dim, ...)                                                                        \
    cr_cat((cr_tensor *[]){ __VA_ARGS__ }, CR_LIST_COUNT_(__VA_ARGS__), (dim))
#define cr_stack_of(dim, ...)                                                                      \
    cr_stack((cr_tensor *[]){ __VA_ARGS__ }, CR_LIST_COUNT_(__VA_ARGS__), (dim))

/* ---- splits ----
 *
 * Each fills `parts`, which has room for `room` tensors (views of x), and returns how many there
 * are. On failure (also when the room is too small) it returns 0 and all of `parts` is NULL. */

/* Parts of `size` along a dimension; the last one may be smaller. */
int cr_split(cr_tensor *x, int64_t size, int dim, cr_tensor **parts, int room);

/* Parts of the given sizes, which add up to the size of the dimension. */
int cr_split_sizes(cr_tensor *x, const int64_t *sizes, int count, int dim, cr_tensor **parts);

/* At most `chunks` parts of equal size, the last one smaller, as torch.chunk. */
int cr_chunk(cr_tensor *x, int chunks, int dim, cr_tensor **parts, int room);

/* Every element of a dimension, which disappears. */
int cr_unbind(cr_tensor *x, int dim, cr_tensor **parts, int room);

/* ---- rearranged copies ---- */

/* x repeated repeats[i] times along dimension i; repeats may have more dimensions than x. tile
 * takes fewer, too. */
cr_tensor *cr_repeat(cr_tensor *x, cr_shape repeats);
cr_tensor *cr_tile(cr_tensor *x, cr_shape repeats);

/* Each element of a dimension repeated in place. */
cr_tensor *cr_repeat_interleave(cr_tensor *x, int64_t repeats, int dim);

/* The order of these dimensions reversed. */
cr_tensor *cr_flip(cr_tensor *x, cr_shape dims);

/* Elements moved by shifts[i] along dims[i], those that leave coming back at the other end; without
 * dims, over the flattened tensor by shifts[0]. */
cr_tensor *cr_roll(cr_tensor *x, cr_shape shifts, cr_shape dims);

/* The lower (upper) triangle of the last two dimensions, up to diagonal (from it on); 0 elsewhere.
 */
cr_tensor *cr_tril(cr_tensor *x, int64_t diagonal);
cr_tensor *cr_triu(cr_tensor *x, int64_t diagonal);

/* A square matrix with the vector x on a diagonal, or the diagonal of the matrix x. */
cr_tensor *cr_diag(cr_tensor *x, int64_t diagonal);

/* The last dimension of x on the diagonal of two new dimensions dim1 and dim2, 0 elsewhere. */
cr_tensor *cr_diag_embed(cr_tensor *x, int64_t offset, int dim1, int dim2);

/* Coordinate grids of `count` vectors, as torch.meshgrid: grids[i] varies along dimension i; with
 * `xy` the first two dimensions are exchanged (indexing="xy"). */
cr_status cr_meshgrid(cr_tensor *const *vectors, int count, bool xy, cr_tensor **grids);

/* Padding as torch.nn.functional.pad: `padding` holds (before, after) of the last dimension, then
 * of the one before it, and so on. Constant padding may be negative, which crops. Reflection and
 * replication work on the last one to three dimensions, circular too. `value` is for constant. */
typedef enum cr_pad_mode {
    CR_PAD_CONSTANT,
    CR_PAD_REFLECT,
    CR_PAD_REPLICATE,
    CR_PAD_CIRCULAR
} cr_pad_mode;
cr_tensor *cr_pad(cr_tensor *x, cr_shape padding, cr_pad_mode mode, double value);

#ifdef __cplusplus
}
#endif
#endif
