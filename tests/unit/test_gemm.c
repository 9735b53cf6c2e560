/* The matrix product engine against plain loops in double precision: every instruction set and
 * type, random shapes, strides, batches, epilogues, packers, and the bits at one to three threads.
 */
#include "kernels/gemm/gemm.h"
#include "tensor/tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define GUARD      64 /* elements around C that must stay as they were */
#define GUARD_BITS 0x5a

static uint64_t state = 1;

static int64_t draw(int64_t low, int64_t high)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return low + (int64_t)((state >> 33) % (uint64_t)(high - low + 1));
}

static double draw_real(void)
{
    return (double)draw(-1000, 1000) / 500;
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

static void put(void *data, int64_t index, cr_gemm_type type, double value)
{
    if (type == CR_GEMM_F32)
        ((float *)data)[index] = (float)value;
    else if (type == CR_GEMM_BF16)
        ((uint16_t *)data)[index] = bf16_from_float((float)value);
    else if (type == CR_GEMM_F16)
        ((uint16_t *)data)[index] = f16_from_float((float)value);
    else
        ((double *)data)[index] = value;
}

static size_t size_of(cr_gemm_type type)
{
    static const size_t sizes[CR_GEMM_TYPE_COUNT] = { 4, 8, 2, 2 };
    return sizes[type];
}

static const char *name_of(cr_gemm_type type)
{
    static const char *const names[CR_GEMM_TYPE_COUNT] = { "f32", "f64", "bf16", "f16" };
    return names[type];
}

static bool is_half(cr_gemm_type type)
{
    return type == CR_GEMM_BF16 || type == CR_GEMM_F16;
}

static cr_gemm_type c_type(const cr_gemm *g)
{
    return g->c_float && is_half(g->type) ? CR_GEMM_F32 : g->type;
}

static cr_gemm_type bias_type(const cr_gemm *g)
{
    return g->bias_float && is_half(g->type) ? CR_GEMM_F32 : g->type;
}

static void *random_array(int64_t count, cr_gemm_type type)
{
    void *data = cr_alloc_array((size_t)count, size_of(type));
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++)
        put(data, i, type, draw_real());
    return data;
}

static double activated(double x, const cr_epilogue *e)
{
    switch (e->activation) {
    case CR_ACTIVATION_RELU:
        return fmax(x, 0);
    case CR_ACTIVATION_RELU6:
        return fmin(fmax(x, 0), 6);
    case CR_ACTIVATION_LEAKY_RELU:
        return x < 0 ? x * (double)e->slope : x;
    case CR_ACTIVATION_HARDSWISH:
        return x * fmin(fmax(x + 3, 0), 6) / 6;
    case CR_ACTIVATION_SIGMOID:
        return 1 / (1 + exp(-x));
    case CR_ACTIVATION_TANH:
        return tanh(x);
    case CR_ACTIVATION_SILU:
        return x / (1 + exp(-x));
    case CR_ACTIVATION_GELU:
        return x * (1 + erf(x / sqrt(2))) / 2;
    case CR_ACTIVATION_GELU_TANH:
        return x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x))) / 2;
    default:
        return x;
    }
}

static int64_t position(const cr_gemm *g, int64_t batch, int64_t i, int64_t j)
{
    int64_t apart = CR_MAX(g->c_column_stride, 1);
    int64_t column =
        g->c_block ? j / g->c_block * g->c_block_stride + j % g->c_block * apart : j * apart;
    return batch * g->c_batch_stride + i * g->c_stride + column;
}

