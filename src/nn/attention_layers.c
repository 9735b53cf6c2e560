/* Multi-head attention. Queries, keys and values are projected together where they come from one
 * tensor, and read by the attention where they lie. */
#include <math.h>

#include "cresset/sequence_layers.h"
#include "nn/nn.h"

/* A call with a dimension for the batch. */
struct heads {
    cr_scope at;
    const cr_multihead_attention_args *args;
    cr_tensor *query, *key, *value;
    int64_t embed; /* E */
    int64_t heads;
    int64_t depth; /* E / heads */
    double dropout;
    cr_tensor *together; /* in_proj_weight, or NULL: then */
    cr_tensor *apart[3]; /* q_proj_weight, k_proj_weight, v_proj_weight */
    cr_tensor *bias;     /* in_proj_bias, or NULL */
};

/* ---- checks ---- */

static cr_status check_sequences(const struct heads *h)
{
    int64_t batch = cr_dim(h->query, 0), keys = cr_dim(h->key, 1);
    char q[CR_SHAPE_TEXT], k[CR_SHAPE_TEXT], v[CR_SHAPE_TEXT];
    if (cr_ndim(h->query) == 3 && cr_ndim(h->key) == 3 && cr_ndim(h->value) == 3 &&
        cr_dim(h->key, 0) == batch && cr_dim(h->value, 0) == batch && cr_dim(h->value, 1) == keys)
        return CR_OK;
    return cr_error_set(CR_ERROR_SHAPE,
                        "query %s, key %s and value %s must be (N, L, E), (N, S, …) and (N, S, …)",
                        cr_shape_format(&h->query->shape, q, sizeof q),
                        cr_shape_format(&h->key->shape, k, sizeof k),
                        cr_shape_format(&h->value->shape, v, sizeof v));
}

static cr_status check_mask(const cr_tensor *mask, const char *name, cr_shape wanted)
{
    if (!mask || cr_shape_equal(&mask->shape, &wanted))
        return CR_OK;
    char is[CR_SHAPE_TEXT], should[CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE, "%s has shape %s where %s is needed", name,
                        cr_shape_format(&mask->shape, is, sizeof is),
                        cr_shape_format(&wanted, should, sizeof should));
}

static cr_status heads_open(struct heads *h, cr_scope at, const cr_multihead_attention_args *args)
{
    h->at = at;
    h->args = args;
    h->query = args->query;
    h->key = args->key ? args->key : h->query;
    h->value = args->value ? args->value : h->key;
    h->embed = cr_dim(h->query, -1);
    h->heads = args->heads;
    h->dropout = cr_model_is_training(at.model) ? args->dropout : 0;
    if (h->heads < 1 || h->embed % h->heads)
        return cr_error_set(CR_ERROR_ARGUMENT, "%lld heads do not divide the %lld features",
                            (long long)h->heads, (long long)h->embed);
    h->depth = h->embed / h->heads;
    if (cr_ndim(h->query) == 2) {
        cr_tensor *query = cr_unsqueeze(h->query, 0);
        cr_tensor *key = h->key == h->query ? query : cr_unsqueeze(h->key, 0);
        h->value = h->value == h->key ? key : cr_unsqueeze(h->value, 0);
        h->key = key;
        h->query = query;
    }
    return cr_failed() ? cr_error_status() : check_sequences(h);
}

/* ---- projections ---- */

static cr_tensor *part_of(cr_tensor *tensor, int64_t first, int64_t count)
{
    if (!tensor || (first == 0 && cr_dim(tensor, 0) == count))
        return tensor;
    return cr_narrow(tensor, 0, first, count);
}

/* x times the parts [first, first + count) of a weight, and their bias: (N, L, count, heads, D). */
static cr_tensor *project(const struct heads *h, cr_tensor *x, cr_tensor *weight, int64_t first,
                          int64_t count)
{
    cr_tensor *bias = part_of(h->bias, first * h->embed, count * h->embed);
    cr_tensor *y = cr_functional_linear(x, weight, bias);
    return cr_unflatten(y, -1, CR_SHAPE(count, h->heads, h->depth));
}

