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

COMPUTED_OP(normalize, "normalize", "x divided by its norm along a dimension", "x", normalize_table,
            distance_attributes, 1, 1, CR_CAST_F32)

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

COMPUTED_OP(cosine, "cosine_similarity",
            "the cosine of the angle between vectors along a dimension", "x1 x2", cosine_table,
            distance_attributes, 2, 2, CR_CAST_F32)

cr_tensor *cr_cosine_similarity(cr_tensor *x1, cr_tensor *x2, int64_t dim, double eps)
{
    struct distance_attributes attributes = { .eps = eps, .dim = dim };
    return cr_apply(&cosine_op, CR_INPUTS(x1, x2), &attributes);
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

COMPUTED_OP(pairwise, "pairwise_distance", "the norm of x1 - x2 + eps along the last dimension",
            "x1 x2", pairwise_table, distance_attributes, 2, 2, CR_CAST_NONE)

cr_tensor *cr_pairwise_distance(cr_tensor *x1, cr_tensor *x2, double p, double eps, bool keepdim)
{
    struct distance_attributes attributes = { .p = p, .eps = eps, .keepdim = keepdim };
    return cr_apply(&pairwise_op, CR_INPUTS(x1, x2), &attributes);
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
    int64_t farthest = in[0]->shape.dim[1] - 1; /* what is shifted further is all zeros */
    int64_t first = -CR_MIN(options->size - 1 - before, farthest);
    for (int64_t i = first; squares && i <= CR_MIN(before, farthest); i++) {
        if (i != 0)
            sum = cr_add(sum, shifted(squares, i));
    }
    cr_tensor *mean = cr_mul_scalar(sum, options->alpha / (double)options->size);
    return cr_div(in[0], cr_pow_scalar(cr_add_scalar(mean, options->k), options->beta));
}

COMPUTED_OP(response, "local_response_norm",
            "x divided by a power of the squares of neighbouring channels", "x", response_table,
            response_attributes, 1, 1, CR_CAST_NONE)

cr_tensor *cr_local_response_norm(cr_tensor *x, int64_t size, double alpha, double beta, double k)
{
    struct response_attributes attributes = { size, alpha, beta, k };
    return cr_apply(&response_op, CR_INPUTS(x), &attributes);
}

OP_FAMILY(distance_ops) = {
    &normalize_op, &cosine_op, &pairwise_op, &response_op, NULL,
};
