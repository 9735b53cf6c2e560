/* The driver of convolution: states forward and both gradients as matrix products whose packers
 * read images, and runs depthwise convolutions by their own loops. */
#include "kernels/conv/conv.h"

#include <string.h>

#define ELEMENTS_PER_PART (1 << 14) /* of a loop over channels */

const cr_conv_kernels *cr_conv_kernels_of(cr_gemm_type type)
{
    return &(*CR_KERNELS_IN_USE(cr_conv_kernels))[type];
}

static int64_t volume(const int64_t size[CR_CONV_DIMS])
{
    return size[0] * size[1] * size[2];
}

static bool is_depthwise(const cr_conv *c)
{
    return c->groups > 1 && c->in_channels == c->groups;
}

/* Depthwise, of a type whose planes are widened first. */
static bool is_half_depthwise(const cr_conv *c)
{
    return is_depthwise(c) && (c->type == CR_GEMM_BF16 || c->type == CR_GEMM_F16);
}

static int64_t group_in(const cr_conv *c)
{
    return c->in_channels / c->groups;
}

static int64_t group_out(const cr_conv *c)
{
    return c->out_channels / c->groups;
}

/* ---- depthwise ---- */

static void depthwise_forward(int64_t begin, int64_t end, void *context)
{
    const cr_depthwise *call = context;
    const cr_depthwise_kernels *planes = CR_KERNELS_IN_USE(cr_depthwise_kernels);
    if (planes->suits(call->conv, false))
        planes->forward(call, begin, end);
    else
        cr_conv_kernels_of(call->conv->type)->depthwise_forward(call, begin, end);
}

static void depthwise_data(int64_t begin, int64_t end, void *context)
{
    const cr_depthwise *call = context;
    const cr_depthwise_kernels *planes = CR_KERNELS_IN_USE(cr_depthwise_kernels);
    if (call->conv->out_channels == call->conv->groups && planes->suits(call->conv, true))
        planes->data(call, begin, end);
    else
        cr_conv_kernels_of(call->conv->type)->depthwise_data(call, begin, end);
}

static void depthwise_weight(int64_t begin, int64_t end, void *context)
{
    const cr_depthwise *call = context;
    const cr_depthwise_kernels *planes = CR_KERNELS_IN_USE(cr_depthwise_kernels);
    if (planes->suits(call->conv, false))
        planes->weight(call, begin, end);
    else
        cr_conv_kernels_of(call->conv->type)->depthwise_weight(call, begin, end);
}

/* How many of `count` planes of `work` elements one part of a loop takes. */
static int64_t part_of(int64_t work)
{
    return CR_MAX(ELEMENTS_PER_PART / CR_MAX(work, 1), 1);
}

/* ---- forward ---- */

static cr_patches forward_patches(const cr_conv *c, const void *input)
{
    int64_t in = volume(c->input);
    cr_patches p = { .source = input,
                     .batch_stride = c->in_channels * in,
                     .channel_stride = in,
                     .group_stride = group_in(c) * in,
                     .kernels = cr_gemm_kernels_of(c->type) };
    for (int d = 0; d < CR_CONV_DIMS; d++) {
        p.grid[d] = c->output[d];
        p.step[d] = c->stride[d];
        p.size[d] = c->input[d];
        p.taps[d] = c->kernel[d];
        p.origin[d] = -c->padding[d];
        p.tap_step[d] = c->dilation[d];
    }
    return p;
}

/* Rows are the output channels of a group, columns the positions of all images. */
static cr_gemm forward_product(const cr_conv *c, const cr_patches *patches, const void *weight,
                               const cr_epilogue *epilogue, void *output)
{
    int64_t out = volume(c->output), k = group_in(c) * volume(c->kernel);
    cr_gemm g = { .type = c->type,
                  .m = group_out(c),
                  .n = c->batch * out,
                  .k = k,
                  .batch = c->groups,
                  .alpha = 1,
                  .c = output,
                  .c_stride = out,
                  .c_block = out,
                  .c_block_stride = c->out_channels * out,
                  .c_batch_stride = group_out(c) * out,
                  .bias_float = c->bias_float,
                  .bias_batch_stride = group_out(c) };
    g.a = (cr_gemm_operand){
        .data = weight, .stride = k, .k_stride = 1, .batch_stride = group_out(c) * k
    };
    g.b = (cr_gemm_operand){ .packer = cr_conv_kernels_of(c->type)->pack_patches,
                             .context = patches };
    if (epilogue)
        g.epilogue = *epilogue;
    return g;
}

