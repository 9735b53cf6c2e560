/* Speed of the matrix product and convolution kernels: a line for each shape with the best time of
 * several runs, GFLOP/s, and their share of the peak, which is what the micro-kernel reaches on
 * panels that stay in the first cache. Usage: bench_kernels [gemm|conv] [part of a name], with the
 * type (f32, bf16) as part of the name. */
#include "kernels/conv/conv.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <string.h>

#define RUNS        5
#define RUN_SECONDS 0.02

static const cr_gemm_type types[] = { CR_GEMM_F32, CR_GEMM_BF16 };
static const char *const type_names[CR_GEMM_TYPE_COUNT] = { "f32", "f64", "bf16", "f16" };

static void *filled(size_t count, cr_gemm_type type)
{
    size_t element = (size_t)cr_gemm_kernels_of(type)->element;
    void *data = cr_buffer_alloc(count * element);
    for (size_t i = 0; data && i < count; i++) {
        float value = (float)(i % 17) / 8 - 1;
        if (type == CR_GEMM_F32)
            ((float *)data)[i] = value;
        else
            ((uint16_t *)data)[i] = bf16_from_float(value);
    }
    return data;
}

static void release(void *data, size_t count, cr_gemm_type type)
{
    cr_buffer_free(data, count * (size_t)cr_gemm_kernels_of(type)->element);
}

/* Seconds of one call: the best of some runs, each long enough for the clock. */
static double best_seconds(void (*call)(void *), void *context)
{
    call(context);
    double best = 1e9;
    for (int run = 0; run < RUNS; run++) {
        double start = cr_clock_seconds(), seconds;
        int calls = 0;
        do {
            call(context);
            calls++;
            seconds = cr_clock_seconds() - start;
        } while (seconds < RUN_SECONDS);
        best = CR_MIN(best, seconds / calls);
    }
    return best;
}

/* ---- the peak ---- */

enum { PEAK_STEPS = 256, PEAK_TILES = 1000 };

typedef struct peak_run {
    const cr_gemm_kernels *kernels;
    void *a, *b, *sums;
} peak_run;

static void run_tiles(int64_t begin, int64_t end, void *context)
{
    const peak_run *r = context;
    const cr_gemm_kernels *k = r->kernels;
    int64_t sums = (int64_t)k->tile_rows * k->tile_columns * k->sum_element;
    if (k->begin)
        k->begin();
    for (int64_t thread = begin; thread < end; thread++)
        for (int i = 0; i < PEAK_TILES; i++)
            k->tile(PEAK_STEPS, r->a, k->tile_rows, r->b, k->tile_columns, k->tile_rows,
                    k->tile_columns, (char *)r->sums + thread * sums, k->tile_columns, false);
    if (k->end)
        k->end();
}

static void call_tiles(void *context)
{
    cr_parallel_for(cr_num_threads(), 1, run_tiles, context);
}

/* FLOP/s of all threads together. */
static double measure_peak(cr_gemm_type type)
{
    peak_run run = { .kernels = cr_gemm_kernels_of(type) };
    const cr_gemm_kernels *k = run.kernels;
    size_t rows = (size_t)k->tile_rows, columns = (size_t)k->tile_columns;
    size_t a = rows * PEAK_STEPS * (size_t)k->panel_element;
    size_t b = columns * PEAK_STEPS * (size_t)k->panel_element;
    size_t sums = rows * columns * (size_t)(k->sum_element * cr_num_threads());
    double peak = 0;
    run.a = cr_buffer_alloc(a);
    run.b = cr_buffer_alloc(b);
    run.sums = cr_buffer_alloc(sums);
    if (run.a && run.b && run.sums) {
        memset(run.a, 0, a);
        memset(run.b, 0, b);
        peak = 2.0 * (double)(rows * columns) * PEAK_STEPS * PEAK_TILES * cr_num_threads() /
               best_seconds(call_tiles, &run);
    }
    cr_buffer_free(run.sums, sums);
    cr_buffer_free(run.b, b);
    cr_buffer_free(run.a, a);
    return peak;
}

static double peaks[CR_GEMM_TYPE_COUNT];

static void report(const char *name, cr_gemm_type type, double flops, double seconds)
{
    double share = peaks[type] > 0 ? flops / seconds / peaks[type] : 0;
    printf("%-40s %10.1f us %8.1f GFLOP/s %4.0f %%\n", name, seconds * 1e6, flops / seconds * 1e-9,
           100 * share);
    fflush(stdout);
}

/* ---- matrix products ---- */

