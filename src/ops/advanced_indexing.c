/* x[i, j, …] with index tensors, and writing to it.
 *
 * The indexed dimensions of x are moved to the front and flattened, the index tensors broadcast and
 * combined to one row number, and rows are read (index_select) or written (index_copy, index_add).
 * What the result looks like then follows Python: the dimensions of the index stand where the index
 * tensors stood if those were neighbours, else in front. */
#include "cresset/indexing.h"
#include "ops/ops.h"

struct index_attributes {
    cr_shape dims; /* of x, that the index tensors are for; of a mask its first */
    bool accumulate;
};

static const cr_attribute index_table[] = {
    CR_ATTRIBUTE(struct index_attributes, INTS, dims),
    CR_ATTRIBUTE_END,
};

static const cr_attribute index_put_table[] = {
    CR_ATTRIBUTE(struct index_attributes, INTS, dims),
    CR_ATTRIBUTE(struct index_attributes, BOOL, accumulate),
    CR_ATTRIBUTE_END,
};

/* How x is read: everything that both directions need. */
struct access {
    const char *name;
    int count; /* of index tensors, masks replaced by what they stand for */
    int dim[CR_MAX_DIMS];
    cr_tensor *index[CR_MAX_DIMS];
    cr_shape index_shape; /* they broadcast to */
    cr_shape order;       /* dimensions of x, indexed ones first */
    cr_shape moved;       /* sizes in that order */
    int64_t rows;         /* product of the indexed sizes */
    cr_tensor *row;       /* a vector of row numbers */
};

static cr_status add_index(struct access *a, const cr_tensor *x, cr_tensor *index, int dim)
{
    if (!index)
        return cr_error_status();
    if (dim >= x->shape.ndim || a->count == CR_MAX_DIMS ||
        (a->count && dim <= a->dim[a->count - 1]))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "%s: too many indices for a tensor of %d dimensions, or out of order",
                            a->name, x->shape.ndim);
    a->dim[a->count] = dim;
    a->index[a->count++] = index_from_front(a->name, index, x->shape.dim[dim], dim);
    return cr_error_status();
}