/* The same as one phase of points. */
static cr_points_phase forward_phase(const cr_conv *c, const void *input, const void *weight)
{
    int64_t taps = volume(c->kernel);
    cr_points_phase f = {
        .patches = forward_patches(c, input),
        .weight = { .weight = weight, .channel_stride = taps, .row_stride = c->in_channels * taps }
    };
    int64_t stride = 1;
    for (int d = CR_CONV_DIMS - 1; d >= 0; d--) {
        f.weight.taps[d] = c->kernel[d];
        f.weight.step[d] = 1;
        f.weight.tap_stride[d] = stride;
        stride *= c->kernel[d];
    }
    return f;
}

/* ---- which algorithm computes forward ---- */

typedef enum algorithm {
    DEPTHWISE,
    WINOGRAD,
    POINTWISE,
    POINTS,
    PAIRS,
    PRODUCT,
    CHANNELS_LAST
} algorithm;

static algorithm forward_algorithm(const cr_conv *conv)
{
    if (is_depthwise(conv))
        return conv->channels_last ? CHANNELS_LAST : DEPTHWISE;
    if (cr_winograd_suits(conv, false))
        return WINOGRAD;
    if (conv->channels_last)
        return CHANNELS_LAST;
    if (cr_pointwise_suits(conv))
        return POINTWISE;
    if (cr_pair_images_suit(conv, false))
        return PAIRS;
    return cr_points_suits(conv, false) ? POINTS : PRODUCT;
}

size_t cr_conv_prepared_size(const cr_conv *conv)
{
    switch (forward_algorithm(conv)) {
    case WINOGRAD:
        return cr_winograd_prepared_size(conv, false);
    case POINTWISE:
        return cr_pointwise_prepared_size(conv);
    case POINTS: {
        cr_points_phase phase = forward_phase(conv, NULL, NULL);
        return cr_points_prepared_size(conv, false, &phase, 1);
    }
    case PAIRS: {
        cr_points_phase phase = forward_phase(conv, NULL, NULL);
        return cr_pair_images_prepared_size(conv, false, &phase, 1);
    }
    case CHANNELS_LAST:
        return cr_channels_last_prepared_size(conv);
    default:
        return 0;
    }
}

unsigned cr_conv_prepared_form(const cr_conv *conv)
{
    return (unsigned)forward_algorithm(conv) * CR_ISA_COUNT + (unsigned)cr_isa_in_use();
}

void cr_conv_prepare(const cr_conv *conv, const void *weight, void *prepared)
{
    switch (forward_algorithm(conv)) {
    case WINOGRAD:
        cr_winograd_prepare(conv, false, weight, NULL, prepared);
        break;
    case CHANNELS_LAST:
        cr_channels_last_prepare(conv, weight, NULL, prepared);
        break;
    case POINTWISE:
        cr_pointwise_prepare(conv, weight, prepared);
        break;
    case POINTS: {
        cr_points_phase phase = forward_phase(conv, NULL, weight);
        cr_points_prepare(conv, false, &phase, 1, prepared);
        break;
    }
    case PAIRS: {
        cr_points_phase phase = forward_phase(conv, NULL, weight);
        cr_pair_images_prepare(conv, false, &phase, 1, prepared);
        break;
    }
    default:
        break;
    }
}

bool cr_conv_prepare_scaled(const cr_conv *conv, const float *weight, const float *scale,
                            void *prepared)
{
    switch (forward_algorithm(conv)) {
    case WINOGRAD:
        cr_winograd_prepare(conv, false, weight, scale, prepared);
        return true;
    case CHANNELS_LAST:
        cr_channels_last_prepare(conv, weight, scale, prepared);
        return true;
    default:
        return false;
    }
}

