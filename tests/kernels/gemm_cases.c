/* Matrix products: every type, operands in every layout or from a packer, epilogues, blocks and
 * batches; and integers. */
#include "trials.h"

static const cr_dtype dtypes[CR_GEMM_TYPE_COUNT] = { CR_F32, CR_F64, CR_BF16, CR_F16 };

/* `count` rows or columns of k steps, contiguous along k, along the rows, or along neither. */
static cr_gemm_operand draw_operand(struct trial *t, cr_dtype dtype, int64_t count, int64_t k,
                                    int64_t batch)
{
    cr_gemm_operand o = { .k_stride = 1, .stride = k };
    int64_t kind = draw(t, 0, 2), gap = draw(t, 0, 3) ? 0 : draw(t, 1, 9);
    if (kind == 0) {
        o.stride = k + gap;
    } else if (kind == 1) {
        o.stride = 1;
        o.k_stride = count + gap;
    } else {
        o.k_stride = 2;
        o.stride = 2 * k + gap;
    }
    if (draw(t, 0, 7) == 0) /* expanded: one row, or one step of k, again and again */
        *(flip(t) ? &o.stride : &o.k_stride) = 0;
    int64_t one = (count - 1) * o.stride + CR_MAX(k - 1, 0) * o.k_stride + 1;
    o.batch_stride = flip(t) ? one : 0;
    o.data = operand(t, dtype, one + (batch - 1) * o.batch_stride);
    return o;
}

static void draw_epilogue(struct trial *t, cr_gemm *g, cr_dtype bias, cr_dtype c, int64_t elements)
{
    if (flip(t))
        return;
    if (flip(t))
        g->epilogue.row_bias = operand(t, bias, g->m);
    if (flip(t))
        g->epilogue.column_bias = operand(t, bias, g->n);
    if (flip(t))
        g->epilogue.residual = operand(t, c, elements);
    g->epilogue.activation = (cr_activation)draw(t, 0, CR_ACTIVATION_COUNT - 1);
    g->epilogue.slope = 0.1f;
}

static int64_t draw_size(struct trial *t)
{
    int64_t kind = draw(t, 0, 5);
    return draw(t, 1, kind < 2 ? 5 : kind < 5 ? 40 : 150);
}

static void product(struct trial *t, cr_gemm_type type)
{
    cr_dtype dtype = dtypes[type];
    cr_gemm g = { .type = type,
                  .m = draw_size(t),
                  .n = draw_size(t),
                  .k = draw(t, 0, 9) ? draw_size(t) : draw(t, 0, 1400),
                  .batch = draw(t, 0, 4) ? 1 : 3,
                  .alpha = flip(t) ? 1 : 0.5,
                  .accumulate = flip(t),
                  .c_float = flip(t),
                  .bias_float = flip(t) };
    bool is_half = type == CR_GEMM_BF16 || type == CR_GEMM_F16;
    cr_dtype c_dtype = is_half && g.c_float ? CR_F32 : dtype;
    g.a = draw_operand(t, dtype, g.m, g.k, g.batch);
    g.b = draw_operand(t, dtype, g.n, g.k, g.batch);
    g.c_stride = g.n + (flip(t) ? 0 : draw(t, 1, 7));
    int64_t elements = g.m * g.c_stride;
    if (g.n > 2 && draw(t, 0, 3) == 0) {
        g.c_block = draw(t, 1, g.n);
        g.c_stride = g.c_block;
        g.c_block_stride = g.m * g.c_block + 1;
        elements = CR_DIV_UP(g.n, g.c_block) * g.c_block_stride;
    }
    if (draw(t, 0, 5) == 0) {
        g.c_column_stride = 2;
        g.c_stride *= 2;
        g.c_block_stride *= 2;
        elements *= 2;
    }
    g.c_batch_stride = elements;
    draw_epilogue(t, &g, is_half && g.bias_float ? CR_F32 : dtype, c_dtype, elements * g.batch);
    g.c = close_update(t, c_dtype, elements * g.batch, 4 * one_unit(c_dtype),
                       2 * sum_error(dtype, g.k));
    cr_gemm_run(&g, workspace(t, cr_gemm_workspace(&g)));
}

static void product_f32(struct trial *t)
{
    product(t, CR_GEMM_F32);
}

static void product_f64(struct trial *t)
{
    product(t, CR_GEMM_F64);
}

static void product_bf16(struct trial *t)
{
    product(t, CR_GEMM_BF16);
}

static void product_f16(struct trial *t)
{
    product(t, CR_GEMM_F16);
}

static void widening(struct trial *t)
{
    int64_t n = draw(t, 1, 300);
    cr_gemm_type type = flip(t) ? CR_GEMM_BF16 : CR_GEMM_F16;
    const void *from = operand(t, dtypes[type], n);
    cr_gemm_widen(type, from, n, exact_result(t, CR_F32, n));
}

static void integers(struct trial *t)
{
    static const struct {
        cr_dtype dtype;
        void (*run)(const cr_gemm_integer *product);
    } types[] = { { CR_I64, cr_gemm_i64 },
                  { CR_I32, cr_gemm_i32 },
                  { CR_I16, cr_gemm_i16 },
                  { CR_I8, cr_gemm_i8 },
                  { CR_U8, cr_gemm_u8 } };
    int type = (int)draw(t, 0, CR_COUNT_OF(types) - 1);
    cr_dtype dtype = types[type].dtype;
    cr_gemm_integer g = { .m = draw(t, 1, 20), .n = draw(t, 1, 40), .k = draw(t, 0, 30) };
    cr_gemm_operand a = draw_operand(t, dtype, g.m, g.k, 1),
                    b = draw_operand(t, dtype, g.n, g.k, 1);
    g.a = a.data, g.a_stride = a.stride, g.a_k_stride = a.k_stride;
    g.b = b.data, g.b_stride = b.stride, g.b_k_stride = b.k_stride;
    g.c_stride = g.n + draw(t, 0, 3);
    g.c = exact_update(t, dtype, g.m * g.c_stride);
    types[type].run(&g);
}

const struct variant_case gemm_cases[] = {
    { CR_FAMILY_cr_gemm_kernels, "products of float32", product_f32, 120 },
    { CR_FAMILY_cr_gemm_kernels, "products of float64", product_f64, 60 },
    { CR_FAMILY_cr_gemm_kernels, "products of bfloat16", product_bf16, 120 },
    { CR_FAMILY_cr_gemm_kernels, "products of float16", product_f16, 60 },
    { CR_FAMILY_cr_gemm_kernels, "widening", widening, 20 },
    { CR_FAMILY_cr_gemm_kernels, "products of integers", integers, 30 },
    { .run = NULL },
};
