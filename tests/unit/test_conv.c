/* Convolution and its gradients against plain loops in double precision: every instruction set,
 * all types, one to three dimensions, strides, padding, dilation, groups, output sizes with more
 * at the end, epilogues, guards around what is written, and the bits at one and two threads. */
#include "kernels/conv/conv.h"
#include "tensor/tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define GUARD 32 /* elements before and after a result that must stay as they were */

typedef enum direction { FORWARD, DATA, WEIGHT } direction;

static uint64_t state = 7;

static int64_t draw(int64_t low, int64_t high)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return low + (int64_t)((state >> 33) % (uint64_t)(high - low + 1));
}

static int64_t volume(const int64_t size[3])
{
    return size[0] * size[1] * size[2];
}

static double get(const void *data, int64_t index, cr_gemm_type type)
{
    switch (type) {
    case CR_GEMM_F32:
        return (double)((const float *)data)[index];
    case CR_GEMM_BF16:
        return (double)bf16_to_float(((const uint16_t *)data)[index]);
    case CR_GEMM_F16:
        return (double)f16_to_float(((const uint16_t *)data)[index]);
    default:
        return ((const double *)data)[index];
    }
}

static size_t size_of(cr_gemm_type type)
{
    static const size_t sizes[CR_GEMM_TYPE_COUNT] = { 4, 8, 2, 2 };
    return sizes[type];
}

static void *random_array(int64_t count, cr_gemm_type type)
{
    void *data = cr_alloc_array((size_t)count + 1, size_of(type));
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++) {
        double value = (double)draw(-1000, 1000) / 500;
        if (type == CR_GEMM_F32)
            ((float *)data)[i] = (float)value;
        else if (type == CR_GEMM_BF16)
            ((uint16_t *)data)[i] = bf16_from_float((float)value);
        else if (type == CR_GEMM_F16)
            ((uint16_t *)data)[i] = f16_from_float((float)value);
        else
            ((double *)data)[i] = value;
    }
    return data;
}

typedef struct tensors {
    void *input, *weight, *output;
    double *want, *magnitude; /* of the result, and of what was added up for it */
} tensors;

/* Adds one product to the result of a direction. */
static void add_product(const cr_conv *c, direction way, tensors *t, int64_t in, int64_t weight,
                        int64_t out)
{
    double x = way == DATA ? 0 : get(t->input, in, c->type);
    double w = way == WEIGHT ? 0 : get(t->weight, weight, c->type);
    double y = way == FORWARD ? 0 : get(t->output, out, c->type);
    int64_t at = way == FORWARD ? out : way == DATA ? in : weight;
    double product = way == FORWARD ? x * w : way == DATA ? w * y : x * y;
    t->want[at] += product;
    t->magnitude[at] += fabs(product);
}

/* One channel pair of one image. */
static void naive_plane(const cr_conv *c, direction way, tensors *t, int64_t in_plane,
                        int64_t weight_plane, int64_t out_plane)
{
    for (int64_t o = 0; o < volume(c->output); o++)
        for (int64_t k = 0; k < volume(c->kernel); k++) {
            int64_t rest_o = o, rest_k = k, in = 0, scale = 1;
            bool inside = true;
            for (int d = 2; d >= 0; d--) {
                int64_t at = rest_o % c->output[d] * c->stride[d] - c->padding[d] +
                             rest_k % c->kernel[d] * c->dilation[d];
                rest_o /= c->output[d];
                rest_k /= c->kernel[d];
                inside = inside && at >= 0 && at < c->input[d];
                in += at * scale;
                scale *= c->input[d];
            }
            if (inside)
                add_product(c, way, t, in_plane * volume(c->input) + in,
                            weight_plane * volume(c->kernel) + k,
                            out_plane * volume(c->output) + o);
        }
}

