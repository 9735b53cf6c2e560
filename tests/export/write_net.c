/* Writes a net as C with random weights, an input and what the library makes of it, for
 * test_c_export.py: write_net NAME FOLDER [LANES] [file]. NAME is a net of this file, which between
 * them have every op that can be written, or ARCHITECTURE:SIZE of the zoo. Refusals go to standard
 * error with exit status 1. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/cresset.h"

typedef struct net {
    const char *name;
    cr_model_function function;
    cr_shape sample;
} net;

static cr_tensor *convolutions(cr_scope at, cr_tensor *x, const void *settings)
{
    (void)settings;
    x = cr_conv2d(at, "dilated", x, .out = 12, .kernel = 3, .padding = 2, .dilation = 2);
    x = cr_silu(cr_group_norm(at, "gn", x, .groups = 3));
    x = cr_conv2d(at, "grouped", x, .out = 18, .kernel = 3, .stride = 2, .padding = 1, .groups = 3);
    x = cr_relu(cr_batch_norm(at, "bn", x));
    x = cr_conv_transpose2d(at, "up", x, .out = 10, .kernel = 3, .stride = 2, .padding = 1,
                            .output_padding = 1, .groups = 2);
    cr_tensor *y = cr_conv2d(at, "depthwise", x, .out = 10, .kernel = 5, .padding = 2, .groups = 10,
                             .no_bias = true);
    y = cr_add(cr_batch_norm(at, "bn2", y), x);
    y = cr_hardswish(cr_conv2d(at, "deep", y, .out = 40, .kernel = 1));
    y = cr_conv2d(at, "deep2", y, .out = 40, .kernel = 3, .groups = 40, .padding = 1);
    y = cr_relu(cr_batch_norm(at, "bn3", cr_instance_norm(at, "in", y)));
    return cr_flatten(
        cr_conv1d(at, "line", cr_flatten(y, 2, 3), .out = 3, .kernel = 4, .stride = 3), 1, -1);
}

static cr_tensor *moves(cr_scope at, cr_tensor *x, const void *settings)
{
    (void)settings;
    x = cr_conv2d(at, "conv", x, .out = 8, .kernel = 3, .padding = 1);
    cr_tensor *a = cr_channel_shuffle(x, 4);
    cr_tensor *b = cr_roll(x, CR_SHAPE(1, -2), CR_SHAPE(2, 3));
    cr_tensor *c = cr_flip(cr_slice(x, 1, 1, 8, 3), CR_SHAPE(3));
    x = cr_cat_of(1, a, b, c);
    x = cr_pad(x, CR_SHAPE(1, 2, 0, 1), CR_PAD_CONSTANT, 0.5);
    x = cr_pixel_unshuffle(cr_narrow(cr_narrow(x, 2, 0, 12), 3, 0, 12), 2);
    cr_tensor *index = cr_from_buffer((int64_t[]){ 3, 0, 3, 11 }, CR_SHAPE(4), CR_I64);
    x = cr_cat_of(1, x, cr_index_select(x, 1, index));
    x = cr_interpolate(x, .size = CR_SHAPE(9, 7), .mode = CR_INTERPOLATE_BILINEAR);
    x = cr_interpolate(x, .scale_factor = 1.5, .mode = CR_INTERPOLATE_NEAREST);
    x = cr_interpolate(x, .size = CR_SHAPE(6, 5), .mode = CR_INTERPOLATE_BILINEAR,
                       .align_corners = true);
    return cr_permute(cr_expand(cr_unsqueeze(cr_select(x, 1, 5), 1), CR_SHAPE(-1, 2, -1, -1)),
                      CR_SHAPE(0, 3, 1, 2));
}

static cr_tensor *elements(cr_scope at, cr_tensor *x, const void *settings)
{
    (void)settings;
    cr_tensor *positive = cr_add_scalar(cr_abs(x), 0.25);
    cr_tensor *parts[] = {
        cr_relu(x),
        cr_relu6(cr_mul_scalar(x, 5)),
        cr_sigmoid(x),
        cr_silu(x),
        cr_hardsigmoid(x),
        cr_hardswish(x),
        cr_gelu(x, CR_GELU_NONE),
        cr_gelu(x, CR_GELU_TANH),
        cr_mish(x),
        cr_softsign(x),
        cr_tanh(x),
        cr_exp(x),
        cr_log(positive),
        cr_sqrt(positive),
        cr_rsqrt(positive),
        cr_erf(x),
        cr_neg(x),
        cr_square(x),
        cr_reciprocal(positive),
        cr_clamp(x, -0.5, 0.5),
        cr_hardtanh(x, -0.25, 1),
        cr_leaky_relu(x, 0.1),
        cr_elu(x, 1.5),
        cr_selu(x),
        cr_softplus(x, 2, 1),
        cr_sub(x, positive),
        cr_div(x, positive),
        cr_pow_scalar(positive, 1.5),
        cr_maximum(x, positive),
        cr_minimum(x, positive),
        cr_prelu(at, "prelu", x, 3),
        cr_mul(x, cr_amax(x, CR_SHAPE(2, 3), true)),
    };
    return cr_cat(parts, (int)(sizeof parts / sizeof *parts), 1);
}

static cr_tensor *reductions(cr_scope at, cr_tensor *x, const void *settings)
{
    (void)settings;
    x = cr_conv2d(at, "conv", x, .out = 6, .kernel = 3, .padding = 1);
    cr_tensor *a = cr_max_pool2d(x, .kernel = 3, .stride = 2, .padding = 1, .ceil_mode = true);
    cr_tensor *b = cr_avg_pool2d(x, .kernel = 3, .stride = 2, .padding = 1, .ceil_mode = true);
    cr_tensor *c = cr_avg_pool2d(x, .kernel = 2, .count_exclude_pad = true);
    cr_tensor *flat[] = {
        cr_flatten(a, 1, -1),
        cr_flatten(b, 1, -1),
        cr_flatten(c, 1, -1),
        cr_flatten(cr_adaptive_avg_pool2d(x, CR_SHAPE(5, 3)), 1, -1),
        cr_flatten(cr_adaptive_max_pool2d(x, CR_SHAPE(4, 4), NULL), 1, -1),
        cr_flatten(cr_softmax(x, 1), 1, -1),
        cr_flatten(cr_log_softmax(x, 3), 1, -1),
        cr_mean_dims(x, CR_SHAPE(2, 3), false),
        cr_flatten(cr_sum_dims(x, CR_SHAPE(1), false), 1, -1),
        cr_flatten(cr_mean_dims(x, CR_SHAPE(1, 3), true), 1, -1),
        cr_flatten(cr_norm_dims(x, 2, CR_SHAPE(2), false), 1, -1),
        cr_flatten(cr_amin(x, CR_SHAPE(1, 2), false), 1, -1),
    };
    return cr_cat(flat, (int)(sizeof flat / sizeof *flat), 1);
}

/* Shifted windows of 2 × 3 in an image of 4 × 6, then attention over all tokens. */
static cr_tensor *attention(cr_scope at, cr_tensor *x, const void *settings)
{
    enum { HEIGHT = 4, WIDTH = 6, DIM = 16, HEADS = 2, COUNT = 4, SIZE = 6 };
    (void)settings;
    int64_t rows[COUNT * SIZE];
    float mask[COUNT * SIZE * SIZE];
    for (int i = 0; i < COUNT * SIZE; i++) {
        int window = i / SIZE, inside = i % SIZE;
        int y = (window / 2 * 2 + inside / 3 + 1) % HEIGHT;
        rows[i] = y * WIDTH + (window % 2 * 3 + inside % 3 + 1) % WIDTH;
    }
    for (int i = 0; i < COUNT * SIZE * SIZE; i++)
        mask[i] = i % 5 == 0 ? -100 : 0;
    x = cr_conv2d(at, "embed", x, .out = DIM, .kernel = 3, .stride = 3);
    x = cr_transpose(cr_flatten(x, 2, 3), 1, 2);
    cr_tensor *qkv = cr_linear(at, "qkv", cr_layer_norm(at, "ln", x), .out = 3 * DIM);
    qkv = cr_view(qkv, CR_SHAPE(-1, HEIGHT * WIDTH, 3, HEADS, DIM / HEADS));
    cr_tensor *bias =
        cr_parameter(at, "bias", CR_SHAPE(HEADS, SIZE, SIZE), (cr_init){ CR_INIT_NORMAL, 0, 1 });
    cr_tensor *y = cr_window_attention(
        qkv, .windows = cr_from_buffer(rows, CR_SHAPE(COUNT, SIZE), CR_I64), .bias = bias,
        .mask = cr_from_buffer(mask, CR_SHAPE(COUNT, SIZE, SIZE), CR_F32));
    x = cr_add(x, cr_linear(at, "out", cr_flatten(y, 2, 3), .out = DIM));
    x = cr_transformer_encoder_layer(at, "layer", x, .heads = HEADS, .feedforward = 20,
                                     .gelu = true);
    x = cr_rms_norm(at, "rms", x);
    return cr_matmul(x, cr_transpose(x, 1, 2));
}

