/* Matrix products of the shapes that networks use, by turns in Cresset, OpenBLAS and oneDNN, which
 * are opened at run time (Debian's libopenblas0-pthread and libdnnl2); one that is not there is
 * left out. Each timing runs in a process of its own, since threads that wait for the next product
 * of their library take the processor from the others. Products are compared, too. Options:
 * --threads N, --rounds N, --json FILE; others are passed over. Run by bench/run.sh --suite
 * kernels. */
#include "kernels/gemm/gemm.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "cresset/profile.h"

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
    uint16_t *half_a, *half_b;
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

/* Opens what a library needs, in the process that times it; false if it is not there. */
static bool open_ours(void)
{
    return true;
}

static bool open_openblas(void)
{
    void *blas = dlopen("libopenblas.so.0", RTLD_NOW);
    cblas_product = blas ? (cblas_function)dlsym(blas, "cblas_sgemm") : NULL;
    void (*set_threads)(int) = blas ? (void (*)(int))dlsym(blas, "openblas_set_num_threads") : NULL;
    if (set_threads)
        set_threads(cr_num_threads());
    return cblas_product;
}

static bool open_onednn(void)
{
    void *dnnl = dlopen("libdnnl.so.2", RTLD_NOW);
    dnnl_product = dnnl ? (dnnl_function)dlsym(dnnl, "dnnl_sgemm") : NULL;
    return dnnl_product;
}

typedef struct library {
    const char *name;
    bool (*open)(void);
    void (*call)(const operands *o);
    bool is_half; /* bfloat16 operands, float sums */
} library;

enum { OWN, OPENBLAS, ONEDNN, OWN_HALF, LIBRARY_COUNT };

static const library libraries[LIBRARY_COUNT] = {
    [OWN] = { "Cresset", open_ours, ours, false },
    [OPENBLAS] = { "OpenBLAS", open_openblas, openblas, false },
    [ONEDNN] = { "oneDNN", open_onednn, onednn, false },
    [OWN_HALF] = { "Cresset in bf16", open_ours, ours, true },
};

static float *filled(size_t count)
{
    float *data = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
    for (size_t i = 0; data && i < count; i++)
        data[i] = (float)((i * 2654435761u >> 8) % 1000) / 1000 - 0.5F;
    return data;
}

static uint16_t *halved(const float *data, size_t count)
{
    uint16_t *half = aligned_alloc(64, (count * sizeof *half + 63) / 64 * 64);
    for (size_t i = 0; half && i < count; i++) {
        uint32_t bits;
        memcpy(&bits, data + i, sizeof bits);
        half[i] = (uint16_t)(bits >> 16);
    }
    return half;
}

static bool make(operands *o, const product *p, bool is_half)
{
    size_t m = (size_t)p->m, n = (size_t)p->n, k = (size_t)p->k;
    *o = (operands){ .p = p, .a = filled(m * k), .b = filled(k * n), .c = filled(m * n) };
    if (!o->a || !o->b || !o->c)
        return false;
    if (is_half) {
        o->half_a = halved(o->a, m * k);
        o->half_b = halved(o->b, k * n);
        if (!o->half_a || !o->half_b)
            return false;
    }
    o->gemm = (cr_gemm){ .type = cr_gemm_type_of(is_half ? CR_BF16 : CR_F32),
                         .c_float = is_half,
                         .m = p->m,
                         .n = p->n,
                         .k = p->k,
                         .alpha = 1,
                         .c = o->c,
                         .c_stride = p->n };
    o->gemm.a = (cr_gemm_operand){ .data = is_half ? (void *)o->half_a : o->a,
                                   .stride = p->ta ? 1 : p->k,
                                   .k_stride = p->ta ? p->m : 1 };
    o->gemm.b = (cr_gemm_operand){ .data = is_half ? (void *)o->half_b : o->b,
                                   .stride = p->tb ? p->k : 1,
                                   .k_stride = p->tb ? 1 : p->n };
    o->workspace = aligned_alloc(64, (cr_gemm_workspace(&o->gemm) + 64) / 64 * 64);
    return o->workspace;
}

