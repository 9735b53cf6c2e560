/* Different elements, counts, histograms and binary search. The shapes of unique and bincount
 * depend on the data, so these are written with other ops and plain loops. */
#include <math.h>
#include <string.h>

#include "cresset/indexing.h"
#include "cresset/ordering.h"
#include "kernels/sorting/sorting.h"
#include "ops/ops.h"

static cr_status require_data(const char *name, const cr_tensor *x)
{
    if (x->storage)
        return CR_OK;
    return cr_error_set(CR_ERROR_STATE,
                        "%s: the shape of the result depends on the data, which the meta device "
                        "has not",
                        name);
}

static cr_tensor *new_vector(cr_dtype dtype, int64_t count)
{
    cr_shape shape = { .ndim = 1, .dim = { count } };
    return tensor_new(CR_CPU, dtype, &shape);
}

/* ---- unique ---- */

/* From the sorted elements: the first of each group, how many it has, and the group of each. */
static void fill_groups(cr_compose_call *call, const cr_tensor *sorted, const int64_t *order,
                        const int64_t *group)
{
    int64_t n = tensor_numel(sorted);
    size_t size = cr_dtype_size((cr_dtype)sorted->dtype);
    int64_t *inverse = TENSOR_DATA(int64_t, call->outputs[1]);
    int64_t *counts = TENSOR_DATA(int64_t, call->outputs[2]);
    char *values = tensor_bytes(call->outputs[0]);
    const char *from = tensor_bytes(sorted);
    memset(counts, 0, (size_t)tensor_numel(call->outputs[2]) * sizeof *counts);
    for (int64_t i = 0; i < n; i++) {
        if (counts[group[i]]++ == 0)
            memcpy(values + (size_t)group[i] * size, from + (size_t)i * size, size);
        inverse[order[i]] = group[i];
    }
}

static cr_status unique_compose(cr_compose_call *call)
{
    cr_tensor *x = call->inputs[0], *order;
    if (require_data("unique", x) != CR_OK)
        return cr_error_status();
    cr_tensor *sorted = cr_sort(cr_reshape(cr_detach(x), CR_SHAPE(-1)), 0, false, &order);
    cr_tensor *group = sorted ? new_vector(CR_I64, tensor_numel(sorted)) : NULL;
    if (!group)
        return cr_error_status();
    int64_t count = sort_groups(TENSOR_DATA(int64_t, group), sorted);
    call->outputs[0] = new_vector((cr_dtype)x->dtype, count);
    call->outputs[1] = tensor_new(CR_CPU, CR_I64, &x->shape);
    call->outputs[2] = new_vector(CR_I64, count);
    if (!cr_failed())
        fill_groups(call, sorted, TENSOR_DATA(const int64_t, order),
                    TENSOR_DATA(const int64_t, group));
    return cr_error_status();
}

static const cr_op unique_op = {
    .name = "unique",
    .summary = "the different elements in order, which each is, and how often each occurs",
    .input_names = "x",
    .min_inputs = 1,
    .output_count = 3,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .compose = unique_compose,
};

cr_tensor *cr_unique(cr_tensor *x, cr_tensor **inverse, cr_tensor **counts)
{
    cr_tensor *outputs[CR_MAX_OUTPUTS];
    cr_apply_all(&unique_op, CR_INPUTS(x), NULL, outputs);
    if (inverse)
        *inverse = outputs[1];
    if (counts)
        *counts = outputs[2];
    return outputs[0];
}

/* ---- searchsorted and bucketize ---- */

struct search_attributes {
    bool right;
};

static const cr_attribute search_table[] = {
    CR_ATTRIBUTE(struct search_attributes, BOOL, right),
    CR_ATTRIBUTE_END,
};

static cr_status search_infer(cr_infer_call *call)
{
    const cr_shape *sorted = &call->inputs[0]->shape, *values = &call->inputs[1]->shape;
    bool fits = sorted->ndim == 1 || (sorted->ndim == values->ndim && sorted->ndim > 0);
    for (int d = 0; fits && sorted->ndim > 1 && d < sorted->ndim - 1; d++)
        fits = sorted->dim[d] == values->dim[d];
    if (!fits) {
        char text[2][CR_SHAPE_TEXT];
        return cr_error_set(CR_ERROR_SHAPE,
                            "the sorted tensor of shape %s must be a vector or have the leading "
                            "sizes of the values' shape %s",
                            cr_shape_format(sorted, text[0], CR_SHAPE_TEXT),
                            cr_shape_format(values, text[1], CR_SHAPE_TEXT));
    }
    call->outputs[0].dtype = CR_I64;
    call->outputs[0].shape = *values;
    return CR_OK;
}