static cr_tensor *refused(cr_scope at, cr_tensor *x, const void *settings)
{
    (void)at;
    (void)settings;
    return cr_add(cr_cumsum(x, 1), cr_sin(cr_sin(x)));
}

static const net nets[] = {
    { "convolutions", convolutions, { 3, { 3, 11, 9 } } },
    { "moves", moves, { 3, { 3, 11, 10 } } },
    { "elements", elements, { 3, { 3, 4, 5 } } },
    { "reductions", reductions, { 3, { 3, 9, 8 } } },
    { "attention", attention, { 3, { 3, 12, 18 } } },
    { "refused", refused, { 3, { 3, 4, 4 } } },
};

/* Statistics of norms, and parameters that begin at zero, at random. */
static void scatter(cr_model *model)
{
    cr_manual_seed(5);
    for (int i = 0; i < cr_model_tensor_count(model); i++) {
        cr_named_tensor named = cr_model_tensor_at(model, i);
        float *data = cr_dtype_of(named.tensor) == CR_F32 ? cr_data(named.tensor) : NULL;
        cr_tensor *noise = data ? cr_rand(cr_shape_of(named.tensor)) : NULL;
        bool is_variance = strstr(named.name, "running_var") != NULL;
        for (int64_t k = 0; noise && k < cr_numel(named.tensor); k++)
            data[k] += ((const float *)cr_data(noise))[k] * (is_variance ? 0.5F : 0.05F);
        cr_mark_written(named.tensor);
    }
}