/* Seconds of one call, of so many that the clock can tell. */
static double time_of(const library *timed, const operands *o)
{
    timed->call(o); /* not counted */
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

/* What a process that times gives back, in memory that both see. */
typedef struct answer {
    bool is_there;
    double seconds;
    float product[];
} answer;

static size_t answer_size(const product *p)
{
    return sizeof(answer) + (size_t)p->m * (size_t)p->n * sizeof(float);
}

static answer *answer_new(const product *p)
{
    answer *made =
        mmap(NULL, answer_size(p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return made == MAP_FAILED ? NULL : made;
}

/* Times a library on a product in a process of its own. */
static void time_apart(const library *timed, const product *p, answer *to)
{
    to->is_there = false;
    pid_t child = fork();
    if (child == 0) {
        operands o;
        if (timed->open() && make(&o, p, timed->is_half)) {
            to->seconds = time_of(timed, &o);
            memcpy(to->product, o.c, (size_t)p->m * (size_t)p->n * sizeof(float));
            to->is_there = true;
        }
        _exit(0);
    }
    if (child > 0)
        waitpid(child, NULL, 0);
}

/* The largest difference between two products, in parts of the largest element. */
static double difference(const answer *own, const answer *other, const product *p)
{
    double apart = 0, largest = 0;
    for (size_t i = 0; i < (size_t)p->m * (size_t)p->n; i++) {
        apart = fmax(apart, fabs((double)own->product[i] - (double)other->product[i]));
        largest = fmax(largest, fabs((double)other->product[i]));
    }
    return apart / largest;
}

static json_t *row(const product *p, const library *own, const library *peer, double *mine,
                   double *theirs, int rounds, double apart)
{
    double ratios[MAX_ROUNDS];
    for (int r = 0; r < rounds; r++)
        ratios[r] = mine[r] / theirs[r];
    double flops = 2.0 * p->m * p->n * p->k, ratio = median(ratios, rounds);
    double seconds = median(mine, rounds), peer_seconds = median(theirs, rounds);
    const char *precision = own->is_half ? "bf16" : "f32";
    printf("| %s | %d×%d×%d | %s | %s | %.3g | %.3g | %.1f | %.2f | %.2f – %.2f | %.0e |\n",
           p->name, p->m, p->n, p->k, precision, peer->name, seconds * 1e3, peer_seconds * 1e3,
           flops / seconds * 1e-9, ratio, ratios[0], ratios[rounds - 1], apart);
    fflush(stdout);
    char work[80];
    snprintf(work, sizeof work, "matrix product, %s, %d×%d×%d", p->name, p->m, p->n, p->k);
    return json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:n, s:f, s:f}", "work", work,
                     "mode", "kernel", "precision", precision, "peer", peer->name, "seconds",
                     seconds, "peer_seconds", peer_seconds, "ratio", ratio, "ratio_min", ratios[0],
                     "ratio_max", ratios[rounds - 1], "memory_ratio", "gflops",
                     flops / seconds * 1e-9, "difference", apart);
}

/* All libraries by turns on one product: a row for each peer of the float32 product, and one for
 * bfloat16 against the own float32. */
static void compare(json_t *rows, const product *p, int rounds)
{
    double seconds[LIBRARY_COUNT][MAX_ROUNDS];
    answer *answers[LIBRARY_COUNT];
    for (int i = 0; i < LIBRARY_COUNT; i++) {
        answers[i] = answer_new(p);
        if (!answers[i])
            exit(1);
    }
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < LIBRARY_COUNT; i++) {
            time_apart(&libraries[i], p, answers[i]);
            seconds[i][r] = answers[i]->seconds;
        }
    }
    for (int i = OPENBLAS; i <= OWN_HALF && answers[OWN]->is_there; i++) {
        int own = i == OWN_HALF ? OWN_HALF : OWN, peer = i == OWN_HALF ? OWN : i;
        double mine[MAX_ROUNDS]; /* the median sorts */
        memcpy(mine, seconds[own], sizeof mine);
        double theirs[MAX_ROUNDS];
        memcpy(theirs, seconds[peer], sizeof theirs);
        if (answers[i]->is_there)
            json_array_append_new(rows, row(p, &libraries[own], &libraries[peer], mine, theirs,
                                            rounds, difference(answers[own], answers[peer], p)));
    }
    for (int i = 0; i < LIBRARY_COUNT; i++)
        munmap(answers[i], answer_size(p));
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
    json_t *rows = json_array();
    printf("%s, %d threads, medians of %d rounds in turn; a peer that cannot be opened is left out"
           "\n\n",
           cr_isa_name(cr_isa_in_use()), cr_num_threads(), rounds);
    printf("| product | shape | precision | peer | Cresset ms | peer ms | GFLOP/s | ratio | spread "
           "| largest difference |\n"
           "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (int i = 0; i < CR_COUNT_OF(products); i++)
        compare(rows, &products[i], rounds);
    cr_machine_peak peak = cr_measure_peak();
    printf("\nThe processor reaches %.0f GFLOP/s in float32 on these threads.\n",
           peak.flops * 1e-9);
    json_t *document = json_pack("{s:o}", "rows", rows);
    int status = path && json_dump_file(document, path, JSON_INDENT(2)) != 0;
    json_decref(document);
    return status;
}