/* What an algorithm needs beside prepared weights. */
static size_t algorithm_workspace(const cr_conv *conv)
{
    switch (forward_algorithm(conv)) {
    case DEPTHWISE:
        return 0;
    case WINOGRAD:
        return cr_winograd_workspace(conv, false);
    case CHANNELS_LAST:
        return cr_channels_last_workspace(conv);
    case POINTWISE:
        return cr_pointwise_workspace(conv);
    case POINTS: {
        cr_points_phase phase = forward_phase(conv, NULL, NULL);
        return cr_points_workspace(conv, false, &phase, 1);
    }
    case PAIRS: {
        cr_points_phase phase = forward_phase(conv, NULL, NULL);
        return cr_pair_images_workspace(conv, false, &phase, 1);
    }
    default: {
        cr_patches patches = forward_patches(conv, NULL);
        cr_gemm g = forward_product(conv, &patches, NULL, NULL, NULL);
        return cr_gemm_workspace(&g);
    }
    }
}

size_t cr_conv_forward_workspace(const cr_conv *conv)
{
    if (is_half_depthwise(conv))
        return cr_depthwise_half_workspace(conv);
    return cr_conv_prepared_size(conv) + algorithm_workspace(conv);
}

size_t cr_conv_prepared_workspace(const cr_conv *conv)
{
    return is_half_depthwise(conv) ? cr_depthwise_half_workspace(conv) : algorithm_workspace(conv);
}

static void forward_depthwise(const cr_conv *conv, const void *input, const void *weight,
                              const cr_epilogue *epilogue, void *output)
{
    cr_depthwise call = {
        .conv = conv, .input = input, .weight = weight, .result = output, .epilogue = epilogue
    };
    cr_parallel_for(conv->batch * conv->out_channels, part_of(volume(conv->output)),
                    depthwise_forward, &call);
}

void cr_conv_forward(const cr_conv *conv, const void *input, const void *weight,
                     const void *prepared, const cr_epilogue *epilogue, void *output,
                     void *workspace)
{
    if (is_half_depthwise(conv)) {
        cr_depthwise_half_run(conv, input, weight, NULL, epilogue, output, workspace);
        return;
    }
    if (!prepared) {
        prepared = workspace;
        cr_conv_prepare(conv, weight, workspace);
        workspace = (char *)workspace + cr_conv_prepared_size(conv);
    }
    switch (forward_algorithm(conv)) {
    case DEPTHWISE:
        forward_depthwise(conv, input, weight, epilogue, output);
        break;
    case WINOGRAD:
        cr_winograd_run(conv, false, input, prepared, epilogue, output, workspace);
        break;
    case CHANNELS_LAST:
        cr_channels_last_run(conv, input, prepared, epilogue, output, workspace);
        break;
    case POINTWISE:
        cr_pointwise_run(conv, input, prepared, epilogue, output, workspace);
        break;
    case POINTS: {
        cr_points_phase phase = forward_phase(conv, input, NULL);
        cr_points_run(conv, false, &phase, 1, prepared, epilogue, output, workspace);
        break;
    }
    case PAIRS: {
        cr_points_phase phase = forward_phase(conv, input, NULL);
        cr_pair_images_run(conv, false, &phase, 1, prepared, epilogue, output, workspace);
        break;
    }
    case PRODUCT: {
        cr_patches patches = forward_patches(conv, input);
        cr_gemm g = forward_product(conv, &patches, weight, epilogue, output);
        cr_gemm_run(&g, workspace);
        break;
    }
    }
}

/* ---- gradient of the input ---- */

/* One phase of the stride: the input positions phase, phase + stride, … of each dimension, which
 * read the same taps of the kernel. A tap t of the phase is tap first + t * step of the kernel. */
typedef struct phase {
    int64_t start[CR_CONV_DIMS];
    cr_patches patches;
    cr_weight_taps weight;
    const cr_conv *conv;
} phase;

static int64_t phase_count(const cr_conv *c)
{
    return volume(c->stride);
}

static int64_t remainder_of(int64_t a, int64_t b)
{
    int64_t rest = a % b;
    return rest < 0 ? rest + b : rest;
}