static void search_forward(const cr_call *call)
{
    const struct search_attributes *attributes = call->attributes;
    const cr_tensor *sorted = call->inputs[0], *values = call->inputs[1];
    bool is_vector = sorted->shape.ndim == 1;
    int64_t per_line = is_vector ? 0 : values->shape.dim[values->shape.ndim - 1];
    sort_search(TENSOR_DATA(int64_t, call->outputs[0]), sorted,
                sorted->shape.dim[sorted->shape.ndim - 1], values, per_line, attributes->right);
}

/* Compares in double, or in int64 if all are integers. */
static const cr_op search_kernel_op = {
    .name = "_searchsorted",
    .summary = "searchsorted of tensors that are both float64 or both int64",
    .input_names = "sorted values",
    .attributes = search_table,
    .attribute_size = sizeof(struct search_attributes),
    .min_inputs = 2,
    .flags = CR_OP_NOT_DIFFERENTIABLE | CR_OP_PROMOTE,
    .infer = search_infer,
    .forward = { [CR_CPU] = search_forward },
};

static cr_tensor *search_sorted(cr_tensor *sorted, cr_tensor *values, const void *attributes)
{
    bool is_floating = tensor_is_floating(sorted) || tensor_is_floating(values);
    cr_dtype wide = is_floating ? CR_F64 : CR_I64;
    return cr_apply(
        &search_kernel_op,
        CR_INPUTS(cr_to_dtype(cr_detach(sorted), wide), cr_to_dtype(cr_detach(values), wide)),
        attributes);
}

static cr_status searchsorted_compose(cr_compose_call *call)
{
    call->outputs[0] = search_sorted(call->inputs[0], call->inputs[1], call->attributes);
    if (!call->outputs[0])
        cr_error_prefix("searchsorted");
    return cr_error_status();
}

static const cr_op searchsorted_op = {
    .name = "searchsorted",
    .summary = "where values would go into a sorted tensor",
    .input_names = "sorted values",
    .attributes = search_table,
    .attribute_size = sizeof(struct search_attributes),
    .min_inputs = 2,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .compose = searchsorted_compose,
};

cr_tensor *cr_searchsorted(cr_tensor *sorted, cr_tensor *values, bool right)
{
    return cr_apply(&searchsorted_op, CR_INPUTS(sorted, values),
                    &(struct search_attributes){ right });
}

static cr_status bucketize_compose(cr_compose_call *call)
{
    if (require_ndim(call->inputs[1], "bucketize: boundaries", 1, 1) != CR_OK)
        return cr_error_status();
    call->outputs[0] = search_sorted(call->inputs[1], call->inputs[0], call->attributes);
    return CR_OK;
}

static const cr_op bucketize_op = {
    .name = "bucketize",
    .summary = "which of the buckets between boundaries values fall into",
    .input_names = "values boundaries",
    .attributes = search_table,
    .attribute_size = sizeof(struct search_attributes),
    .min_inputs = 2,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .compose = bucketize_compose,
};

cr_tensor *cr_bucketize(cr_tensor *values, cr_tensor *boundaries, bool right)
{
    return cr_apply(&bucketize_op, CR_INPUTS(values, boundaries),
                    &(struct search_attributes){ right });
}

/* ---- bincount ---- */

/* A greatest element above this is taken for a mistake rather than given terabytes. */
#define MOST_BINS (1ll << 40)

struct bincount_attributes {
    int64_t minlength;
};

static const cr_attribute bincount_table[] = {
    CR_ATTRIBUTE(struct bincount_attributes, INT, minlength),
    CR_ATTRIBUTE_END,
};

static cr_status check_bins(const cr_tensor *x, int64_t *bins)
{
    const int64_t *at = TENSOR_DATA(const int64_t, x);
    for (int64_t i = 0; i < tensor_numel(x); i++) {
        if (at[i] < 0 || at[i] >= MOST_BINS)
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "bincount: element %lld is %lld; only integers from 0 to 2^40 are "
                                "counted",
                                (long long)i, (long long)at[i]);
        *bins = CR_MAX(*bins, at[i] + 1);
    }
    return CR_OK;
}

static cr_status bincount_compose(cr_compose_call *call)
{
    const struct bincount_attributes *attributes = call->attributes;
    cr_tensor *weights = CALL_INPUT(call, 1);
    int64_t bins = CR_MAX(attributes->minlength, 0);
    if (require_data("bincount", call->inputs[0]) != CR_OK ||
        require_ndim(call->inputs[0], "bincount: x", 1, 1) != CR_OK)
        return cr_error_status();
    if (tensor_is_floating(call->inputs[0]))
        return cr_error_set(CR_ERROR_DTYPE, "bincount: x must be integers, not %s",
                            cr_dtype_name((cr_dtype)call->inputs[0]->dtype));
    cr_tensor *x = cr_contiguous(cr_to_dtype(call->inputs[0], CR_I64));
    if (!x || check_bins(x, &bins) != CR_OK)
        return cr_error_status();
    if (!weights)
        weights = cr_ones(x->shape, .dtype = CR_I64);
    else if (tensor_is_floating(weights) && weights->dtype != CR_F32)
        weights = cr_to_dtype(weights, CR_F64);
    if (!weights)
        return cr_error_status();
    cr_tensor *zeros = cr_zeros(CR_SHAPE(bins), .dtype = (cr_dtype)weights->dtype);
    call->outputs[0] = cr_index_add(zeros, 0, x, cr_detach(weights), 1.0);
    if (!call->outputs[0])
        cr_error_prefix("bincount");
    return cr_error_status();
}

