/* Whole rows by index: copied, or added up. For sums the rows are first put in the order of where
 * they go (counting sort), so that threads take targets and each sum has a fixed order. */
#include <string.h>

#include "kernels/indexing/indexing.h"

/* ---- checks and masks ---- */

static void range_loop(const int64_t *at, int64_t n, int64_t step, int64_t *least,
                       int64_t *greatest)
{
    int64_t low = *least, high = *greatest;
    for (int64_t i = 0; i < n; i++) {
        int64_t value = at[i * step];
        low = value < low ? value : low;
        high = value > high ? value : high;
    }
    *least = low;
    *greatest = high;
}

bool index_range(const cr_tensor *index, int64_t *least, int64_t *greatest)
{
    int64_t count = tensor_numel(index);
    const int64_t *data = TENSOR_DATA(const int64_t, index);
    int last = index->shape.ndim - 1;
    *least = INT64_MAX;
    *greatest = INT64_MIN;
    if (count == 0)
        return false;
    if (tensor_is_contiguous(index)) {
        range_loop(data, count, 1, least, greatest);
        return true;
    }
    int64_t rows = count / index->shape.dim[last];
    for (int64_t r = 0; r < rows; r++) {
        int64_t offset = 0, rest = r;
        for (int d = last - 1; d >= 0; d--) {
            offset += rest % index->shape.dim[d] * index->stride[d];
            rest /= index->shape.dim[d];
        }
        range_loop(data + offset, index->shape.dim[last], index->stride[last], least, greatest);
    }
    return true;
}

/* The sign of value + below tells that it is too small, that of size - 1 - value that it is too
 * great; collecting signs vectorises where comparing 64-bit numbers would not. */
bool index_in_range(const cr_tensor *index, int64_t below, int64_t size)
{
    int64_t least, greatest, count = tensor_numel(index);
    if (!tensor_is_contiguous(index))
        return !index_range(index, &least, &greatest) || (least >= -below && greatest < size);
    const uint64_t *data = TENSOR_DATA(const uint64_t, index);
    uint64_t signs = 0, low = (uint64_t)below, high = (uint64_t)size - 1;
    for (int64_t i = 0; i < count; i++)
        signs |= (data[i] + low) | (high - data[i]);
    return count == 0 || !(signs >> 63);
}

int64_t index_count_true(const bool *mask, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += mask[i];
    return count;
}

void index_true_positions(int64_t *out, const bool *mask, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (mask[i])
            *out++ = i;
    }
}

/* ---- copies ---- */

struct row_copy {
    char *out;
    const char *x;
    const int64_t *index;
    int64_t n, count;
    int64_t bytes; /* of a row */
};

static void copy_rows(int64_t begin, int64_t end, void *context)
{
    const struct row_copy *copy = context;
    for (int64_t row = begin; row < end; row++) {
        int64_t from = row / copy->count * copy->n + copy->index[row % copy->count];
        memcpy(copy->out + row * copy->bytes, copy->x + from * copy->bytes, (size_t)copy->bytes);
    }
}

static void copy_words(int64_t begin, int64_t end, void *context)
{
    const struct row_copy *copy = context;
    for (int64_t row = begin; row < end; row++) {
        int64_t from = row / copy->count * copy->n + copy->index[row % copy->count];
        ((uint32_t *)(void *)copy->out)[row] = ((const uint32_t *)(const void *)copy->x)[from];
    }
}

void index_rows(cr_tensor *out, const cr_tensor *x, int64_t outer, int64_t n, int64_t inner,
                const int64_t *index, int64_t count)
{
    struct row_copy copy = { .out = tensor_bytes(out),
                             .x = tensor_bytes(x),
                             .index = index,
                             .n = n,
                             .count = count,
                             .bytes = inner * (int64_t)cr_dtype_size((cr_dtype)x->dtype) };
    if (tensor_numel(out) == 0)
        return;
    cr_parallel_for(outer * count, CR_MAX(65536 / copy.bytes, 1),
                    copy.bytes == 4 ? copy_words : copy_rows, &copy);
}

/* ---- sums ---- */

#define COLUMNS 256 /* that are summed at once */

size_t index_add_workspace(int64_t n, int64_t count)
{
    return (size_t)(n + 1 + count) * sizeof(int64_t);
}