/* Input position q * stride + start reads output position (q * stride + start + padding - t *
 * dilation) / stride for the taps t that make this whole. These are first, first + step, …; there
 * may be none. */
static void set_phase_dim(const cr_conv *c, int d, phase *p)
{
    int64_t stride = c->stride[d], reach = p->start[d] + c->padding[d];
    int64_t first = 0, step = 1;
    while (first < stride && remainder_of(reach - first * c->dilation[d], stride) != 0)
        first++;
    while (step * c->dilation[d] % stride != 0)
        step++;
    bool none = first >= c->kernel[d] || first == stride;
    p->weight.first[d] = first;
    p->weight.step[d] = step;
    p->weight.taps[d] = none ? 0 : CR_DIV_UP(c->kernel[d] - first, step);
    p->patches.taps[d] = p->weight.taps[d];
    p->patches.grid[d] =
        c->input[d] > p->start[d] ? CR_DIV_UP(c->input[d] - p->start[d], stride) : 0;
    p->patches.step[d] = 1;
    p->patches.size[d] = c->output[d];
    p->patches.origin[d] = none ? 0 : (reach - first * c->dilation[d]) / stride;
    p->patches.tap_step[d] = -(step * c->dilation[d] / stride);
}

static phase make_phase(const cr_conv *c, int64_t index, const void *output, const void *weight)
{
    int64_t out = volume(c->output), taps = volume(c->kernel);
    phase p = { .conv = c };
    p.patches = (cr_patches){ .source = output,
                              .batch_stride = c->out_channels * out,
                              .channel_stride = out,
                              .group_stride = group_out(c) * out,
                              .kernels = cr_gemm_kernels_of(c->type) };
    p.weight = (cr_weight_taps){ .weight = weight,
                                 .channel_stride = group_in(c) * taps,
                                 .row_stride = taps,
                                 .group_stride = group_out(c) * group_in(c) * taps,
                                 .kernels = cr_gemm_kernels_of(c->type) };
    int64_t tap_stride = 1;
    for (int d = CR_CONV_DIMS - 1; d >= 0; d--) {
        p.start[d] = index % c->stride[d];
        index /= c->stride[d];
        p.weight.tap_stride[d] = tap_stride;
        tap_stride *= c->kernel[d];
        set_phase_dim(c, d, &p);
    }
    return p;
}

/* Where row `block` of a phase's grid, counted through the images, lies in the input. */
static int64_t phase_row(const void *context, int64_t block)
{
    const phase *p = context;
    const cr_conv *c = p->conv;
    int64_t y = block % p->patches.grid[1];
    block /= p->patches.grid[1];
    int64_t z = block % p->patches.grid[0], image = block / p->patches.grid[0];
    z = z * c->stride[0] + p->start[0];
    y = y * c->stride[1] + p->start[1];
    return image * c->in_channels * volume(c->input) + (z * c->input[1] + y) * c->input[2] +
           p->start[2];
}

/* Rows are the input channels of a group, columns the phase's positions in all images. */
static cr_gemm phase_product(const phase *p, const cr_epilogue *epilogue, void *input)
{
    const cr_conv *c = p->conv;
    int64_t in = volume(c->input);
    cr_gemm g = { .type = c->type,
                  .m = group_in(c),
                  .n = c->batch * volume(p->patches.grid),
                  .k = group_out(c) * volume(p->patches.taps),
                  .batch = c->groups,
                  .alpha = 1,
                  .c = input,
                  .c_stride = in,
                  .c_column_stride = c->stride[2],
                  .c_block = in,
                  .c_block_stride = c->in_channels * in,
                  .c_batch_stride = group_in(c) * in,
                  .bias_float = c->bias_float,
                  .bias_batch_stride = group_in(c) };
    if (phase_count(c) > 1) {
        g.c_block = p->patches.grid[2];
        g.c_block_place = phase_row;
        g.c_context = p;
    }
    const cr_conv_kernels *kernels = cr_conv_kernels_of(c->type);
    g.a = (cr_gemm_operand){ .packer = kernels->pack_weight, .context = &p->weight };
    g.b = (cr_gemm_operand){ .packer = kernels->pack_patches, .context = &p->patches };
    if (epilogue)
        g.epilogue = *epilogue;
    return g;
}