typedef struct gemm_case {
    const char *name;
    int64_t m, n, k;
    bool a_transposed, b_transposed; /* in memory: A (k, m), B (n, k) */
} gemm_case;

static const gemm_case gemm_cases[] = {
    { "mlp fc1 forward", 64, 128, 784, false, true },
    { "mlp fc1 weight", 128, 784, 64, true, false },
    { "mlp fc2 forward", 64, 10, 128, false, true },
    { "mlp fc2 weight", 10, 128, 64, true, false },
    { "mlp fc2 data", 64, 128, 10, false, false },
    { "convnet fc1 forward", 128, 128, 12544, false, true },
    { "convnet fc1 weight", 128, 12544, 128, true, false },
    { "convnet fc1 data", 128, 12544, 128, false, false },
    { "square 256", 256, 256, 256, false, false },
    { "square 512", 512, 512, 512, false, false },
    { "square 1024", 1024, 1024, 1024, false, false },
    { "square 2048 b transposed", 2048, 2048, 2048, false, true },
    { "encoder 1024x3072x768", 1024, 3072, 768, false, true },
    { "encoder 1024x768x3072", 1024, 768, 3072, false, true },
    { "tall 4096x768x768", 4096, 768, 768, false, true },
    { "weight 768x3072x4096", 768, 3072, 4096, true, false },
    { "resnet fc", 16, 1000, 512, false, true },
    { "gemv 1x1000x512", 1, 1000, 512, false, true },
    { "gemv 1x4096x4096", 1, 4096, 4096, false, true },
    { "scores 128x128x64", 128, 128, 64, false, true },
    { "small 32", 32, 32, 32, false, false },
};

typedef struct gemm_run {
    cr_gemm product;
    void *workspace;
} gemm_run;

static void call_gemm(void *context)
{
    gemm_run *run = context;
    cr_gemm_run(&run->product, run->workspace);
}

static void bench_gemm(const gemm_case *c, cr_gemm_type type, const char *part)
{
    char name[64];
    snprintf(name, sizeof(name), "%s %s", c->name, type_names[type]);
    if (!strstr(name, part))
        return;
    gemm_run run = {
        .product = { .type = type, .m = c->m, .n = c->n, .k = c->k, .alpha = 1, .c_stride = c->n }
    };
    cr_gemm *g = &run.product;
    size_t a_count = (size_t)(c->m * c->k), b_count = (size_t)(c->n * c->k);
    size_t c_count = (size_t)(c->m * c->n);
    void *a = filled(a_count, type), *b = filled(b_count, type);
    g->a = (cr_gemm_operand){ .data = a, .stride = c->k, .k_stride = 1 };
    g->b = (cr_gemm_operand){ .data = b, .stride = 1, .k_stride = c->n };
    if (c->a_transposed) {
        g->a.stride = 1;
        g->a.k_stride = c->m;
    }
    if (c->b_transposed) {
        g->b.stride = c->k;
        g->b.k_stride = 1;
    }
    g->c = filled(c_count, type);
    size_t size = cr_gemm_workspace(g);
    run.workspace = cr_buffer_alloc(size);
    if (a && b && g->c && run.workspace)
        report(name, type, 2.0 * (double)(c->m * c->n * c->k), best_seconds(call_gemm, &run));
    cr_buffer_free(run.workspace, size);
    release(g->c, c_count, type);
    release(b, b_count, type);
    release(a, a_count, type);
}

/* ---- convolutions ---- */

typedef struct conv_case {
    const char *name;
    int64_t batch, in, out, size, kernel, stride, padding, groups;
} conv_case;

static const conv_case conv_cases[] = {
    { "convnet conv1", 128, 1, 32, 28, 3, 1, 1, 1 },
    { "convnet conv2", 128, 32, 64, 28, 3, 1, 1, 1 },
    { "resnet18 stem", 128, 1, 64, 28, 3, 1, 1, 1 },
    { "resnet18 layer1", 128, 64, 64, 28, 3, 1, 1, 1 },
    { "resnet18 layer2.0", 128, 64, 128, 28, 3, 2, 1, 1 },
    { "resnet18 layer2", 128, 128, 128, 14, 3, 1, 1, 1 },
    { "resnet18 layer3", 128, 256, 256, 7, 3, 1, 1, 1 },
    { "resnet18 layer4.0", 128, 256, 512, 7, 3, 2, 1, 1 },
    { "resnet18 layer4", 128, 512, 512, 4, 3, 1, 1, 1 },
    { "resnet34 stem", 16, 3, 64, 224, 7, 2, 3, 1 },
    { "resnet34 layer1", 16, 64, 64, 56, 3, 1, 1, 1 },
    { "resnet34 layer2.0", 16, 64, 128, 56, 3, 2, 1, 1 },
    { "resnet34 layer2 down", 16, 64, 128, 56, 1, 2, 0, 1 },
    { "resnet34 layer2", 16, 128, 128, 28, 3, 1, 1, 1 },
    { "resnet34 layer3", 16, 256, 256, 14, 3, 1, 1, 1 },
    { "resnet34 layer4", 16, 512, 512, 7, 3, 1, 1, 1 },
    { "resnet50 1x1", 16, 256, 64, 56, 1, 1, 0, 1 },
    { "depthwise", 16, 96, 96, 56, 3, 1, 1, 96 },
};