static int save(const char *folder, const char *name, cr_tensor *tensor)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    tensor = cr_contiguous(tensor);
    FILE *file = tensor ? fopen(path, "wb") : NULL;
    if (!file)
        return 1;
    fwrite(cr_data(tensor), sizeof(float), (size_t)cr_numel(tensor), file);
    return fclose(file);
}

static int write_net(const net *chosen, const void *settings, const char *folder, cr_c_args args)
{
    cr_model *model = cr_model_new(.seed = 1);
    cr_shape shape = { .ndim = chosen->sample.ndim + 1, .dim = { 1 } };
    memcpy(shape.dim + 1, chosen->sample.dim, sizeof(int64_t) * (size_t)chosen->sample.ndim);
    cr_model_train(model, false);
    cr_set_grad_enabled(false);
    cr_graph *graph = cr_graph_trace(model, .function = chosen->function, .settings = settings,
                                     .sample = chosen->sample);
    scatter(model);
    cr_c_report report = { 0 };
    cr_tensor *x = cr_randn(shape);
    if (graph && cr_graph_save_c(graph, folder, args, &report) == CR_OK &&
        (save(folder, "input.raw", x) ||
         save(folder, "expected.raw", chosen->function(cr_root(model), x, settings))))
        cr_error_set(CR_ERROR_IO, "%s cannot be written", folder);
    cr_graph_free(graph);
    cr_model_free(model);
    if (cr_failed())
        fprintf(stderr, "%s\n", cr_error_message());
    else
        printf("%lld %lld\n", (long long)report.arena_bytes, (long long)report.weight_bytes);
    return cr_failed();
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    cr_frame frame = cr_frame_begin();
    cr_c_args args = { .name = argv[1], .lanes = argc > 3 ? atoi(argv[3]) : 0 };
    args.weights = argc > 4 ? CR_C_WEIGHTS_FILE : CR_C_WEIGHTS_ARRAY;
    cr_bound_architecture bound = { 0 };
    net chosen = { argv[1], cr_run_architecture, { 0 } };
    char name[64];
    int status = 1, size = 0;
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        if (strcmp(nets[i].name, argv[1]) == 0)
            chosen = nets[i];
    }
    if (chosen.function == cr_run_architecture && sscanf(argv[1], "%63[^:]:%d", name, &size) == 2) {
        bound.architecture = cr_architecture_find(name);
        if (bound.architecture)
            chosen.sample = CR_SHAPE(bound.architecture->input.dim[0], size, size);
    }
    if (chosen.sample.ndim)
        status = write_net(&chosen, &bound, argv[2], args);
    cr_frame_end(frame);
    return status;
}