static void naive(const cr_conv *c, direction way, tensors *t)
{
    int64_t group_in = c->in_channels / c->groups, group_out = c->out_channels / c->groups;
    for (int64_t n = 0; n < c->batch; n++)
        for (int64_t o = 0; o < c->out_channels; o++)
            for (int64_t i = 0; i < group_in; i++)
                naive_plane(c, way, t, n * c->in_channels + o / group_out * group_in + i,
                            o * group_in + i, n * c->out_channels + o);
}

static int64_t result_size(const cr_conv *c, direction way)
{
    if (way == FORWARD)
        return c->batch * c->out_channels * volume(c->output);
    if (way == DATA)
        return c->batch * c->in_channels * volume(c->input);
    return c->out_channels * c->in_channels / c->groups * volume(c->kernel);
}

static void *run(const cr_conv *c, direction way, const tensors *t, const cr_epilogue *epilogue,
                 int threads)
{
    cr_set_num_threads(threads);
    size_t size = way == FORWARD ? cr_conv_forward_workspace(c)
                  : way == DATA  ? cr_conv_backward_data_workspace(c)
                                 : cr_conv_backward_weight_workspace(c);
    void *workspace = cr_buffer_alloc(size);
    size_t element = size_of(c->type);
    size_t bytes = (size_t)(result_size(c, way) + 2 * GUARD) * element;
    char *result = cr_alloc(bytes);
    assert_true(workspace && result);
    memset(result, 0x5a, bytes);
    void *to = result + GUARD * element;
    if (way == FORWARD)
        cr_conv_forward(c, t->input, t->weight, NULL, epilogue, to, workspace);
    else if (way == DATA)
        cr_conv_backward_data(c, t->output, t->weight, epilogue, to, workspace);
    else
        cr_conv_backward_weight(c, t->input, t->output, to, workspace);
    for (size_t i = 0; i < GUARD * element; i++) {
        assert_int_equal(result[i], 0x5a);
        assert_int_equal(result[bytes - 1 - i], 0x5a);
    }
    cr_buffer_free(workspace, size);
    cr_set_num_threads(0);
    return result;
}

/* An epilogue's value for the channel of an element. */
static double channel_value(const cr_conv *c, direction way, const void *values, int64_t index)
{
    if (!values)
        return 0;
    int64_t plane = index / (way == FORWARD ? volume(c->output) : volume(c->input));
    return get(values, plane % (way == FORWARD ? c->out_channels : c->in_channels), c->type);
}

static double activated(double x, cr_activation activation)
{
    switch (activation) {
    case CR_ACTIVATION_RELU:
        return fmax(x, 0);
    case CR_ACTIVATION_RELU6:
        return fmin(fmax(x, 0), 6);
    case CR_ACTIVATION_HARDSWISH:
        return x * fmin(fmax(x + 3, 0), 6) / 6;
    case CR_ACTIVATION_SILU:
        return x / (1 + exp(-x));
    default:
        return x;
    }
}