typedef struct conv_run {
    cr_conv conv;
    void *input, *weight, *output, *workspace;
} conv_run;

static void call_forward(void *context)
{
    conv_run *r = context;
    cr_conv_forward(&r->conv, r->input, r->weight, NULL, NULL, r->output, r->workspace);
}

static void call_data(void *context)
{
    conv_run *r = context;
    cr_conv_backward_data(&r->conv, r->output, r->weight, NULL, r->input, r->workspace);
}

static void call_weight(void *context)
{
    conv_run *r = context;
    cr_conv_backward_weight(&r->conv, r->input, r->output, r->weight, r->workspace);
}

static void bench_conv(const conv_case *c, cr_gemm_type type, const char *part)
{
    int64_t size = (c->size + 2 * c->padding - c->kernel) / c->stride + 1;
    conv_run run = { .conv = { .type = type,
                               .batch = c->batch,
                               .in_channels = c->in,
                               .out_channels = c->out,
                               .groups = c->groups,
                               .input = { 1, c->size, c->size },
                               .kernel = { 1, c->kernel, c->kernel },
                               .output = { 1, size, size },
                               .stride = { 1, c->stride, c->stride },
                               .padding = { 0, c->padding, c->padding },
                               .dilation = { 1, 1, 1 } } };
    size_t inputs = (size_t)(c->batch * c->in * c->size * c->size);
    size_t weights = (size_t)(c->out * c->in / c->groups * c->kernel * c->kernel);
    size_t outputs = (size_t)(c->batch * c->out * size * size);
    size_t bytes = cr_conv_forward_workspace(&run.conv);
    bytes = CR_MAX(bytes, cr_conv_backward_data_workspace(&run.conv));
    bytes = CR_MAX(bytes, cr_conv_backward_weight_workspace(&run.conv));
    run.input = filled(inputs, type);
    run.weight = filled(weights, type);
    run.output = filled(outputs, type);
    run.workspace = cr_buffer_alloc(bytes);
    double flops = 2.0 * (double)outputs * (double)weights / (double)c->out;
    static void (*const calls[])(void *) = { call_forward, call_data, call_weight };
    static const char *const words[] = { "forward", "data", "weight" };
    for (int way = 0; way < 3 && run.input && run.weight && run.output && run.workspace; way++) {
        char name[64];
        snprintf(name, sizeof(name), "%s %s %s", c->name, words[way], type_names[type]);
        if (strstr(name, part))
            report(name, type, flops, best_seconds(calls[way], &run));
    }
    cr_buffer_free(run.workspace, bytes);
    release(run.output, outputs, type);
    release(run.weight, weights, type);
    release(run.input, inputs, type);
}

int main(int count, char **arguments)
{
    const char *family = count > 1 ? arguments[1] : "";
    const char *part = count > 2 ? arguments[2] : "";
    printf("%s, %d threads, best of %d\n", cr_isa_name(cr_isa_in_use()), cr_num_threads(), RUNS);
    for (int t = 0; t < CR_COUNT_OF(types); t++) {
        peaks[types[t]] = measure_peak(types[t]);
        printf("peak %s: %.1f GFLOP/s\n", type_names[types[t]], peaks[types[t]] * 1e-9);
    }
    for (int i = 0; i < CR_COUNT_OF(gemm_cases) * CR_COUNT_OF(types); i++)
        if (strcmp(family, "conv") != 0)
            bench_gemm(&gemm_cases[i / CR_COUNT_OF(types)], types[i % CR_COUNT_OF(types)], part);
    for (int i = 0; i < CR_COUNT_OF(conv_cases) * CR_COUNT_OF(types); i++)
        if (strcmp(family, "gemm") != 0)
            bench_conv(&conv_cases[i / CR_COUNT_OF(types)], types[i % CR_COUNT_OF(types)], part);
    return 0;
}