/* All phases, for the computation by points. */
static int point_phases(const cr_conv *c, const void *output, const void *weight,
                        cr_points_phase *phases)
{
    int count = (int)phase_count(c);
    for (int i = 0; i < count; i++) {
        phase p = make_phase(c, i, output, weight);
        phases[i] = (cr_points_phase){ .patches = p.patches, .weight = p.weight };
    }
    return count;
}

size_t cr_conv_backward_data_workspace(const cr_conv *conv)
{
    size_t most = 0;
    if (is_half_depthwise(conv))
        return cr_depthwise_half_workspace(conv);
    if (is_depthwise(conv))
        return 0;
    if (cr_winograd_suits(conv, true))
        return cr_winograd_prepared_size(conv, true) + cr_winograd_workspace(conv, true);
    if (cr_points_suits(conv, true)) {
        cr_points_phase phases[CR_POINTS_PHASES];
        int count = point_phases(conv, NULL, NULL, phases);
        return cr_points_prepared_size(conv, true, phases, count) +
               cr_points_workspace(conv, true, phases, count);
    }
    if (cr_pair_images_suit(conv, true)) {
        cr_points_phase phases[CR_POINTS_PHASES];
        int count = point_phases(conv, NULL, NULL, phases);
        return cr_pair_images_prepared_size(conv, true, phases, count) +
               cr_pair_images_workspace(conv, true, phases, count);
    }
    for (int64_t i = 0; i < phase_count(conv); i++) {
        phase p = make_phase(conv, i, NULL, NULL);
        cr_gemm g = phase_product(&p, NULL, NULL);
        size_t size = cr_gemm_workspace(&g);
        most = CR_MAX(most, size);
    }
    return most;
}

static void data_by_winograd(const cr_conv *conv, const void *output, const void *weight,
                             const cr_epilogue *epilogue, void *input, void *workspace)
{
    void *rest = (char *)workspace + cr_winograd_prepared_size(conv, true);
    cr_winograd_prepare(conv, true, weight, NULL, workspace);
    cr_winograd_run(conv, true, output, workspace, epilogue, input, rest);
}

static void data_by_points(const cr_conv *conv, const void *output, const void *weight,
                           const cr_epilogue *epilogue, void *input, void *workspace)
{
    cr_points_phase phases[CR_POINTS_PHASES];
    int count = point_phases(conv, output, weight, phases);
    void *rest = (char *)workspace + cr_points_prepared_size(conv, true, phases, count);
    cr_points_prepare(conv, true, phases, count, workspace);
    cr_points_run(conv, true, phases, count, workspace, epilogue, input, rest);
}

static void data_by_pairs(const cr_conv *conv, const void *output, const void *weight,
                          const cr_epilogue *epilogue, void *input, void *workspace)
{
    cr_points_phase phases[CR_POINTS_PHASES];
    int count = point_phases(conv, output, weight, phases);
    void *rest = (char *)workspace + cr_pair_images_prepared_size(conv, true, phases, count);
    cr_pair_images_prepare(conv, true, phases, count, workspace);
    cr_pair_images_run(conv, true, phases, count, workspace, epilogue, input, rest);
}

void cr_conv_backward_data(const cr_conv *conv, const void *output, const void *weight,
                           const cr_epilogue *epilogue, void *input, void *workspace)
{
    if (is_half_depthwise(conv)) {
        cr_depthwise_half_run(conv, NULL, weight, output, epilogue, input, workspace);
        return;
    }
    if (is_depthwise(conv)) {
        cr_depthwise call = {
            .conv = conv, .output = output, .weight = weight, .result = input, .epilogue = epilogue
        };
        cr_parallel_for(conv->batch * conv->in_channels, part_of(volume(conv->input)),
                        depthwise_data, &call);
        return;
    }
    if (cr_winograd_suits(conv, true)) {
        data_by_winograd(conv, output, weight, epilogue, input, workspace);
        return;
    }
    if (cr_points_suits(conv, true)) {
        data_by_points(conv, output, weight, epilogue, input, workspace);
        return;
    }
    if (cr_pair_images_suit(conv, true)) {
        data_by_pairs(conv, output, weight, epilogue, input, workspace);
        return;
    }
    for (int64_t i = 0; i < phase_count(conv); i++) {
        phase p = make_phase(conv, i, output, weight);
        cr_gemm g = phase_product(&p, epilogue, input);
        cr_gemm_run(&g, workspace);
    }
}

