/* Speed of the matrix product and convolution kernels: a line for each shape with the best time of
 * several runs and GFLOP/s. Usage: bench_kernels [gemm|conv] [part of a name]. */
#include "kernels/conv/conv.h"

#include <stdio.h>
#include <string.h>

#define RUNS        5
#define RUN_SECONDS 0.02

static void *filled(size_t count)
{
    float *data = cr_buffer_alloc(count * sizeof(float));
    for (size_t i = 0; data && i < count; i++)
        data[i] = (float)(i % 17) / 8 - 1;
    return data;
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

static void report(const char *name, double flops, double seconds)
{
    printf("%-36s %10.1f us %8.1f GFLOP/s\n", name, seconds * 1e6, flops / seconds * 1e-9);
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
    { "tall 4096x768x768", 4096, 768, 768, false, true },
    { "weight 768x3072x4096", 768, 3072, 4096, true, false },
    { "resnet fc", 16, 1000, 512, false, true },
    { "gemv 1x1000x512", 1, 1000, 512, false, true },
    { "gemv 1x4096x4096", 1, 4096, 4096, false, true },
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

static void bench_gemm(const gemm_case *c)
{
    gemm_run run = { .product = { .m = c->m, .n = c->n, .k = c->k, .alpha = 1, .c_stride = c->n } };
    cr_gemm *g = &run.product;
    void *a = filled((size_t)(c->m * c->k)), *b = filled((size_t)(c->n * c->k));
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
    g->c = filled((size_t)(c->m * c->n));
    size_t size = cr_gemm_workspace(g);
    run.workspace = cr_buffer_alloc(size);
    if (a && b && g->c && run.workspace)
        report(c->name, 2.0 * (double)(c->m * c->n * c->k), best_seconds(call_gemm, &run));
    cr_buffer_free(run.workspace, size);
    cr_buffer_free(g->c, (size_t)(c->m * c->n) * sizeof(float));
    cr_buffer_free(b, (size_t)(c->n * c->k) * sizeof(float));
    cr_buffer_free(a, (size_t)(c->m * c->k) * sizeof(float));
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

static void bench_conv(const conv_case *c, const char *part)
{
    int64_t size = (c->size + 2 * c->padding - c->kernel) / c->stride + 1;
    conv_run run = { .conv = { .batch = c->batch,
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
    run.input = filled(inputs);
    run.weight = filled(weights);
    run.output = filled(outputs);
    run.workspace = cr_buffer_alloc(bytes);
    double flops = 2.0 * (double)outputs * (double)weights / (double)c->out;
    static void (*const calls[])(void *) = { call_forward, call_data, call_weight };
    static const char *const words[] = { "forward", "data", "weight" };
    for (int way = 0; way < 3 && run.input && run.weight && run.output && run.workspace; way++) {
        char name[64];
        snprintf(name, sizeof(name), "%s %s", c->name, words[way]);
        if (strstr(name, part))
            report(name, flops, best_seconds(calls[way], &run));
    }
    cr_buffer_free(run.workspace, bytes);
    cr_buffer_free(run.output, outputs * sizeof(float));
    cr_buffer_free(run.weight, weights * sizeof(float));
    cr_buffer_free(run.input, inputs * sizeof(float));
}

int main(int count, char **arguments)
{
    const char *family = count > 1 ? arguments[1] : "";
    const char *part = count > 2 ? arguments[2] : "";
    printf("%s, %d threads, best of %d\n", cr_isa_name(cr_gemm_isa()), cr_num_threads(), RUNS);
    for (int i = 0; i < CR_COUNT_OF(gemm_cases); i++)
        if (strcmp(family, "conv") != 0 && strstr(gemm_cases[i].name, part))
            bench_gemm(&gemm_cases[i]);
    for (int i = 0; i < CR_COUNT_OF(conv_cases); i++)
        if (strcmp(family, "gemm") != 0)
            bench_conv(&conv_cases[i], part);
    return 0;
}
