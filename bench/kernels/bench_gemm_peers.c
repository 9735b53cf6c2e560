/* Matrix products of the shapes that networks use, by turns in Cresset, OpenBLAS and oneDNN, which
 * are opened at run time (Debian's libopenblas0-pthread and libdnnl2); one that is not there is
 * left out. Products are compared first. Options: --threads N, --rounds N, --json FILE; others are
 * passed over. Run by bench/run.sh --suite kernels. */
#include "kernels/gemm/gemm.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define MAX_ROUNDS  99
#define RUN_SECONDS 0.03

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

typedef void (*cblas_function)(int order, int ta, int tb, int m, int n, int k, float alpha,
                               const float *a, int lda, const float *b, int ldb, float beta,
                               float *c, int ldc);
typedef int (*dnnl_function)(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha,
                             const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                             float *c, int64_t ldc);

static cblas_function cblas_product;
static dnnl_function dnnl_product;

/* C (m, n) = A (m, k) B (k, n); a transposed operand lies in memory the other way round. */
typedef struct product {
    const char *name;
    int m, n, k;
    bool ta, tb;
} product;

static const product products[] = {
    { "square 256", 256, 256, 256, false, false },
    { "square 512", 512, 512, 512, false, false },
    { "square 1024", 1024, 1024, 1024, false, false },
    { "square 2048", 2048, 2048, 2048, false, false },
    { "perceptron forward", 64, 128, 784, false, true },
    { "perceptron weight", 128, 784, 64, true, false },
    { "encoder query", 1024, 768, 768, false, true },
    { "encoder widen", 1024, 3072, 768, false, true },
    { "encoder narrow", 1024, 768, 3072, false, true },
    { "encoder weight", 3072, 768, 1024, true, false },
    { "encoder data", 1024, 768, 3072, false, false },
    { "Swin stage 1 widen", 25088, 384, 96, false, true },
    { "Swin stage 1 narrow", 25088, 96, 384, false, true },
    { "Swin stage 1 weight", 384, 96, 25088, true, false },
    { "Swin stage 4 data", 392, 768, 3072, false, false },
    { "recurrent step", 32, 1024, 256, false, true },
    { "vector 1000", 1, 1000, 512, false, true },
};

typedef struct operands {
    const product *p;
    float *a, *b, *c;
    void *workspace;
    cr_gemm gemm;
} operands;

static void ours(const operands *o)
{
    cr_gemm_run(&o->gemm, o->workspace);
}

static void openblas(const operands *o)
{
    const product *p = o->p;
    cblas_product(ROW_MAJOR, p->ta ? TRANSPOSED : PLAIN, p->tb ? TRANSPOSED : PLAIN, p->m, p->n,
                  p->k, 1, o->a, p->ta ? p->m : p->k, o->b, p->tb ? p->k : p->n, 0, o->c, p->n);
}

static void onednn(const operands *o)
{
    const product *p = o->p;
    dnnl_product(p->ta ? 'T' : 'N', p->tb ? 'T' : 'N', p->m, p->n, p->k, 1, o->a,
                 p->ta ? p->m : p->k, o->b, p->tb ? p->k : p->n, 0, o->c, p->n);
}

typedef struct library {
    const char *name;
    void (*call)(const operands *o);
} library;

static float *filled(size_t count)
{
    float *data = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
    for (size_t i = 0; data && i < count; i++)
        data[i] = (float)((i * 2654435761u >> 8) % 1000) / 1000 - 0.5F;
    return data;
}

static bool make(operands *o, const product *p)
{
    size_t m = (size_t)p->m, n = (size_t)p->n, k = (size_t)p->k;
    *o = (operands){ .p = p, .a = filled(m * k), .b = filled(k * n), .c = filled(m * n) };
    o->gemm = (cr_gemm){ .m = p->m, .n = p->n, .k = p->k, .alpha = 1, .c = o->c, .c_stride = p->n };
    o->gemm.a =
        (cr_gemm_operand){ .data = o->a, .stride = p->ta ? 1 : p->k, .k_stride = p->ta ? p->m : 1 };
    o->gemm.b =
        (cr_gemm_operand){ .data = o->b, .stride = p->tb ? p->k : 1, .k_stride = p->tb ? 1 : p->n };
    o->workspace = aligned_alloc(64, (cr_gemm_workspace(&o->gemm) + 64) / 64 * 64);
    return o->a && o->b && o->c && o->workspace;
}

static void discard(operands *o)
{
    free(o->a);
    free(o->b);
    free(o->c);
    free(o->workspace);
}

/* Seconds of one call, of so many that the clock can tell. */
static double time_of(const library *timed, const operands *o)
{
    double begun = cr_clock_seconds(), seconds;
    int calls = 0;
    do {
        timed->call(o);
        calls++;
        seconds = cr_clock_seconds() - begun;
    } while (seconds < RUN_SECONDS);
    return seconds / calls;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}

