/* Distances and norms of vectors, and local response norm; written with other ops. */
#include <math.h>

#include "cresset/normalization.h"
#include "ops/ops.h"

struct distance_attributes {
    double p;
    double eps;
    int64_t dim;
    bool keepdim;
};

/* ---- normalize ---- */

static const cr_attribute normalize_table[] = {
    CR_ATTRIBUTE(struct distance_attributes, FLOAT, p),
    CR_ATTRIBUTE(struct distance_attributes, INT, dim),
    CR_ATTRIBUTE(struct distance_attributes, FLOAT, eps),
    CR_ATTRIBUTE_END,
};

static cr_tensor *normalize_of(const void *attributes, cr_tensor *const *in)
{
    const struct distance_attributes *options = attributes;
    cr_tensor *norm = cr_norm_dims(in[0], options->p, CR_SHAPE(options->dim), true);
    return cr_div(in[0], cr_clamp(norm, options->eps, INFINITY));
}

static cr_status normalize_compose(cr_compose_call *call)
{
    return compose_computed(call, normalize_of);
}

static const cr_op normalize_op = {
    .name = "normalize",
    .summary = "x divided by its norm along a dimension",
    .input_names = "x",
    .attributes = normalize_table,
    .attribute_size = sizeof(struct distance_attributes),
    .min_inputs = 1,
    .cast = CR_CAST_F32,
    .compose = normalize_compose,
};

cr_tensor *cr_normalize(cr_tensor *x, double p, int64_t dim, double eps)
{
    struct distance_attributes attributes = { .p = p, .eps = eps, .dim = dim };
    return cr_apply(&normalize_op, CR_INPUTS(x), &attributes);
}

/* ---- cosine_similarity ---- */

static const cr_attribute cosine_table[] = {
    CR_ATTRIBUTE(struct distance_attributes, INT, dim),
    CR_ATTRIBUTE(struct distance_attributes, FLOAT, eps),
    CR_ATTRIBUTE_END,
};

static cr_tensor *unit(cr_tensor *x, const struct distance_attributes *options)
{
    cr_tensor *norm = cr_norm_dims(x, 2, CR_SHAPE(options->dim), true);
    return cr_div(x, cr_clamp(norm, options->eps, INFINITY));
}

static cr_tensor *cosine_of(const void *attributes, cr_tensor *const *in)
{
    const struct distance_attributes *options = attributes;
    cr_shape shape;
    if (shape_broadcast(&in[0]->shape, &in[1]->shape, &shape) != CR_OK)
        return NULL;
    cr_tensor *a = unit(cr_expand(in[0], shape), options);
    cr_tensor *b = unit(cr_expand(in[1], shape), options);
    return cr_sum_dims(cr_mul(a, b), CR_SHAPE(options->dim), false);
}

static cr_status cosine_compose(cr_compose_call *call)
{
    return compose_computed(call, cosine_of);
}

static const cr_op cosine_similarity_op = {
    .name = "cosine_similarity",
    .summary = "the cosine of the angle between vectors along a dimension",
    .input_names = "x1 x2",
    .attributes = cosine_table,
    .attribute_size = sizeof(struct distance_attributes),
    .min_inputs = 2,
    .cast = CR_CAST_F32,
    .compose = cosine_compose,
};

cr_tensor *cr_cosine_similarity(cr_tensor *x1, cr_tensor *x2, int64_t dim, double eps)
{
    struct distance_attributes attributes = { .eps = eps, .dim = dim };
    return cr_apply(&cosine_similarity_op, CR_INPUTS(x1, x2), &attributes);
}

/* ---- pairwise_distance ---- */

static const cr_attribute pairwise_table[] = {
    CR_ATTRIBUTE(struct distance_attributes, FLOAT, p),
    CR_ATTRIBUTE(struct distance_attributes, FLOAT, eps),
    CR_ATTRIBUTE(struct distance_attributes, BOOL, keepdim),
    CR_ATTRIBUTE_END,
};