/* Runs one direction with the instruction set in use and compares with t->want. */
static void compare(const cr_conv *c, direction way, const tensors *t, const cr_epilogue *epilogue)
{
    static const char *const names[] = { "forward", "data", "weight" };
    static const char *const types[CR_GEMM_TYPE_COUNT] = { "f32", "f64", "bf16", "f16" };
    int64_t size = result_size(c, way);
    void *got = run(c, way, t, epilogue, 1), *again = run(c, way, t, epilogue, 2);
    static const double rounding[CR_GEMM_TYPE_COUNT] = { 0, 0, 1.0 / 256, 1.0 / 2048 };
    /* Winograd's algorithm rounds by the size of the neighbours, too. */
    double unit = c->type == CR_GEMM_F64 ? 1e-14 : 2e-6, around = 4;
    for (int64_t i = 0; i < size; i++)
        around += t->magnitude[i] / (double)size;
    for (int64_t i = 0; i < size; i++) {
        double want = t->want[i] + channel_value(c, way, epilogue->row_bias, i);
        want += epilogue->residual ? get(epilogue->residual, i, c->type) : 0;
        want = activated(want, epilogue->activation);
        double value = get(got, GUARD + i, c->type);
        double tolerance = unit * (t->magnitude[i] + around) + rounding[c->type] * fabs(want);
        if (!(fabs(value - want) <= tolerance))
            fail_msg("%s %s %s: n %d, c %d -> %d / %d, in (%d, %d, %d), out (%d, %d, %d), kernel "
                     "(%d, %d, %d), stride (%d, %d, %d), at %d: %g, not %g",
                     cr_isa_name(cr_isa_in_use()), names[way], types[c->type], (int)c->batch,
                     (int)c->in_channels, (int)c->out_channels, (int)c->groups, (int)c->input[0],
                     (int)c->input[1], (int)c->input[2], (int)c->output[0], (int)c->output[1],
                     (int)c->output[2], (int)c->kernel[0], (int)c->kernel[1], (int)c->kernel[2],
                     (int)c->stride[0], (int)c->stride[1], (int)c->stride[2], (int)i, value, want);
    }
    assert_memory_equal(got, again, (size_t)(size + 2 * GUARD) * size_of(c->type));
    cr_free(again);
    cr_free(got);
}

static void check_way(const cr_conv *c, direction way, const tensors *given)
{
    int64_t size = result_size(c, way);
    tensors t = *given;
    t.want = cr_alloc_zeroed((size_t)size + 1, sizeof(double));
    t.magnitude = cr_alloc_zeroed((size_t)size + 1, sizeof(double));
    naive(c, way, &t);
    cr_epilogue epilogue = { .activation = CR_ACTIVATION_NONE };
    static const cr_activation activations[] = { CR_ACTIVATION_NONE, CR_ACTIVATION_RELU,
                                                 CR_ACTIVATION_RELU6, CR_ACTIVATION_HARDSWISH,
                                                 CR_ACTIVATION_SILU };
    int64_t channels = CR_MAX(c->in_channels, c->out_channels);
    void *bias = random_array(channels, c->type);
    void *residual = random_array(size, c->type);
    if (way != WEIGHT && draw(0, 1)) {
        epilogue.row_bias = bias;
        epilogue.residual = draw(0, 1) ? residual : NULL;
        epilogue.activation = activations[draw(0, CR_COUNT_OF(activations) - 1)];
    }
    int last = c->type == CR_GEMM_BF16 ? CR_ISA_AMX_BF16 : CR_ISA_AVX512;
    for (int isa = CR_ISA_PORTABLE; isa <= last; isa++) {
        if (!cr_cpu_has_isa((cr_isa)isa))
            continue;
        cr_use_isa((cr_isa)isa);
        compare(c, way, &t, &epilogue);
    }
    cr_use_isa(CR_ISA_COUNT);
    cr_free(residual);
    cr_free(bias);
    cr_free(t.magnitude);
    cr_free(t.want);
}

static void check(const cr_conv *c)
{
    tensors t = { .input = random_array(result_size(c, DATA), c->type),
                  .weight = random_array(result_size(c, WEIGHT), c->type),
                  .output = random_array(result_size(c, FORWARD), c->type) };
    check_way(c, FORWARD, &t);
    check_way(c, DATA, &t);
    check_way(c, WEIGHT, &t);
    cr_free(t.input);
    cr_free(t.weight);
    cr_free(t.output);
}

/* PyTorch's size of the output, sometimes one more than the padding at the end gives. */
static int64_t output_size(const cr_conv *c, int d, int64_t more)
{
    int64_t span = (c->kernel[d] - 1) * c->dilation[d] + 1;
    return (c->input[d] + 2 * c->padding[d] + more - span) / c->stride[d] + 1;
}

