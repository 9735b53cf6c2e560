/* Speed of the matrix product and convolution kernels: a line for each shape with the best time of
 * several runs and GFLOP/s. Usage: bench_kernels [gemm|conv] [part of a name]. */
#include "kernels/gemm/gemm.h"

#include <stdio.h>
#include <string.h>

#define RUNS        7
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

int main(int count, char **arguments)
{
    const char *family = count > 1 ? arguments[1] : "";
    const char *part = count > 2 ? arguments[2] : "";
    printf("%s, %d threads, best of %d\n", cr_isa_name(cr_gemm_isa()), cr_num_threads(), RUNS);
    for (int i = 0; i < CR_COUNT_OF(gemm_cases); i++)
        if (strcmp(family, "conv") != 0 && strstr(gemm_cases[i].name, part))
            bench_gemm(&gemm_cases[i]);
    return 0;
}
