/* Layers that normalise, and dropout: those whose work depends on training or eval mode. */
#include "cresset/activation.h"
#include "cresset/normalization.h"
#include "nn/nn.h"

static cr_tensor *scale_parameter(cr_scope at, cr_shape shape)
{
    return cr_parameter(at, "weight", shape, (cr_init){ CR_INIT_CONSTANT, 1, 0 });
}

static cr_tensor *shift_parameter(cr_scope at, cr_shape shape)
{
    return cr_parameter(at, "bias", shape, (cr_init){ CR_INIT_ZEROS, 0, 0 });
}

/* ---- batch norm ---- */

/* Counts the batch and gives the weight that its statistics get. */
static double count_batch(cr_scope at, const cr_batch_norm_args *args,
                          const struct batch_norm_parameters *statistics)
{
    double momentum = args->momentum != 0 ? args->momentum : 0.1;
    int64_t *tracked = cr_data(statistics->tracked);
    if (!tracked)
        return momentum;
    ++*tracked;
    if (args->cumulative || model_cumulative_statistics(at.model))
        return 1 / (double)*tracked;
    return momentum;
}

/* The running statistics alone. */
static bool statistics_at(cr_scope at, int64_t channels, struct batch_norm_parameters *parameters)
{
    cr_shape shape = CR_SHAPE(channels);
    parameters->mean = cr_buffer(at, "running_mean", shape, CR_F32, 0);
    parameters->variance = cr_buffer(at, "running_var", shape, CR_F32, 1);
    parameters->tracked = cr_buffer(at, "num_batches_tracked", cr_shape_scalar(), CR_I64, 0);
    return !cr_failed();
}

bool batch_norm_parameters(cr_scope at, int64_t channels, struct batch_norm_parameters *parameters)
{
    parameters->weight = scale_parameter(at, CR_SHAPE(channels));
    parameters->bias = shift_parameter(at, CR_SHAPE(channels));
    return statistics_at(at, channels, parameters);
}

static cr_tensor *batch_norm_run(cr_scope at, const cr_batch_norm_args *args)
{
    bool training = cr_model_is_training(at.model);
    cr_functional_batch_norm_args call = { .x = args->x,
                                           .training = training,
                                           .relu = args->relu,
                                           .eps = args->eps,
                                           .residual = args->residual };
    cr_shape channels = CR_SHAPE(cr_dim(args->x, 1));
    struct batch_norm_parameters statistics = { 0 };
    if (!args->no_affine) {
        call.weight = scale_parameter(at, channels);
        call.bias = shift_parameter(at, channels);
    }
    if (args->no_running_stats) {
        call.training = true;
        return cr_functional_batch_norm_with(call);
    }
    if (!statistics_at(at, cr_dim(args->x, 1), &statistics))
        return NULL;
    /* Neither a run for shapes nor the second run of a checkpoint counts as a batch. */
    bool counts = training && cr_device_of(args->x) != CR_META && !cr_is_recomputing();
    if (counts)
        call.momentum = count_batch(at, args, &statistics);
    if (counts || !training) {
        call.running_mean = statistics.mean;
        call.running_var = statistics.variance;
    }
    return cr_functional_batch_norm_with(call);
}

cr_tensor *cr_batch_norm_with(cr_scope at, const char *name, cr_batch_norm_args args)
{
    static const char *const kinds[] = { "BatchNorm1d", "BatchNorm1d", "BatchNorm1d",
                                         "BatchNorm1d", "BatchNorm2d", "BatchNorm3d" };
    if (!args.x || cr_failed())
        return NULL;
    int ndim = cr_ndim(args.x);
    if (ndim < 2 || ndim >= CR_COUNT_OF(kinds)) {
        cr_error_set(CR_ERROR_SHAPE, "batch_norm: x must have 2 to 5 dimensions, not %d", ndim);
        return NULL;
    }
    struct layer layer = layer_begin(at, name, kinds[ndim], args.x);
    return layer_end(layer, batch_norm_run(layer.at, &args));
}