/* starts[r] … starts[r + 1] bound the positions in `order` of the rows that go to r. */
static void sort_rows(const struct index_add *add, int64_t *starts, int64_t *order)
{
    memset(starts, 0, (size_t)(add->n + 1) * sizeof *starts);
    for (int64_t j = 0; j < add->count; j++) {
        if (add->index[j] != add->skip)
            starts[add->index[j] + 1]++;
    }
    for (int64_t r = 0; r < add->n; r++)
        starts[r + 1] += starts[r];
    for (int64_t j = 0; j < add->count; j++) {
        if (add->index[j] != add->skip)
            order[starts[add->index[j]]++] = j;
    }
    for (int64_t r = add->n; r > 0; r--)
        starts[r] = starts[r - 1];
    starts[0] = 0;
}

/* Adds the rows of `order` to one target, COLUMNS at a time. */
#define ADD_ROWS(name, type, total, load, store, scale)                                            \
    static void add_rows_##name(const struct index_add *add, int64_t at, const int64_t *order,     \
                                int64_t rows)                                                      \
    {                                                                                              \
        int64_t outer = at / add->n;                                                               \
        type *out = TENSOR_DATA(type, add->out) + at * add->inner;                                 \
        const type *values = TENSOR_DATA(const type, add->values);                                 \
        for (int64_t begin = 0; begin < add->inner; begin += COLUMNS) {                            \
            total sums[COLUMNS];                                                                   \
            int64_t width = CR_MIN(COLUMNS, add->inner - begin);                                   \
            for (int64_t c = 0; c < width; c++)                                                    \
                sums[c] = 0;                                                                       \
            for (int64_t j = 0; j < rows; j++) {                                                   \
                const type *row = values + (outer * add->count + order[j]) * add->inner + begin;   \
                for (int64_t c = 0; c < width; c++)                                                \
                    sums[c] += (total)load(row[c]);                                                \
            }                                                                                      \
            if (add->alpha != 1) {                                                                 \
                for (int64_t c = 0; c < width; c++)                                                \
                    sums[c] = sums[c] * (total)scale(add->alpha);                                  \
            }                                                                                      \
            if (add->base) {                                                                       \
                const type *base = TENSOR_DATA(const type, add->base) + at * add->inner + begin;   \
                for (int64_t c = 0; c < width; c++)                                                \
                    sums[c] += (total)load(base[c]);                                               \
            }                                                                                      \
            for (int64_t c = 0; c < width; c++)                                                    \
                out[begin + c] = (type)store(sums[c]);                                             \
        }                                                                                          \
    }

#define AS_IS(v) (v)
#define TRUTH(v) ((v) != 0)
#define WHOLE(v) ((int64_t)(v))
ADD_ROWS(F32, float, float, AS_IS, AS_IS, AS_IS)
ADD_ROWS(F64, double, double, AS_IS, AS_IS, AS_IS)
ADD_ROWS(BF16, uint16_t, float, bf16_to_float, bf16_from_float, AS_IS)
ADD_ROWS(F16, uint16_t, float, f16_to_float, f16_from_float, AS_IS)
ADD_ROWS(I64, int64_t, uint64_t, AS_IS, AS_IS, WHOLE)
ADD_ROWS(I32, int32_t, uint64_t, AS_IS, AS_IS, WHOLE)
ADD_ROWS(I16, int16_t, uint64_t, AS_IS, AS_IS, WHOLE)
ADD_ROWS(I8, int8_t, uint64_t, AS_IS, AS_IS, WHOLE)
ADD_ROWS(U8, uint8_t, uint64_t, AS_IS, AS_IS, WHOLE)
ADD_ROWS(BOOL, bool, uint64_t, AS_IS, TRUTH, WHOLE)

typedef void (*add_function)(const struct index_add *add, int64_t at, const int64_t *order,
                             int64_t rows);

#define ADD_ROW_ENTRY(name, word, numpy, bytes, kind) [CR_##name] = add_rows_##name,
static const add_function add_functions[CR_DTYPE_COUNT] = { CR_DTYPE_TABLE(ADD_ROW_ENTRY) };

struct add_job {
    const struct index_add *add;
    add_function function;
    const int64_t *starts;
    const int64_t *order;
};

static void add_targets(int64_t begin, int64_t end, void *context)
{
    const struct add_job *job = context;
    for (int64_t at = begin; at < end; at++) {
        int64_t r = at % job->add->n;
        job->function(job->add, at, job->order + job->starts[r],
                      job->starts[r + 1] - job->starts[r]);
    }
}

void index_add_rows(const struct index_add *add)
{
    int64_t *starts = add->workspace;
    struct add_job job = { add, add_functions[add->out->dtype], starts, starts + add->n + 1 };
    if (tensor_numel(add->out) == 0)
        return;
    sort_rows(add, starts, starts + add->n + 1);
    cr_parallel_for(add->outer * add->n, CR_MAX(16384 / add->inner, 1), add_targets, &job);
}