static const cr_op bincount_op = {
    .name = "bincount",
    .summary = "how often each integer occurs",
    .input_names = "x weights",
    .attributes = bincount_table,
    .attribute_size = sizeof(struct bincount_attributes),
    .min_inputs = 1,
    .max_inputs = 2,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .compose = bincount_compose,
};

cr_tensor *cr_bincount(cr_tensor *x, cr_tensor *weights, int64_t minlength)
{
    return cr_apply(&bincount_op, CR_INPUTS(x, weights),
                    &(struct bincount_attributes){ minlength });
}

/* ---- histc ---- */

struct histc_attributes {
    int64_t bins;
    double min;
    double max;
};

static const cr_attribute histc_table[] = {
    CR_ATTRIBUTE(struct histc_attributes, INT, bins),
    CR_ATTRIBUTE(struct histc_attributes, FLOAT, min),
    CR_ATTRIBUTE(struct histc_attributes, FLOAT, max),
    CR_ATTRIBUTE_END,
};

static cr_status histc_infer(cr_infer_call *call)
{
    const struct histc_attributes *attributes = call->attributes;
    if (require_floating(call->inputs[0], "x") != CR_OK)
        return cr_error_status();
    if (attributes->bins < 1)
        return cr_error_set(CR_ERROR_ARGUMENT, "%lld bins are not possible",
                            (long long)attributes->bins);
    if (!(attributes->min <= attributes->max))
        return cr_error_set(CR_ERROR_ARGUMENT, "the range from %g to %g is empty", attributes->min,
                            attributes->max);
    call->outputs[0].dtype = (cr_dtype)call->inputs[0]->dtype;
    call->outputs[0].shape = CR_SHAPE(attributes->bins);
    return CR_OK;
}

static void histc_range(const cr_tensor *x, double *low, double *high)
{
    int64_t n = tensor_numel(x);
    if (*low == *high && n) {
        *low = (double)INFINITY;
        *high = -(double)INFINITY;
        for (int64_t i = 0; i < n; i++) {
            *low = fmin(*low, cr_element(x, i));
            *high = fmax(*high, cr_element(x, i));
        }
    }
    if (*low == *high) {
        *low -= 1;
        *high += 1;
    }
}

static size_t histc_room(const cr_call *call)
{
    const struct histc_attributes *attributes = call->attributes;
    return (size_t)attributes->bins * sizeof(int64_t);
}

static void histc_forward(const cr_call *call)
{
    const struct histc_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    cr_tensor *out = call->outputs[0];
    int64_t *counts = call->workspace;
    double low = attributes->min, high = attributes->max;
    memset(counts, 0, call->workspace_size);
    histc_range(x, &low, &high);
    for (int64_t i = 0; i < tensor_numel(x); i++) {
        double value = cr_element(x, i);
        if (!(value >= low && value <= high))
            continue;
        double at = (value - low) / (high - low) * (double)attributes->bins;
        counts[at < (double)attributes->bins ? (int64_t)at : attributes->bins - 1]++;
    }
    size_t size = cr_dtype_size((cr_dtype)out->dtype);
    for (int64_t b = 0; b < attributes->bins; b++)
        element_write((cr_dtype)out->dtype, (double)counts[b],
                      tensor_bytes(out) + (size_t)b * size);
}

static const cr_op histc_op = {
    .name = "histc",
    .summary = "how many elements fall into equal parts of a range",
    .input_names = "x",
    .attributes = histc_table,
    .attribute_size = sizeof(struct histc_attributes),
    .min_inputs = 1,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .infer = histc_infer,
    .workspace = histc_room,
    .forward = { [CR_CPU] = histc_forward },
};

cr_tensor *cr_histc(cr_tensor *x, int64_t bins, double min, double max)
{
    return cr_apply(&histc_op, CR_INPUTS(x), &(struct histc_attributes){ bins, min, max });
}

OP_FAMILY(count_ops) = {
    &unique_op, &search_kernel_op, &searchsorted_op, &bucketize_op, &bincount_op, &histc_op, NULL,
};
