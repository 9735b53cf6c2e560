/* Reductions of every kind, over any dimensions of strided tensors of every dtype. */
#include "kernels/reduce/reduce.h"
#include "trials.h"

static bool is_count(enum reduce_kind kind)
{
    return kind == REDUCE_NONZERO || kind == REDUCE_NUMBERS;
}

/* Kinds that pick an element have one answer, and so has whatever is done with integers. */
static bool is_exact(enum reduce_kind kind, cr_dtype dtype)
{
    return !cr_dtype_is_floating(dtype) || is_count(kind) || kind == REDUCE_MAX ||
           kind == REDUCE_MIN || kind == REDUCE_LARGEST || kind == REDUCE_SMALLEST;
}

static void *result_of(struct trial *t, enum reduce_kind kind, cr_dtype dtype, cr_dtype result,
                       int64_t outputs, int64_t terms)
{
    if (is_exact(kind, dtype))
        return exact_result(t, result, outputs);
    double relative = (double)terms * 8 * one_unit(dtype == CR_F64 ? CR_F64 : CR_F32);
    return close_result(t, result, outputs, 2 * one_unit(result) + relative,
                        4 * sum_error(dtype, terms));
}

static void reduce(struct trial *t)
{
    enum reduce_kind kind = (enum reduce_kind)(t->number % REDUCE_KIND_COUNT);
    cr_dtype dtype = (cr_dtype)draw(t, 0, CR_DTYPE_COUNT - 1);
    if (!cr_dtype_is_floating(dtype) && kind >= REDUCE_NUMBERS)
        dtype = CR_F32;
    cr_shape shape = draw_shape(t, 4, 4000), dims = { 0 }, kept = { 0 };
    int64_t outputs = 1, terms = 1;
    for (int d = 0; d < shape.ndim; d++) {
        bool reduced = flip(t);
        if (reduced) {
            dims.dim[dims.ndim++] = d;
            terms *= shape.dim[d];
        } else {
            kept.dim[kept.ndim++] = shape.dim[d];
            outputs *= shape.dim[d];
        }
    }
    double most = kind == REDUCE_PROD ? 1.1 : 2;
    struct test_tensor x, out, center;
    strided_operand(t, &x, dtype, &shape, cr_dtype_is_floating(dtype) ? -most : -9,
                    cr_dtype_is_floating(dtype) ? most : 9);
    cr_dtype result = cr_dtype_is_floating(dtype) && !is_count(kind) ? dtype : CR_I64;
    struct reduce_job job = { .x = &x.tensor, .dims = &dims, .kind = kind };
    job.parameter = kind == REDUCE_POWERS ? 1.5 : 0;
    if (kind == REDUCE_CENTERED || kind == REDUCE_EXPS) {
        cr_dtype of = dtype == CR_F64 ? CR_F64 : CR_F32;
        tensor_of(&center, operand(t, of, outputs), of, &kept);
        job.center = &center.tensor;
    }
    int64_t many = kind == REDUCE_EXPS ? 64 * terms : terms;
    tensor_of(&out, result_of(t, kind, dtype, result, outputs, many), result, &kept);
    job.out = &out.tensor;
    job.workspace = workspace(t, reduce_workspace(&x.tensor, &dims));
    reduce_run(&job);
}

const struct variant_case reduce_cases[] = {
    { CR_FAMILY_reduce_loops, "reductions", reduce, 24 * REDUCE_KIND_COUNT },
    { .run = NULL },
};
