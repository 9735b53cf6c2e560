/* Sums: each output element is one thread's, added up in row-major order of what it sums. */
#include "kernels/reduce/reduce.h"

struct reduction {
    const cr_tensor *x;
    cr_tensor *out;
    cr_shape kept_size, kept_stride;       /* bytes */
    cr_shape reduced_size, reduced_stride; /* bytes */
};

static int64_t offset_of(int64_t position, const cr_shape *size, const cr_shape *stride)
{
    int64_t offset = 0;
    for (int d = size->ndim - 1; d >= 0; d--) {
        offset += position % size->dim[d] * stride->dim[d];
        position /= size->dim[d];
    }
    return offset;
}

#define SUM_CASE(name, type, total_type, read)                                                     \
    case CR_##name: {                                                                              \
        total_type total = 0;                                                                      \
        for (int64_t i = 0; i < count; i++) {                                                      \
            type v = *(const type *)(const void *)(from + offset_of(i, &r->reduced_size,           \
                                                                    &r->reduced_stride));          \
            total += (total_type)(read);                                                           \
        }                                                                                          \
        floating = (double)total;                                                                  \
        integer = (int64_t)total;                                                                  \
        break;                                                                                     \
    }

static void sum_one(const struct reduction *r, int64_t position, int64_t count)
{
    const char *from = tensor_bytes(r->x) + offset_of(position, &r->kept_size, &r->kept_stride);
    double floating = 0;
    int64_t integer = 0;
    switch ((cr_dtype)r->x->dtype) {
        SUM_CASE(F32, float, double, v)
        SUM_CASE(F64, double, double, v)
        SUM_CASE(BF16, uint16_t, double, bf16_to_float(v))
        SUM_CASE(F16, uint16_t, double, f16_to_float(v))
        SUM_CASE(I64, int64_t, uint64_t, v)
        SUM_CASE(I32, int32_t, int64_t, v)
        SUM_CASE(I16, int16_t, int64_t, v)
        SUM_CASE(I8, int8_t, int64_t, v)
        SUM_CASE(U8, uint8_t, int64_t, v)
        SUM_CASE(BOOL, bool, int64_t, v)
    default:
        break;
    }
    switch ((cr_dtype)r->out->dtype) {
    case CR_F32:
        TENSOR_DATA(float, r->out)[position] = (float)floating;
        break;
    case CR_F64:
        TENSOR_DATA(double, r->out)[position] = floating;
        break;
    case CR_BF16:
        TENSOR_DATA(uint16_t, r->out)[position] = bf16_from_float((float)floating);
        break;
    case CR_F16:
        TENSOR_DATA(uint16_t, r->out)[position] = f16_from_float((float)floating);
        break;
    default:
        TENSOR_DATA(int64_t, r->out)[position] = integer;
    }
}

static void sum_part(int64_t begin, int64_t end, void *context)
{
    const struct reduction *r = context;
    int64_t count = cr_shape_numel(&r->reduced_size);
    for (int64_t i = begin; i < end; i++)
        sum_one(r, i, count);
}

void reduce_sum(cr_tensor *out, const cr_tensor *x, const cr_shape *dims)
{
    struct reduction r = { .x = x, .out = out };
    int64_t bytes = (int64_t)cr_dtype_size((cr_dtype)x->dtype);
    int next = 0;
    for (int d = 0; d < x->shape.ndim; d++) {
        bool reduced = next < dims->ndim && dims->dim[next] == d;
        next += reduced;
        cr_shape *size = reduced ? &r.reduced_size : &r.kept_size;
        cr_shape *stride = reduced ? &r.reduced_stride : &r.kept_stride;
        size->dim[size->ndim++] = x->shape.dim[d];
        stride->dim[stride->ndim++] = x->stride[d] * bytes;
    }
    cr_parallel_for(tensor_numel(out), 64, sum_part, &r);
}