/* Part i of a projection, (N, heads, L, D). */
static cr_tensor *head_view(cr_tensor *projection, int64_t i)
{
    return cr_transpose(cr_select(projection, 2, i), 1, 2);
}

/* In PyTorch's order, which is the order of an optimiser's state. */
static void make_parameters(struct heads *h)
{
    static const char *const names[] = { "q_proj_weight", "k_proj_weight", "v_proj_weight" };
    cr_init init = { CR_INIT_XAVIER_UNIFORM, 0, 0 };
    int64_t e = h->embed, widths[3] = { e, cr_dim(h->key, -1), cr_dim(h->value, -1) };
    if (widths[1] == e && widths[2] == e)
        h->together = cr_parameter(h->at, "in_proj_weight", CR_SHAPE(3 * e, e), init);
    for (int i = 0; i < 3 && !h->together; i++)
        h->apart[i] = cr_parameter(h->at, names[i], CR_SHAPE(e, widths[i]), init);
    if (!h->args->no_bias)
        h->bias =
            cr_parameter(h->at, "in_proj_bias", CR_SHAPE(3 * e), (cr_init){ CR_INIT_ZEROS, 0, 0 });
}

/* Query, key and value; what comes from one tensor by one product. */
static void project_all(const struct heads *h, cr_tensor *parts[3])
{
    cr_tensor *sources[3] = { h->query, h->key, h->value };
    for (int i = 0; i < 3;) {
        int count = 1;
        while (h->together && i + count < 3 && sources[i + count] == sources[i])
            count++;
        cr_tensor *weight =
            h->together ? part_of(h->together, i * h->embed, count * h->embed) : h->apart[i];
        cr_tensor *y = project(h, sources[i], weight, i, count);
        for (int p = 0; p < count; p++)
            parts[i + p] = head_view(y, p);
        i += count;
    }
}

/* ---- masks ---- */

/* What is added to the scores: -inf where a bool mask is true. */
static cr_tensor *additive(cr_tensor *mask)
{
    if (!mask || mask->dtype != CR_BOOL)
        return mask;
    cr_tensor *zeros =
        cr_zeros_with((cr_tensor_args){ .shape = mask->shape, .device = (cr_device)mask->device });
    return cr_masked_fill(zeros, mask, -INFINITY);
}

/* Both masks as one that broadcasts to (N, heads, L, S): bool, true where a key takes part, if
 * `as_bool` and both are; else what is added. NULL: none. */
static cr_status combine_masks(const struct heads *h, bool as_bool, cr_tensor **combined)
{
    cr_tensor *mask = h->args->attn_mask, *padding = h->args->key_padding_mask;
    int64_t batch = cr_dim(h->query, 0), keys = cr_dim(h->key, 1), queries = cr_dim(h->query, 1);
    if (padding && cr_ndim(padding) == 1)
        padding = cr_unsqueeze(padding, 0);
    if (check_mask(padding, "key_padding_mask", CR_SHAPE(batch, keys)) != CR_OK)
        return cr_error_status();
    if (mask && cr_ndim(mask) == 3) {
        if (check_mask(mask, "attn_mask", CR_SHAPE(batch * h->heads, queries, keys)) != CR_OK)
            return cr_error_status();
        mask = cr_unflatten(mask, 0, CR_SHAPE(batch, h->heads));
    } else if (check_mask(mask, "attn_mask", CR_SHAPE(queries, keys)) != CR_OK) {
        return cr_error_status();
    }
    padding = padding ? cr_unflatten(padding, 0, CR_SHAPE(batch, 1, 1)) : NULL;
    as_bool =
        as_bool && (!mask || mask->dtype == CR_BOOL) && (!padding || padding->dtype == CR_BOOL);
    cr_tensor *both[2] = { mask, padding };
    *combined = NULL;
    for (int i = 0; i < 2; i++) {
        if (!both[i])
            continue;
        cr_tensor *own = as_bool ? cr_logical_not(both[i]) : additive(both[i]);
        if (!*combined)
            *combined = own;
        else
            *combined = as_bool ? cr_logical_and(*combined, own) : cr_add(*combined, own);
    }
    return cr_error_status();
}