/* The largest difference between two products, in parts of the largest element. */
static double difference(const library *peer, const operands *o)
{
    size_t count = (size_t)o->p->m * (size_t)o->p->n;
    float *kept = filled(count);
    double apart = 0, largest = 0;
    ours(o);
    memcpy(kept, o->c, count * sizeof *kept);
    peer->call(o);
    for (size_t i = 0; i < count; i++) {
        apart = fmax(apart, fabs((double)kept[i] - (double)o->c[i]));
        largest = fmax(largest, fabs((double)o->c[i]));
    }
    free(kept);
    return apart / largest;
}

static json_t *compare(const library *peer, const operands *o, int rounds)
{
    static const library own = { "Cresset", ours };
    double mine[MAX_ROUNDS], theirs[MAX_ROUNDS], ratios[MAX_ROUNDS], apart = difference(peer, o);
    for (int r = 0; r < rounds; r++) {
        mine[r] = time_of(&own, o);
        theirs[r] = time_of(peer, o);
        ratios[r] = mine[r] / theirs[r];
    }
    double flops = 2.0 * o->p->m * o->p->n * o->p->k, ratio = median(ratios, rounds);
    double seconds = median(mine, rounds), peer_seconds = median(theirs, rounds);
    printf("| %s | %d×%d×%d | %s | %.3g | %.3g | %.1f | %.2f | %.2f – %.2f | %.0e |\n", o->p->name,
           o->p->m, o->p->n, o->p->k, peer->name, seconds * 1e3, peer_seconds * 1e3,
           flops / seconds * 1e-9, ratio, ratios[0], ratios[rounds - 1], apart);
    fflush(stdout);
    char work[80];
    snprintf(work, sizeof work, "matrix product, %s, %d×%d×%d", o->p->name, o->p->m, o->p->n,
             o->p->k);
    return json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:n, s:f, s:f}", "work", work,
                     "mode", "kernel", "precision", "f32", "peer", peer->name, "seconds", seconds,
                     "peer_seconds", peer_seconds, "ratio", ratio, "ratio_min", ratios[0],
                     "ratio_max", ratios[rounds - 1], "memory_ratio", "gflops",
                     flops / seconds * 1e-9, "difference", apart);
}

/* The peers that can be opened; both are to use `threads`. */
static int open_peers(library *peers, int threads)
{
    void *blas = dlopen("libopenblas.so.0", RTLD_NOW), *dnnl = dlopen("libdnnl.so.2", RTLD_NOW);
    int count = 0;
    if (blas) {
        cblas_product = (cblas_function)dlsym(blas, "cblas_sgemm");
        void (*set_threads)(int) = (void (*)(int))dlsym(blas, "openblas_set_num_threads");
        if (set_threads)
            set_threads(threads);
    }
    if (dnnl)
        dnnl_product = (dnnl_function)dlsym(dnnl, "dnnl_sgemm");
    if (cblas_product)
        peers[count++] = (library){ "OpenBLAS", openblas };
    else
        printf("OpenBLAS is left out: libopenblas.so.0 is not there.\n");
    if (dnnl_product)
        peers[count++] = (library){ "oneDNN", onednn };
    else
        printf("oneDNN is left out: libdnnl.so.2 is not there.\n");
    return count;
}

int main(int count, char **words)
{
    int threads = 0, rounds = 5;
    const char *path = NULL;
    for (int i = 1; i + 1 < count; i++) {
        if (strcmp(words[i], "--threads") == 0)
            threads = (int)strtol(words[i + 1], NULL, 10);
        if (strcmp(words[i], "--rounds") == 0)
            rounds = CR_MIN(CR_MAX((int)strtol(words[i + 1], NULL, 10), 1), MAX_ROUNDS);
        if (strcmp(words[i], "--json") == 0)
            path = words[i + 1];
    }
    cr_set_num_threads(threads);
    library peers[2];
    int peer_count = open_peers(peers, cr_num_threads());
    json_t *rows = json_array();
    printf("%s, %d threads, medians of %d rounds in turn\n\n", cr_isa_name(cr_isa_in_use()),
           cr_num_threads(), rounds);
    printf("| product | shape | peer | Cresset ms | peer ms | GFLOP/s | ratio | spread | largest "
           "difference |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (int i = 0; i < CR_COUNT_OF(products); i++) {
        operands o;
        bool made = make(&o, &products[i]);
        for (int p = 0; made && p < peer_count; p++)
            json_array_append_new(rows, compare(&peers[p], &o, rounds));
        discard(&o);
    }
    json_t *document = json_pack("{s:o}", "rows", rows);
    int status = path && json_dump_file(document, path, JSON_INDENT(2)) != 0;
    json_decref(document);
    return status;
}