/* What C[i, j] must be, and how far rounding may take the engine from it. */
static double expected(const cr_gemm *g, const void *before, int64_t batch, int64_t i, int64_t j,
                       double *tolerance)
{
    double sum = 0, magnitude = 0;
    for (int64_t p = 0; p < g->k; p++) {
        double a = get(g->a.data, batch * g->a.batch_stride + i * g->a.stride + p * g->a.k_stride,
                       g->type);
        double b = get(g->b.data, batch * g->b.batch_stride + j * g->b.stride + p * g->b.k_stride,
                       g->type);
        sum += a * b;
        magnitude += fabs(a * b);
    }
    int64_t at = position(g, batch, i, j);
    sum *= g->alpha;
    sum += g->accumulate ? get(before, GUARD + at, c_type(g)) : 0;
    sum += g->epilogue.row_bias ? get(g->epilogue.row_bias, i, bias_type(g)) : 0;
    sum += g->epilogue.column_bias ? get(g->epilogue.column_bias, j, bias_type(g)) : 0;
    sum += g->epilogue.residual ? get(g->epilogue.residual, at, c_type(g)) : 0;
    static const double rounding[CR_GEMM_TYPE_COUNT] = { 0, 0, 1.0 / 256, 1.0 / 2048 };
    double want = activated(sum, &g->epilogue);
    *tolerance = (magnitude * fabs(g->alpha) + 20) * (g->type == CR_GEMM_F64 ? 1e-14 : 1e-6) +
                 fabs(want) * rounding[c_type(g)];
    return want;
}

/* Runs with `threads` into a fresh copy of `before`, which has guards on both sides. */
static void *run(const cr_gemm *product, const void *before, size_t bytes, int threads)
{
    cr_gemm g = *product;
    cr_set_num_threads(threads);
    char *c = cr_alloc(bytes);
    size_t size = cr_gemm_workspace(&g);
    char *workspace = cr_buffer_alloc(size + 64);
    assert_true(c && workspace);
    memcpy(c, before, bytes);
    memset(workspace + size, GUARD_BITS, 64);
    g.c = c + GUARD * size_of(c_type(&g));
    cr_gemm_run(&g, workspace);
    for (int i = 0; i < 64; i++)
        assert_int_equal(workspace[size + (size_t)i], GUARD_BITS);
    cr_buffer_free(workspace, size + 64);
    cr_set_num_threads(0);
    return c;
}

/* Compares one product, whose c_stride, blocks and operands are set, with plain loops. */
static void check(const cr_gemm *g, int64_t c_elements, bool twice)
{
    int64_t count = c_elements + 2 * GUARD;
    cr_gemm_type type = c_type(g);
    size_t bytes = (size_t)count * size_of(type);
    void *before = random_array(count, type);
    bool *written = cr_alloc_zeroed((size_t)count, sizeof(bool));
    char *after = run(g, before, bytes, 1);
    for (int64_t batch = 0; batch < CR_MAX(g->batch, 1); batch++)
        for (int64_t i = 0; i < g->m; i++)
            for (int64_t j = 0; j < g->n; j++) {
                double tolerance, want = expected(g, before, batch, i, j, &tolerance);
                int64_t at = GUARD + position(g, batch, i, j);
                written[at] = true;
                if (!(fabs(get(after, at, type) - want) <= tolerance))
                    fail_msg("%s %s: (%d, %d, %d) at (%d, %d): %g, not %g",
                             cr_isa_name(cr_isa_in_use()), name_of(g->type), (int)g->m, (int)g->n,
                             (int)g->k, (int)i, (int)j, get(after, at, type), want);
            }
    for (int64_t at = 0; at < count; at++)
        if (!written[at] && get(after, at, type) != get(before, at, type))
            fail_msg("(%d, %d, %d): wrote outside C at %d", (int)g->m, (int)g->n, (int)g->k,
                     (int)(at - GUARD));
    for (int threads = 2; twice && threads <= (is_half(g->type) ? 3 : 2); threads++) {
        void *again = run(g, before, bytes, threads);
        assert_memory_equal(after, again, bytes);
        cr_free(again);
    }
    cr_free(after);
    cr_free(written);
    cr_free(before);
}

/* An operand of `count` rows or columns, in one of several layouts. */
static cr_gemm_operand random_operand(int64_t count, int64_t k, int64_t batch, cr_gemm_type type)
{
    cr_gemm_operand o = { .batch_stride = 0 };
    int64_t kind = draw(0, 2);
    int64_t gap = draw(0, 1) * draw(1, 9);
    if (kind == 0) { /* contiguous along k */
        o.k_stride = 1;
        o.stride = k + gap;
    } else if (kind == 1) { /* transposed */
        o.stride = 1;
        o.k_stride = count + gap;
    } else {
        o.k_stride = 3;
        o.stride = 3 * k + gap;
    }
    int64_t one = count * o.stride + k * o.k_stride;
    o.batch_stride = draw(0, 3) ? one : 0;
    o.data = random_array(one * batch + 1, type);
    return o;
}

