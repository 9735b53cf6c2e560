/* The parts that architectures of images share. */
#include "models/parts.h"
#include "cresset/op.h"
#include "cresset/ops.h"

cr_tensor *part_next_with(cr_scope at, cr_block_function function, const void *settings,
                          size_t size, cr_tensor *x)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *y = cr_retain(cr_block_with(at, function, settings, size, (cr_tensor *[]){ x }, 1));
    cr_frame_end(frame);
    cr_release(x);
    return y;
}

cr_tensor *part_pool(cr_tensor *x)
{
    cr_tensor *pooled = cr_flatten(cr_adaptive_avg_pool2d(x, CR_SHAPE(1, 1)), 1, -1);
    cr_release(x);
    return pooled;
}

cr_tensor *part_transform(cr_tensor *x)
{
    static const double means[] = { 0.485, 0.456, 0.406 }, deviations[] = { 0.229, 0.224, 0.225 };
    cr_tensor *channels[3];
    for (int c = 0; c < 3; c++) {
        cr_tensor *own = cr_mul_scalar(cr_narrow(x, 1, c, 1), deviations[c] / 0.5);
        channels[c] = cr_add_scalar(own, (means[c] - 0.5) / 0.5);
    }
    return cr_cat(channels, 3, 1);
}

cr_tensor *part_squeeze(cr_scope at, cr_tensor *x, part_squeeze_args args)
{
    cr_tensor *scale = cr_adaptive_avg_pool2d(x, CR_SHAPE(1, 1));
    scale = cr_conv2d(at, "fc1", scale, .out = args.squeeze, .kernel = 1);
    scale = args.silu ? cr_silu(scale) : cr_relu(scale);
    scale = cr_conv2d(at, "fc2", scale, .out = cr_dim(x, 1), .kernel = 1);
    return cr_mul(x, args.hard ? cr_hardsigmoid(scale) : cr_sigmoid(scale));
}

cr_tensor *part_join(cr_scope at, cr_tensor *x, cr_tensor *branch, double drop)
{
    return cr_add(x, cr_stochastic_depth(at, branch, drop));
}

bool part_is_kept(cr_scope at, double drop)
{
    return drop == 0 || !cr_model_is_training(at.model);
}

static void shapes_alone(cr_scope at, cr_block_function head, const cr_tensor *x, int64_t size,
                         const cr_model_settings *settings)
{
    cr_observation was = cr_observe((cr_observation){ 0 });
    cr_frame frame = cr_frame_begin();
    cr_tensor *usual = cr_empty(CR_SHAPE(2, cr_dim(x, 1), size, size), .device = CR_META);
    head(at, &usual, settings);
    cr_frame_end(frame);
    cr_observe(was);
}

void part_auxiliary(cr_scope at, cr_block_function head, cr_tensor *x, int64_t size,
                    const cr_model_settings *settings)
{
    cr_auxiliary *auxiliary = settings->auxiliary;
    if (!x)
        return;
    if (cr_device_of(x) == CR_META)
        shapes_alone(at, head, x, size, settings);
    else if (auxiliary && cr_model_is_training(at.model))
        auxiliary->logits[auxiliary->count++] = head(at, &x, settings);
}

int64_t part_divisible(double channels, int64_t divisor)
{
    int64_t rounded = (int64_t)(channels + (double)divisor / 2) / divisor * divisor;
    rounded = rounded > divisor ? rounded : divisor;
    return (double)rounded < 0.9 * channels ? rounded + divisor : rounded;
}

double part_dropout(const cr_model_settings *settings, double usual)
{
    if (settings->no_dropout)
        return 0;
    return settings->dropout != 0 && !settings->head ? settings->dropout : usual;
}

bool part_is_new(cr_scope at)
{
    return cr_model_tensor_count(at.model) == 0;
}

void part_init_convolutions(cr_scope at)
{
    cr_model_init_weights(at.model, "*.bias", 1, (cr_init){ CR_INIT_ZEROS, 0, 0 });
    cr_model_init_weights(at.model, "*.weight", 4, (cr_init){ CR_INIT_KAIMING_NORMAL, 0, 1 });
}

void part_init_linear(cr_scope at, double deviation)
{
    cr_model_init_weights(at.model, "*.bias", 1, (cr_init){ CR_INIT_ZEROS, 0, 0 });
    if (deviation != 0)
        cr_model_init_weights(at.model, "*.weight", 2, (cr_init){ CR_INIT_NORMAL, 0, deviation });
}