static void random_conv(cr_gemm_type type)
{
    cr_conv c = { .type = type, .batch = draw(1, 3) };
    int64_t first = 2 - draw(0, 2);
    c.groups = draw(0, 2) ? 1 : draw(2, 4);
    c.in_channels = c.groups * (draw(0, 1) ? 1 : draw(1, 9));
    c.out_channels = c.groups * draw(1, first == 0 ? 6 : 20);
    for (int d = 0; d < 3; d++) {
        bool used = d >= first;
        c.kernel[d] = used ? draw(1, first == 0 ? 3 : 4) : 1;
        c.stride[d] = used ? draw(1, 3) : 1;
        c.dilation[d] = used ? draw(1, 2) : 1;
        c.padding[d] = used ? draw(0, c.kernel[d]) : 0;
        int64_t span = (c.kernel[d] - 1) * c.dilation[d] + 1;
        c.input[d] = used ? draw(CR_MAX(span - 2 * c.padding[d], 1), first == 0 ? 8 : 21) : 1;
        c.input[d] = CR_MAX(c.input[d], span - 2 * c.padding[d]);
        c.output[d] = output_size(&c, d, used ? draw(0, 1) : 0);
    }
    check(&c);
}

static void test_random(void **unused)
{
    (void)unused;
    static const cr_gemm_type types[] = { CR_GEMM_F32, CR_GEMM_BF16, CR_GEMM_F64,
                                          CR_GEMM_F32, CR_GEMM_BF16, CR_GEMM_F16 };
    for (int i = 0; i < 150; i++)
        random_conv(types[i % 6]);
}

static cr_conv conv2d(int64_t batch, int64_t in, int64_t out, int64_t size, int64_t kernel,
                      int64_t stride, int64_t padding, int64_t groups)
{
    cr_conv c = { .batch = batch,
                  .in_channels = in,
                  .out_channels = out,
                  .groups = groups,
                  .input = { 1, size, size },
                  .kernel = { 1, kernel, kernel },
                  .stride = { 1, stride, stride },
                  .padding = { 0, padding, padding },
                  .dilation = { 1, 1, 1 } };
    for (int d = 0; d < 3; d++)
        c.output[d] = output_size(&c, d, 0);
    return c;
}

/* Layers like those of networks, which take each of the ways there are. */
static void test_layers(void **unused)
{
    (void)unused;
    const cr_conv list[] = {
        conv2d(3, 1, 32, 17, 3, 1, 1, 1),   conv2d(2, 24, 40, 19, 3, 1, 1, 1),
        conv2d(9, 16, 18, 12, 3, 1, 0, 1),  conv2d(2, 150, 140, 7, 3, 1, 1, 1),
        conv2d(1, 345, 340, 4, 3, 1, 1, 1), conv2d(2, 48, 34, 14, 3, 2, 1, 1),
        conv2d(5, 33, 40, 7, 3, 1, 2, 1),   conv2d(2, 40, 70, 15, 1, 2, 0, 1),
        conv2d(2, 3, 16, 40, 7, 2, 3, 1),   conv2d(2, 130, 48, 14, 1, 1, 0, 1),
        conv2d(2, 32, 32, 15, 3, 1, 1, 32), conv2d(2, 32, 64, 15, 3, 2, 1, 32),
        conv2d(2, 32, 64, 9, 5, 1, 2, 4),   conv2d(0, 20, 24, 8, 3, 1, 1, 1),
        conv2d(0, 20, 24, 8, 3, 2, 1, 1),   conv2d(40, 20, 24, 4, 3, 2, 1, 1),
        conv2d(1, 20, 36, 70, 3, 2, 1, 1),  conv2d(1, 300, 70, 14, 1, 1, 0, 1),
        conv2d(2, 24, 150, 12, 1, 1, 0, 1), conv2d(1, 144, 15, 30, 1, 1, 0, 1),
    };
    for (int i = 0; i < CR_COUNT_OF(list); i++) {
        cr_conv half = list[i];
        half.type = CR_GEMM_BF16;
        check(&list[i]);
        check(&half);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