static void random_product(cr_gemm_type type, int64_t largest, bool twice)
{
    cr_gemm g = { .type = type,
                  .m = draw(1, largest),
                  .n = draw(1, largest),
                  .k = draw(0, largest),
                  .batch = draw(0, 4) ? 0 : 3,
                  .alpha = draw(0, 2) ? 1 : 0.5,
                  .accumulate = draw(0, 1),
                  .c_float = draw(0, 2) == 0,
                  .bias_float = draw(0, 1) };
    int64_t batch = CR_MAX(g.batch, 1);
    g.a = random_operand(g.m, g.k, batch, type);
    g.b = random_operand(g.n, g.k, batch, type);
    g.c_stride = g.n + draw(0, 1) * draw(1, 7);
    int64_t elements = g.m * g.c_stride;
    if (g.n > 2 && draw(0, 3) == 0) {
        g.c_block = draw(1, g.n);
        g.c_stride = g.c_block;
        g.c_block_stride = g.m * g.c_block + 1;
        elements = CR_DIV_UP(g.n, g.c_block) * g.c_block_stride;
    }
    if (draw(0, 9) == 0) {
        g.c_column_stride = 2;
        g.c_stride *= 2;
        g.c_block_stride *= 2;
        elements *= 2;
    }
    g.c_batch_stride = elements;
    elements *= batch;
    void *row_bias = random_array(g.m, bias_type(&g));
    void *column_bias = random_array(g.n, bias_type(&g));
    void *residual = random_array(elements, c_type(&g));
    if (draw(0, 1)) {
        g.epilogue.row_bias = draw(0, 1) ? row_bias : NULL;
        g.epilogue.column_bias = draw(0, 1) ? column_bias : NULL;
        g.epilogue.residual = draw(0, 1) ? residual : NULL;
        g.epilogue.activation = (cr_activation)draw(0, CR_ACTIVATION_COUNT - 1);
        g.epilogue.slope = 0.1f;
    }
    check(&g, elements, twice);
    cr_free(residual);
    cr_free(column_bias);
    cr_free(row_bias);
    cr_free((void *)(uintptr_t)g.b.data);
    cr_free((void *)(uintptr_t)g.a.data);
}

static void each_isa(void (*body)(void))
{
    for (int isa = CR_ISA_PORTABLE; isa < CR_ISA_COUNT; isa++) {
        if (!cr_cpu_has_isa((cr_isa)isa))
            continue;
        cr_use_isa((cr_isa)isa);
        body();
    }
    cr_use_isa(CR_ISA_COUNT);
}

/* What the instruction set in use has kernels of its own for. */
static bool has_kernels(cr_gemm_type type)
{
    return cr_isa_in_use() <= CR_ISA_AVX512 || type == CR_GEMM_BF16;
}

static void small_products(void)
{
    static const cr_gemm_type types[] = { CR_GEMM_F32, CR_GEMM_F64, CR_GEMM_BF16, CR_GEMM_BF16,
                                          CR_GEMM_F16 };
    for (int i = 0; i < 400; i++)
        if (has_kernels(types[i % 5]))
            random_product(types[i % 5], 70, i % 8 == 0);
}

static void test_small(void **unused)
{
    (void)unused;
    each_isa(small_products);
}

/* Shapes that take each path of the plan: A and B packed beforehand, cut k, few rows, one column,
 * several steps. */
