/* Depthwise convolution of 16-bit floats, and its gradients: each plane is widened into a slot of
 * the workspace, computed by the kernels for float, and rounded once. A task is one input channel
 * of one image with the output channels that are made of it, or, for the gradient of the weights,
 * of all images in their order. */
#include "kernels/conv/conv.h"

#include <string.h>

#define ALIGNMENT 64

typedef struct run {
    const cr_conv *conv; /* as it is called */
    cr_conv one;         /* of one input channel of one image, for float */
    cr_depthwise_kernels loops;
    const char *input, *weight, *output;
    const cr_epilogue *epilogue;
    char *result;
    int64_t in, out, taps; /* elements of an input plane, output plane, kernel */
    int64_t multiple;      /* output channels of an input channel */
    cr_slots slots;
    char *memory;
    size_t plane_in, planes_out, kernels, slot; /* bytes */
} run;

static size_t bytes_of(int64_t floats)
{
    return (size_t)CR_ROUND_UP(floats * (int64_t)sizeof(float), ALIGNMENT);
}

static int64_t volume(const int64_t size[CR_CONV_DIMS])
{
    return size[0] * size[1] * size[2];
}

/* The faster ones where they suit. */
static cr_depthwise_kernels kernels_for(const cr_conv *one)
{
    const cr_conv_kernels *any = cr_conv_kernels_of(CR_GEMM_F32);
    const cr_depthwise_kernels *planes = CR_KERNELS_IN_USE(cr_depthwise_kernels);
    cr_depthwise_kernels kernels = { .forward = any->depthwise_forward,
                                     .data = any->depthwise_data,
                                     .weight = any->depthwise_weight };
    if (planes->suits(one, false)) {
        kernels.forward = planes->forward;
        kernels.weight = planes->weight;
    }
    if (one->out_channels == 1 && planes->suits(one, true))
        kernels.data = planes->data;
    return kernels;
}

static run make_run(const cr_conv *c)
{
    run r = { .conv = c, .one = *c };
    r.multiple = c->out_channels / c->groups;
    r.one.type = CR_GEMM_F32;
    r.one.batch = r.one.in_channels = r.one.groups = 1;
    r.one.out_channels = r.multiple;
    r.loops = kernels_for(&r.one);
    r.in = volume(c->input);
    r.out = volume(c->output);
    r.taps = volume(c->kernel);
    r.plane_in = bytes_of(r.in);
    r.planes_out = bytes_of(r.multiple * r.out);
    r.kernels = bytes_of(r.multiple * r.taps);
    r.slot = r.plane_in + r.planes_out + 2 * r.kernels;
    return r;
}

size_t cr_depthwise_half_workspace(const cr_conv *conv)
{
    run r = make_run(conv);
    int64_t slots = cr_slots_wanted();
    return cr_slots_size(slots) + (size_t)slots * r.slot;
}

static const void *half_at(const char *data, int64_t element)
{
    return data + element * (int64_t)sizeof(uint16_t);
}

static void widen(const run *r, const char *data, int64_t first, int64_t count, float *to)
{
    cr_gemm_widen(r->conv->type, half_at(data, first), count, to);
}

/* Rounds planes `first` and following of the result, with the epilogue, whose bias has an element
 * for each of the result's `channels`. */
static void finish(const run *r, int64_t first, int64_t planes, int64_t count, int64_t channels,
                   const float *sum)
{
    for (int64_t plane = first; plane < first + planes; plane++, sum += count) {
        cr_gemm_finish f = { .rows = 1,
                             .columns = count,
                             .sum = sum,
                             .c = r->result + plane * count * (int64_t)sizeof(uint16_t),
                             .c_column_stride = 1,
                             .bias_float = r->conv->bias_float,
                             .alpha = 1 };
        if (r->epilogue) {
            f.epilogue = *r->epilogue;
            if (f.epilogue.row_bias)
                f.epilogue.row_bias =
                    half_at(f.epilogue.row_bias, plane % channels * (r->conv->bias_float ? 2 : 1));
            if (f.epilogue.residual)
                f.epilogue.residual = half_at(f.epilogue.residual, plane * count);
        }
        cr_gemm_kernels_of(r->conv->type)->finish(&f);
    }
}