/* ---- attention ---- */

/* Without the kernel that keeps no scores: the weights are wanted. */
static cr_tensor *attend_openly(const struct heads *h, cr_tensor *const *parts, cr_tensor *mask,
                                cr_tensor **weights)
{
    cr_tensor *scaled = cr_mul_scalar(parts[0], 1 / sqrt((double)h->depth));
    cr_tensor *scores = cr_matmul(scaled, cr_transpose(parts[1], -2, -1));
    if (mask)
        scores = cr_add(scores, mask);
    if (h->args->is_causal) {
        cr_tensor *ones = cr_ones_with((cr_tensor_args){
            .shape = CR_SHAPE(cr_dim(h->query, 1), cr_dim(h->key, 1)), .dtype = CR_BOOL });
        scores = cr_masked_fill(scores, cr_triu(ones, 1), -INFINITY);
    }
    *weights = cr_functional_dropout(cr_softmax(scores, -1), h->dropout, h->dropout > 0);
    cr_tensor *output = cr_matmul(*weights, parts[2]);
    if (!h->args->per_head)
        *weights = cr_mean_dims(*weights, CR_SHAPE(1), false);
    return output;
}

static cr_tensor *attend(const struct heads *h, cr_tensor **weights)
{
    cr_tensor *parts[3] = { NULL }, *mask = NULL;
    const cr_multihead_attention_args *args = h->args;
    if (combine_masks(h, !args->need_weights, &mask) != CR_OK)
        return NULL;
    project_all(h, parts);
    cr_tensor *y;
    if (args->need_weights)
        y = attend_openly(h, parts, mask, weights);
    else
        y = cr_scaled_dot_product_attention(parts[0], parts[1], parts[2], .attn_mask = mask,
                                            .dropout_p = h->dropout, .is_causal = args->is_causal);
    return cr_flatten(cr_transpose(y, 1, 2), -2, -1);
}

/* out_proj, whose bias begins at 0. */
static cr_tensor *project_out(const struct heads *h, cr_tensor *x)
{
    cr_scope at = cr_at(h->at, "out_proj");
    cr_tensor *weight = cr_parameter(at, "weight", CR_SHAPE(h->embed, h->embed),
                                     (cr_init){ CR_INIT_KAIMING_UNIFORM, sqrt(5), 0 });
    cr_tensor *bias = h->args->no_bias ? NULL
                                       : cr_parameter(at, "bias", CR_SHAPE(h->embed),
                                                      (cr_init){ CR_INIT_ZEROS, 0, 0 });
    return cr_functional_linear(x, weight, bias);
}

cr_attended cr_multihead_attention_with(cr_scope at, const char *name,
                                        cr_multihead_attention_args args)
{
    cr_attended result = { NULL, NULL };
    if (!args.query || cr_failed())
        return result;
    struct layer layer = layer_begin(at, name, "MultiheadAttention", args.query);
    struct heads h = { .args = NULL };
    if (heads_open(&h, layer.at, &args) == CR_OK) {
        make_parameters(&h);
        cr_tensor *y = attend(&h, &result.weights);
        result.output = y ? project_out(&h, y) : NULL;
        if (cr_ndim(args.query) == 2) {
            result.output = cr_squeeze_dims(result.output, CR_SHAPE(0));
            result.weights = result.weights ? cr_squeeze_dims(result.weights, CR_SHAPE(0)) : NULL;
        }
    }
    cr_retain(result.weights);
    result.output = layer_end(layer, result.output);
    cr_frame_add(result.weights);
    return result;
}