static void large_products_of(cr_gemm_type type)
{
    static const int64_t shapes[][3] = {
        { 64, 128, 784 },  { 64, 10, 128 },   { 130, 700, 300 },  { 9, 40, 20000 },
        { 1, 700, 900 },   { 700, 1, 900 },   { 3, 500, 600 },    { 520, 33, 400 },
        { 64, 1200, 288 }, { 400, 400, 400 }, { 300, 330, 1100 },
    };
    for (int i = 0; i < CR_COUNT_OF(shapes); i++)
        for (int layout = 0; layout < 4; layout++) {
            if (type != CR_GEMM_F32 && layout != (i + (int)cr_isa_in_use()) % 4)
                continue;
            int64_t m = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
            cr_gemm g = { .type = type,
                          .m = m,
                          .n = n,
                          .k = k,
                          .alpha = 1,
                          .c_stride = n,
                          .accumulate = layout & 1,
                          .c_float = i & 1 };
            g.a = layout & 1 ? (cr_gemm_operand){ .stride = 1, .k_stride = m }
                             : (cr_gemm_operand){ .stride = k, .k_stride = 1 };
            g.b = layout & 2 ? (cr_gemm_operand){ .stride = 1, .k_stride = n }
                             : (cr_gemm_operand){ .stride = k, .k_stride = 1 };
            void *a = random_array(m * k, g.type), *b = random_array(n * k, g.type);
            g.a.data = a;
            g.b.data = b;
            check(&g, m * n, true);
            cr_free(b);
            cr_free(a);
        }
}

static void large_products(void)
{
    if (has_kernels(CR_GEMM_F32))
        large_products_of(CR_GEMM_F32);
    large_products_of(CR_GEMM_BF16);
}

static void test_large(void **unused)
{
    (void)unused;
    each_isa(large_products);
}

/* Blocks of C follow the number of threads; its bits do not. */
static void test_threads(void **unused)
{
    (void)unused;
    static const int64_t shapes[][3] = { { 300, 520, 700 }, { 900, 96, 384 }, { 90, 1000, 450 } };
    for (int i = 0; i < 4 * CR_COUNT_OF(shapes); i++) {
        const int64_t *shape = shapes[i / 4];
        int64_t m = shape[0], n = shape[1], k = shape[2];
        cr_gemm g = { .type = CR_GEMM_F32, .m = m, .n = n, .k = k, .alpha = 1, .c_stride = n };
        void *a = random_array(m * k, g.type), *b = random_array(n * k, g.type);
        g.a = i & 1 ? (cr_gemm_operand){ .data = a, .stride = 1, .k_stride = m }
                    : (cr_gemm_operand){ .data = a, .stride = k, .k_stride = 1 };
        g.b = i & 2 ? (cr_gemm_operand){ .data = b, .stride = 1, .k_stride = n }
                    : (cr_gemm_operand){ .data = b, .stride = k, .k_stride = 1 };
        size_t bytes = (size_t)(m * n + 2 * GUARD) * sizeof(float);
        void *before = cr_alloc_zeroed(bytes, 1), *one = run(&g, before, bytes, 1);
        for (int threads = 3; threads <= 9; threads += 3) {
            void *more = run(&g, before, bytes, threads);
            assert_memory_equal(one, more, bytes);
            cr_free(more);
        }
        cr_free(one);
        cr_free(before);
        cr_free(b);
        cr_free(a);
    }
}

/* A packer of a matrix whose elements are made from their indices. */
static void pack_made(const void *context, int64_t batch, int64_t first, int64_t count,
                      int64_t width, int64_t k_first, int64_t k_count, void *panel)
{
    float *to = panel;
    const float *from = context;
    for (int64_t p = 0; p < k_count; p++)
        for (int64_t j = 0; j < width; j++)
            *to++ = j < count ? from[(k_first + p) * 100 + first + j] + (float)batch : 0;
}

/* The same of bfloat16, in the form that the kernels in use want. */
static void pack_made_half(const void *context, int64_t batch, int64_t first, int64_t count,
                           int64_t width, int64_t k_first, int64_t k_count, void *panel)
{
    bool pairs = cr_gemm_kernels_of(CR_GEMM_BF16)->pairs;
    (void)batch;
    for (int64_t p = 0; p < CR_ROUND_UP(k_count, pairs ? 2 : 1); p++)
        for (int64_t j = 0; j < count; j++) {
            const uint16_t *from = (const uint16_t *)context + (k_first + p) * 100 + first;
            uint16_t value = p < k_count ? from[j] : 0;
            if (pairs)
                ((uint16_t *)panel)[(p / 2 * width + j) * 2 + p % 2] = value;
            else
                ((float *)panel)[p * width + j] = bf16_to_float(value);
        }
}