static cr_tensor *pairwise_of(const void *attributes, cr_tensor *const *in)
{
    const struct distance_attributes *options = attributes;
    cr_tensor *difference = cr_add_scalar(cr_sub(in[0], in[1]), options->eps);
    return cr_norm_dims(difference, options->p, CR_SHAPE(-1), options->keepdim);
}

static cr_status pairwise_compose(cr_compose_call *call)
{
    return compose_computed(call, pairwise_of);
}

static const cr_op pairwise_distance_op = {
    .name = "pairwise_distance",
    .summary = "the norm of x1 - x2 + eps along the last dimension",
    .input_names = "x1 x2",
    .attributes = pairwise_table,
    .attribute_size = sizeof(struct distance_attributes),
    .min_inputs = 2,
    .cast = CR_CAST_F32,
    .compose = pairwise_compose,
};

cr_tensor *cr_pairwise_distance(cr_tensor *x1, cr_tensor *x2, double p, double eps, bool keepdim)
{
    struct distance_attributes attributes = { .p = p, .eps = eps, .keepdim = keepdim };
    return cr_apply(&pairwise_distance_op, CR_INPUTS(x1, x2), &attributes);
}

/* ---- local_response_norm ---- */

struct response_attributes {
    int64_t size;
    double alpha;
    double beta;
    double k;
};

static const cr_attribute response_table[] = {
    CR_ATTRIBUTE(struct response_attributes, INT, size),
    CR_ATTRIBUTE(struct response_attributes, FLOAT, alpha),
    CR_ATTRIBUTE(struct response_attributes, FLOAT, beta),
    CR_ATTRIBUTE(struct response_attributes, FLOAT, k),
    CR_ATTRIBUTE_END,
};

/* The squares of channel c are added to those of c + shift. */
static cr_tensor *shifted(cr_tensor *squares, int64_t shift)
{
    int64_t channels = squares->shape.dim[1];
    int64_t by = CR_MIN(shift < 0 ? -shift : shift, channels);
    cr_shape zeros = squares->shape;
    zeros.dim[1] = by;
    cr_tensor *fill = cr_zeros_with((cr_tensor_args){
        .shape = zeros, .dtype = (cr_dtype)squares->dtype, .device = (cr_device)squares->device });
    cr_tensor *rest = cr_narrow(squares, 1, shift < 0 ? by : 0, channels - by);
    return shift < 0 ? cr_cat_of(1, rest, fill) : cr_cat_of(1, fill, rest);
}

static cr_tensor *response_of(const void *attributes, cr_tensor *const *in)
{
    const struct response_attributes *options = attributes;
    if (require_ndim(in[0], "x", 3, CR_MAX_DIMS) != CR_OK)
        return NULL;
    if (options->size < 1) {
        cr_error_set(CR_ERROR_ARGUMENT, "size %lld is not above 0", (long long)options->size);
        return NULL;
    }
    cr_tensor *squares = cr_square(in[0]);
    cr_tensor *sum = squares;
    int64_t before = options->size / 2;
    for (int64_t i = -(options->size - 1 - before); squares && i <= before; i++) {
        if (i != 0)
            sum = cr_add(sum, shifted(squares, i));
    }
    cr_tensor *mean = cr_mul_scalar(sum, options->alpha / (double)options->size);
    return cr_div(in[0], cr_pow_scalar(cr_add_scalar(mean, options->k), options->beta));
}

static cr_status response_compose(cr_compose_call *call)
{
    return compose_computed(call, response_of);
}

static const cr_op local_response_norm_op = {
    .name = "local_response_norm",
    .summary = "x divided by a power of the squares of neighbouring channels",
    .input_names = "x",
    .attributes = response_table,
    .attribute_size = sizeof(struct response_attributes),
    .min_inputs = 1,
    .compose = response_compose,
};

cr_tensor *cr_local_response_norm(cr_tensor *x, int64_t size, double alpha, double beta, double k)
{
    struct response_attributes attributes = { size, alpha, beta, k };
    return cr_apply(&local_response_norm_op, CR_INPUTS(x), &attributes);
}

OP_FAMILY(distance_ops) = {
    &normalize_op, &cosine_similarity_op, &pairwise_distance_op, &local_response_norm_op, NULL,
};