/* The parts of a slot. */
typedef struct scratch {
    float *in, *out, *weight, *sum;
} scratch;

static scratch scratch_of(const run *r, int64_t slot)
{
    char *at = r->memory + (size_t)slot * r->slot;
    scratch s = { .in = (float *)(void *)at };
    s.out = (float *)(void *)(at + r->plane_in);
    s.weight = (float *)(void *)(at + r->plane_in + r->planes_out);
    s.sum = (float *)(void *)(at + r->plane_in + r->planes_out + r->kernels);
    return s;
}

/* Here begin and end count the input channels of all images. */
static void forward_planes(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    int64_t slot = cr_slot_take(&r->slots);
    scratch s = scratch_of(r, slot);
    cr_depthwise call = { .conv = &r->one, .input = s.in, .weight = s.weight, .result = s.out };
    for (int64_t plane = begin; plane < end; plane++) {
        int64_t channel = plane % r->conv->in_channels * r->multiple;
        widen(r, r->input, plane * r->in, r->in, s.in);
        widen(r, r->weight, channel * r->taps, r->multiple * r->taps, s.weight);
        r->loops.forward(&call, 0, r->multiple);
        finish(r, plane * r->multiple, r->multiple, r->out, r->conv->out_channels, s.out);
    }
    cr_slot_release(&r->slots, slot);
}

static void data_planes(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    int64_t slot = cr_slot_take(&r->slots);
    scratch s = scratch_of(r, slot);
    cr_depthwise call = { .conv = &r->one, .output = s.out, .weight = s.weight, .result = s.in };
    for (int64_t plane = begin; plane < end; plane++) {
        int64_t channel = plane % r->conv->in_channels * r->multiple;
        widen(r, r->output, plane * r->multiple * r->out, r->multiple * r->out, s.out);
        widen(r, r->weight, channel * r->taps, r->multiple * r->taps, s.weight);
        r->loops.data(&call, 0, 1);
        finish(r, plane, 1, r->in, r->conv->in_channels, s.in);
    }
    cr_slot_release(&r->slots, slot);
}

/* Here begin and end count input channels. */
static void weight_planes(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    int64_t slot = cr_slot_take(&r->slots), count = r->multiple * r->taps;
    scratch s = scratch_of(r, slot);
    cr_depthwise call = { .conv = &r->one, .input = s.in, .output = s.out, .result = s.weight };
    for (int64_t channel = begin; channel < end; channel++) {
        memset(s.sum, 0, (size_t)count * sizeof(float));
        for (int64_t image = 0; image < r->conv->batch; image++) {
            int64_t plane = image * r->conv->in_channels + channel;
            widen(r, r->input, plane * r->in, r->in, s.in);
            widen(r, r->output, plane * r->multiple * r->out, r->multiple * r->out, s.out);
            r->loops.weight(&call, 0, r->multiple);
            for (int64_t i = 0; i < count; i++)
                s.sum[i] += s.weight[i];
        }
        finish(r, channel, 1, count, 1, s.sum);
    }
    cr_slot_release(&r->slots, slot);
}

void cr_depthwise_half_run(const cr_conv *conv, const void *input, const void *weight,
                           const void *output, const cr_epilogue *epilogue, void *result,
                           void *workspace)
{
    run r = make_run(conv);
    r.input = input;
    r.weight = weight;
    r.output = output;
    r.epilogue = epilogue;
    r.result = result;
    int64_t slots = cr_slots_wanted();
    r.slots = cr_slots_make(workspace, slots);
    r.memory = (char *)workspace + cr_slots_size(slots);
    int64_t work = CR_MAX(r.multiple * r.out, r.in);
    int64_t part = CR_MAX((1 << 14) / CR_MAX(work, 1), 1), planes = conv->batch * conv->in_channels;
    if (!weight)
        cr_parallel_for(conv->in_channels, 1, weight_planes, &r);
    else
        cr_parallel_for(planes, part, input ? forward_planes : data_planes, &r);
}