/* One of the operands as a matrix, then both through packers; 100 columns or rows each. */
static void packed_half_product(void)
{
    uint16_t *a = random_array(501 * 100, CR_GEMM_BF16), *b = random_array(501 * 100, CR_GEMM_BF16);
    float *c[2];
    for (int way = 0; way < 2; way++) {
        cr_gemm g = { .type = CR_GEMM_BF16,
                      .m = 100,
                      .n = 100,
                      .k = 501,
                      .alpha = 1,
                      .c_stride = 100,
                      .c_float = true };
        g.a = (cr_gemm_operand){ .data = a, .stride = 1, .k_stride = 100 };
        g.b = (cr_gemm_operand){ .data = b, .stride = 1, .k_stride = 100 };
        if (way == 1) {
            g.a = (cr_gemm_operand){ .packer = pack_made_half, .context = a };
            g.b = (cr_gemm_operand){ .packer = pack_made_half, .context = b };
        }
        size_t size = cr_gemm_workspace(&g);
        void *workspace = cr_buffer_alloc(size);
        g.c = c[way] = cr_alloc_array(100 * 100, sizeof(float));
        cr_gemm_run(&g, workspace);
        cr_buffer_free(workspace, size);
    }
    assert_memory_equal(c[0], c[1], 100 * 100 * sizeof(float));
    cr_free(c[0]);
    cr_free(c[1]);
    cr_free(a);
    cr_free(b);
}

static void packed_product(void)
{
    packed_half_product();
    float *b = random_array(500 * 100, CR_GEMM_F32), *a = random_array(50 * 500, CR_GEMM_F32);
    float *c[2];
    for (int way = 0; way < 2; way++) {
        cr_gemm g = { .m = 50, .n = 100, .k = 500, .alpha = 1, .c_stride = 100 };
        g.a = (cr_gemm_operand){ .data = a, .stride = 500, .k_stride = 1 };
        g.b = (cr_gemm_operand){ .data = b, .stride = 1, .k_stride = 100 };
        if (way == 1)
            g.b = (cr_gemm_operand){ .packer = pack_made, .context = b };
        size_t size = cr_gemm_workspace(&g);
        void *workspace = cr_buffer_alloc(size);
        g.c = c[way] = cr_alloc_array(50 * 100, sizeof(float));
        cr_gemm_run(&g, workspace);
        cr_buffer_free(workspace, size);
    }
    assert_memory_equal(c[0], c[1], 50 * 100 * sizeof(float));
    cr_free(c[0]);
    cr_free(c[1]);
    cr_free(a);
    cr_free(b);
}

static void test_packer(void **unused)
{
    (void)unused;
    each_isa(packed_product);
}

static void test_integer(void **unused)
{
    (void)unused;
    enum { M = 7, N = 9, K = 300 };
    int64_t a[M * K], b[K * N], c[M * N];
    int8_t small_a[M * K], small_b[K * N], small_c[M * N];
    for (int i = 0; i < M * K; i++)
        small_a[i] = (int8_t)(a[i] = draw(-128, 127));
    for (int i = 0; i < K * N; i++)
        small_b[i] = (int8_t)(b[i] = draw(-128, 127));
    cr_gemm_i64(&(cr_gemm_integer){ M, N, K, a, K, 1, b, 1, N, c, N });
    cr_gemm_i8(&(cr_gemm_integer){ M, N, K, small_a, K, 1, small_b, 1, N, small_c, N });
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            int64_t sum = 0;
            for (int p = 0; p < K; p++)
                sum += a[i * K + p] * b[p * N + j];
            assert_int_equal(c[i * N + j], sum);
            assert_int_equal(small_c[i * N + j], (int8_t)sum);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),   cmocka_unit_test(test_large),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_packer),
        cmocka_unit_test(test_integer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