/* ---- the other norms ---- */

/* The last dimensions of x. */
static bool last_dims(const cr_tensor *x, int dims, cr_shape *shape)
{
    dims = dims ? dims : 1;
    if (dims < 1 || dims > cr_ndim(x)) {
        cr_error_set(CR_ERROR_SHAPE, "a norm over the last %d dimensions of a tensor of %d", dims,
                     cr_ndim(x));
        return false;
    }
    *shape = (cr_shape){ .ndim = dims };
    for (int d = 0; d < dims; d++)
        shape->dim[d] = cr_dim(x, d - dims);
    return true;
}

cr_tensor *cr_layer_norm_with(cr_scope at, const char *name, cr_layer_norm_args args)
{
    cr_shape shape;
    if (!args.x || cr_failed() || !last_dims(args.x, args.dims, &shape))
        return NULL;
    struct layer layer = layer_begin(at, name, "LayerNorm", args.x);
    cr_tensor *weight = args.no_affine ? NULL : scale_parameter(layer.at, shape);
    cr_tensor *bias = args.no_affine || args.no_bias ? NULL : shift_parameter(layer.at, shape);
    return layer_end(layer, cr_functional_layer_norm(args.x, shape, weight, bias, args.eps));
}

cr_tensor *cr_rms_norm_with(cr_scope at, const char *name, cr_layer_norm_args args)
{
    cr_shape shape;
    if (!args.x || cr_failed() || !last_dims(args.x, args.dims, &shape))
        return NULL;
    struct layer layer = layer_begin(at, name, "RMSNorm", args.x);
    cr_tensor *weight = args.no_affine ? NULL : scale_parameter(layer.at, shape);
    return layer_end(layer, cr_functional_rms_norm(args.x, shape, weight, args.eps));
}

cr_tensor *cr_group_norm_with(cr_scope at, const char *name, cr_group_norm_args args)
{
    if (!args.x || cr_failed())
        return NULL;
    struct layer layer = layer_begin(at, name, "GroupNorm", args.x);
    cr_shape channels = CR_SHAPE(cr_dim(args.x, 1));
    cr_tensor *weight = args.no_affine ? NULL : scale_parameter(layer.at, channels);
    cr_tensor *bias = args.no_affine ? NULL : shift_parameter(layer.at, channels);
    return layer_end(layer, cr_functional_group_norm(args.x, args.groups, weight, bias, args.eps));
}

cr_tensor *cr_instance_norm_with(cr_scope at, const char *name, cr_instance_norm_args args)
{
    if (!args.x || cr_failed())
        return NULL;
    struct layer layer = layer_begin(at, name, "InstanceNorm", args.x);
    cr_shape channels = CR_SHAPE(cr_dim(args.x, 1));
    cr_tensor *weight = args.affine ? scale_parameter(layer.at, channels) : NULL;
    cr_tensor *bias = args.affine ? shift_parameter(layer.at, channels) : NULL;
    return layer_end(layer, cr_functional_instance_norm(args.x, .weight = weight, .bias = bias,
                                                        .eps = args.eps));
}

/* ---- dropout ---- */

cr_tensor *cr_dropout(cr_scope at, cr_tensor *x, double p)
{
    if (!at.model || !cr_model_is_training(at.model) || p == 0)
        return cr_failed() ? NULL : x;
    return cr_functional_dropout(x, p, true);
}

cr_tensor *cr_dropout2d(cr_scope at, cr_tensor *x, double p)
{
    if (!at.model || !cr_model_is_training(at.model) || p == 0)
        return cr_failed() ? NULL : x;
    return cr_functional_dropout2d(x, p, true);
}

cr_tensor *cr_stochastic_depth(cr_scope at, cr_tensor *x, double p)
{
    if (!at.model || !cr_model_is_training(at.model) || p == 0)
        return cr_failed() ? NULL : x;
    return cr_functional_stochastic_depth(x, p, true);
}