/* A mask stands for the columns of its nonzero positions. */
static cr_status add_mask(struct access *a, const cr_tensor *x, cr_tensor *mask, int dim)
{
    for (int d = 0; d < mask->shape.ndim; d++) {
        if (dim + d >= x->shape.ndim || mask->shape.dim[d] != x->shape.dim[dim + d]) {
            char text[2][CR_SHAPE_TEXT];
            return cr_error_set(CR_ERROR_SHAPE,
                                "%s: a mask of shape %s does not fit x of shape %s from dimension "
                                "%d on",
                                a->name, cr_shape_format(&mask->shape, text[0], CR_SHAPE_TEXT),
                                cr_shape_format(&x->shape, text[1], CR_SHAPE_TEXT), dim);
        }
    }
    cr_tensor *positions = cr_nonzero(mask);
    for (int d = 0; d < mask->shape.ndim; d++) {
        if (add_index(a, x, cr_select(positions, 1, d), dim + d) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

static cr_status collect_indices(struct access *a, const cr_tensor *x, cr_tensor *const *indices,
                                 const cr_shape *dims)
{
    for (int i = 0; i < dims->ndim; i++) {
        if (dims->dim[i] < 0 || dims->dim[i] >= x->shape.ndim)
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "%s: dimension %lld is not one of the %d of x (they count from 0 "
                                "here)",
                                a->name, (long long)dims->dim[i], x->shape.ndim);
        int dim = (int)dims->dim[i];
        cr_status status = indices[i]->dtype == CR_BOOL ? add_mask(a, x, indices[i], dim)
                                                        : add_index(a, x, indices[i], dim);
        if (status != CR_OK)
            return status;
    }
    for (int i = 0; i < a->count; i++) {
        if (shape_broadcast(&a->index_shape, &a->index[i]->shape, &a->index_shape) != CR_OK) {
            cr_error_prefix("%s", a->name);
            return cr_error_status();
        }
    }
    return CR_OK;
}

/* The order of dimensions, and the row that each combination of indices means. */
static void plan_rows(struct access *a, const cr_tensor *x)
{
    bool is_indexed[CR_MAX_DIMS] = { false };
    cr_tensor *row = cr_scalar_int(0);
    a->rows = 1;
    for (int i = a->count - 1; i >= 0; i--) {
        row = cr_add(row, cr_mul(a->index[i], cr_scalar_int(a->rows)));
        a->rows *= x->shape.dim[a->dim[i]];
        is_indexed[a->dim[i]] = true;
    }
    for (int i = 0; i < a->count; i++)
        a->order.dim[a->order.ndim++] = a->dim[i];
    for (int d = 0; d < x->shape.ndim; d++) {
        if (!is_indexed[d])
            a->order.dim[a->order.ndim++] = d;
    }
    a->moved.ndim = x->shape.ndim;
    for (int d = 0; d < x->shape.ndim; d++)
        a->moved.dim[d] = x->shape.dim[a->order.dim[d]];
    a->row = cr_reshape(cr_expand(row, a->index_shape), CR_SHAPE(-1));
}

static cr_status access_plan(struct access *a, const cr_tensor *x, cr_tensor *const *indices,
                             int index_count, const cr_shape *dims)
{
    if (dims->ndim != index_count || index_count == 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: %d index tensors for %d dims", a->name,
                            index_count, dims->ndim);
    if (collect_indices(a, x, indices, dims) != CR_OK)
        return cr_error_status();
    if (a->index_shape.ndim + x->shape.ndim - a->count > CR_MAX_DIMS)
        return cr_error_set(CR_ERROR_SHAPE, "%s: the result has more than %d dimensions", a->name,
                            CR_MAX_DIMS);
    plan_rows(a, x);
    return cr_error_status();
}

/* x as a matrix of rows. */
static cr_tensor *as_rows(const struct access *a, cr_tensor *x)
{
    int64_t inner = 1;
    for (int d = a->count; d < a->moved.ndim; d++)
        inner *= a->moved.dim[d];
    return cr_reshape(cr_permute(x, a->order), CR_SHAPE(a->rows, inner));
}

/* The shape of the rows read: that of the index, then the dimensions that were not indexed. */
static cr_shape read_shape(const struct access *a)
{
    cr_shape shape = a->index_shape;
    for (int d = a->count; d < a->moved.ndim; d++)
        shape.dim[shape.ndim++] = a->moved.dim[d];
    return shape;
}

/* The order that puts the index's dimensions where they belong in the result. */
static cr_shape result_order(const struct access *a)
{
    int indexed = a->index_shape.ndim;
    int total = indexed + a->moved.ndim - a->count;
    bool together = a->dim[a->count - 1] - a->dim[0] == a->count - 1;
    int before = together ? a->dim[0] : 0;
    cr_shape order = { .ndim = total };
    for (int d = 0; d < total; d++) {
        if (d < before)
            order.dim[d] = indexed + d;
        else
            order.dim[d] = d < before + indexed ? d - before : d;
    }
    return order;
}

/* ---- index ---- */

static cr_status index_compose(cr_compose_call *call)
{
    const struct index_attributes *attributes = call->attributes;
    struct access a = { .name = "index" };
    cr_tensor *x = call->inputs[0];
    if (access_plan(&a, x, call->inputs + 1, call->input_count - 1, &attributes->dims) != CR_OK)
        return cr_error_status();
    cr_tensor *rows = cr_index_select(as_rows(&a, x), 0, a.row);
    call->outputs[0] = cr_permute(cr_reshape(rows, read_shape(&a)), result_order(&a));
    return CR_OK;
}

static const cr_op index_op = {
    .name = "index",
    .summary = "elements by tensors of indices, as x[i, j] in Python",
    .input_names = "x indices*",
    .attributes = index_table,
    .attribute_size = sizeof(struct index_attributes),
    .min_inputs = 1,
    .max_inputs = -1,
    .compose = index_compose,
};

/* ---- index_put ---- */

/* The values broadcast to the result's shape and laid out as rows. */
static cr_tensor *values_as_rows(const struct access *a, cr_tensor *values)
{
    cr_shape read = read_shape(a), order = result_order(a);
    cr_shape result = { .ndim = read.ndim }, inverse = { .ndim = read.ndim };
    for (int d = 0; d < read.ndim; d++) {
        result.dim[d] = read.dim[order.dim[d]];
        inverse.dim[order.dim[d]] = d;
    }
    int64_t count = tensor_numel(a->row);
    cr_tensor *laid = cr_permute(cr_expand(values, result), inverse);
    int64_t inner = 1;
    for (int d = a->index_shape.ndim; d < read.ndim; d++)
        inner *= read.dim[d];
    return cr_reshape(laid, CR_SHAPE(count, inner));
}

static cr_status index_put_compose(cr_compose_call *call)
{
    const struct index_attributes *attributes = call->attributes;
    struct access a = { .name = "index_put" };
    cr_tensor *x = call->inputs[0], *values = call->inputs[1];
    if (access_plan(&a, x, call->inputs + 2, call->input_count - 2, &attributes->dims) != CR_OK)
        return cr_error_status();
    cr_tensor *rows = as_rows(&a, x);
    cr_tensor *source = values_as_rows(&a, cr_to_dtype(values, (cr_dtype)x->dtype));
    if (attributes->accumulate)
        rows = cr_index_add(rows, 0, a.row, source, 1.0);
    else
        rows = cr_index_copy(rows, 0, a.row, source);
    cr_shape inverse = { .ndim = a.order.ndim };
    for (int d = 0; d < inverse.ndim; d++)
        inverse.dim[a.order.dim[d]] = d;
    call->outputs[0] = cr_contiguous(cr_permute(cr_reshape(rows, a.moved), inverse));
    return CR_OK;
}

static const cr_op index_put_op = {
    .name = "index_put",
    .summary = "elements replaced or added to by tensors of indices",
    .input_names = "x values indices*",
    .attributes = index_put_table,
    .attribute_size = sizeof(struct index_attributes),
    .min_inputs = 2,
    .max_inputs = -1,
    .cast = CR_CAST_PROMOTE,
    .compose = index_put_compose,
};

OP_FAMILY(advanced_index_ops) = { &index_op, &index_put_op, NULL };

/* ---- the public functions, where NULL stands for a whole dimension ---- */

/* Appends the index tensors to `inputs`, and notes the dimension that each begins at. */
static cr_status place_indices(const char *name, cr_tensor *const *indices, int count,
                               cr_tensor **inputs, int *input_count, cr_shape *dims)
{
    int dim = 0;
    if (count < 0 || count > CR_MAX_DIMS)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: takes at most %d indices, not %d", name,
                            CR_MAX_DIMS, count);
    for (int i = 0; i < count; i++) {
        if (!indices[i]) {
            dim++;
            continue;
        }
        inputs[(*input_count)++] = indices[i];
        dims->dim[dims->ndim++] = dim;
        dim += indices[i]->dtype == CR_BOOL ? indices[i]->shape.ndim : 1;
    }
    return CR_OK;
}

cr_tensor *cr_index(cr_tensor *x, cr_tensor *const *indices, int count)
{
    cr_tensor *inputs[1 + CR_MAX_DIMS] = { x };
    struct index_attributes attributes = { 0 };
    int used = 1;
    if (cr_failed() ||
        place_indices("index", indices, count, inputs, &used, &attributes.dims) != CR_OK)
        return NULL;
    return cr_apply(&index_op, (cr_inputs){ used, inputs }, &attributes);
}

cr_tensor *cr_index_put(cr_tensor *x, cr_tensor *const *indices, int count, cr_tensor *values,
                        bool accumulate)
{
    cr_tensor *inputs[2 + CR_MAX_DIMS] = { x, values };
    struct index_attributes attributes = { .accumulate = accumulate };
    int used = 2;
    if (cr_failed() ||
        place_indices("index_put", indices, count, inputs, &used, &attributes.dims) != CR_OK)
        return NULL;
    return cr_apply(&index_put_op, (cr_inputs){ used, inputs }, &attributes);
}