/* ---- gradient of the weights ---- */

/* The gradient of the output as rows by channel and k by position: patches of a 1 x 1 kernel. */
static cr_patches output_patches(const cr_conv *c, const void *output)
{
    int64_t out = volume(c->output);
    cr_patches p = { .source = output,
                     .batch_stride = c->out_channels * out,
                     .channel_stride = out,
                     .group_stride = group_out(c) * out,
                     .kernels = cr_gemm_kernels_of(c->type) };
    for (int d = 0; d < CR_CONV_DIMS; d++) {
        p.grid[d] = p.size[d] = 1;
        p.step[d] = p.taps[d] = p.tap_step[d] = 1;
    }
    p.grid[2] = p.size[2] = out;
    return p;
}

static cr_gemm weight_product(const cr_conv *c, const cr_patches *of_output,
                              const cr_patches *of_input, void *weight)
{
    cr_gemm_packer packer = cr_conv_kernels_of(c->type)->pack_positions;
    int64_t n = group_in(c) * volume(c->kernel);
    return (cr_gemm){ .type = c->type,
                      .m = group_out(c),
                      .n = n,
                      .k = c->batch * volume(c->output),
                      .batch = c->groups,
                      .alpha = 1,
                      .a = { .packer = packer, .context = of_output },
                      .b = { .packer = packer, .context = of_input },
                      .c = weight,
                      .c_stride = n,
                      .c_batch_stride = group_out(c) * n };
}

size_t cr_conv_backward_weight_workspace(const cr_conv *conv)
{
    if (is_half_depthwise(conv))
        return cr_depthwise_half_workspace(conv);
    if (is_depthwise(conv))
        return 0;
    if (cr_winograd_weight_suits(conv))
        return cr_winograd_weight_workspace(conv);
    if (cr_weight_gradient_suits(conv))
        return cr_weight_gradient_workspace(conv);
    if (cr_pair_weights_suit(conv)) {
        cr_patches patches = forward_patches(conv, NULL);
        return cr_pair_weights_workspace(conv, &patches);
    }
    cr_patches of_output = output_patches(conv, NULL), of_input = forward_patches(conv, NULL);
    cr_gemm g = weight_product(conv, &of_output, &of_input, NULL);
    return cr_gemm_workspace(&g);
}

void cr_conv_backward_weight(const cr_conv *conv, const void *input, const void *output,
                             void *weight, void *workspace)
{
    if (is_half_depthwise(conv)) {
        cr_depthwise_half_run(conv, input, NULL, output, NULL, weight, workspace);
        return;
    }
    if (is_depthwise(conv)) {
        cr_depthwise call = { .conv = conv, .input = input, .output = output, .result = weight };
        cr_parallel_for(conv->out_channels, part_of(conv->batch * volume(conv->output)),
                        depthwise_weight, &call);
        return;
    }
    if (cr_winograd_weight_suits(conv)) {
        cr_winograd_weight_run(conv, input, output, weight, workspace);
        return;
    }
    if (cr_weight_gradient_suits(conv)) {
        cr_weight_gradient_run(conv, input, output, weight, workspace);
        return;
    }
    if (cr_pair_weights_suit(conv)) {
        cr_patches patches = forward_patches(conv, input);
        cr_pair_weights_run(conv, &patches, output, weight, workspace);
        return;
    }
    cr_patches of_output = output_patches(conv, output), of_input = forward_patches(conv, input);
    cr_gemm g = weight_product(conv, &of_output, &of_input, weight);
    cr_gemm_run(&g, workspace);
}
