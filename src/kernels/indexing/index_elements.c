/* gather and scatter: element by element along one dimension. The lines along it are independent
 * and go to threads; a task takes up to LINES_TOGETHER lines that lie side by side and walks them
 * together, so that memory is read in order. */
#include "kernels/indexing/indexing.h"

#define LINES_TOGETHER 256

/* Steps in elements: along dim, and from line to line. */
struct lines {
    int64_t length; /* of a line of index */
    int64_t count;  /* lines */
    int64_t table_step, index_step, values_step;
    int64_t table_next, index_next, values_next;
};

typedef void (*line_loop)(const struct lines *lines, char *table, const int64_t *index,
                          char *values);

/* A single line is walked by the inner loop, several side by side in step by the outer one. */
#define LINE_LOOP(name, type, body)                                                                \
    static void name(const struct lines *lines, char *table, const int64_t *index, char *values)   \
    {                                                                                              \
        bool one = lines->count == 1;                                                              \
        int64_t outer = one ? 1 : lines->length, inner = one ? lines->length : lines->count;       \
        int64_t index_next = one ? lines->index_step : lines->index_next;                          \
        int64_t values_next = one ? lines->values_step : lines->values_next;                       \
        int64_t table_next = one ? 0 : lines->table_next, step = lines->table_step;                \
        for (int64_t j = 0; j < outer; j++) {                                                      \
            const int64_t *at = index + j * lines->index_step;                                     \
            type *value = (type *)(void *)values + j * lines->values_step;                         \
            type *base = (type *)(void *)table;                                                    \
            for (int64_t i = 0; i < inner; i++) {                                                  \
                type *entry = base + *at * step;                                                   \
                body;                                                                              \
                at += index_next;                                                                  \
                value += values_next;                                                              \
                base += table_next;                                                                \
            }                                                                                      \
        }                                                                                          \
    }

LINE_LOOP(gather_8, uint8_t, *value = *entry)
LINE_LOOP(gather_16, uint16_t, *value = *entry)
LINE_LOOP(gather_32, uint32_t, *value = *entry)
LINE_LOOP(gather_64, uint64_t, *value = *entry)
LINE_LOOP(scatter_8, uint8_t, *entry = *value)
LINE_LOOP(scatter_16, uint16_t, *entry = *value)
LINE_LOOP(scatter_32, uint32_t, *entry = *value)
LINE_LOOP(scatter_64, uint64_t, *entry = *value)

/* The four ways of combining, for a dtype that is read by `load` and written by `store`. Integers
 * wrap around. */
#define IS_NAN(v)            ((v) != (v))
#define GREATER_OR_NAN(a, b) ((a) > (b) || IS_NAN(a) ? (a) : (b))
#define LESS_OR_NAN(a, b)    ((a) < (b) || IS_NAN(a) ? (a) : (b))
#define COMBINE_LOOPS(name, type, load, store)                                                     \
    LINE_LOOP(add_##name, type, *entry = store(load(*entry) + load(*value)))                       \
    LINE_LOOP(multiply_##name, type, *entry = store(load(*entry) * load(*value)))                  \
    LINE_LOOP(maximum_##name, type, *entry = store(GREATER_OR_NAN(load(*entry), load(*value))))    \
    LINE_LOOP(minimum_##name, type, *entry = store(LESS_OR_NAN(load(*entry), load(*value))))

#define AS_IS(v)    (v)
#define WRAP_I64(v) ((uint64_t)(v))
#define I64(v)      ((int64_t)(v))
#define I32(v)      ((int32_t)(v))
#define I16(v)      ((int16_t)(v))
#define I8(v)       ((int8_t)(v))
#define U8(v)       ((uint8_t)(v))
#define BOOL(v)     ((v) != 0)
#define WIDE(v)     ((int64_t)(v))

COMBINE_LOOPS(F32, float, AS_IS, AS_IS)
COMBINE_LOOPS(F64, double, AS_IS, AS_IS)
COMBINE_LOOPS(BF16, uint16_t, bf16_to_float, bf16_from_float)
COMBINE_LOOPS(F16, uint16_t, f16_to_float, f16_from_float)
LINE_LOOP(add_I64, int64_t, *entry = I64(WRAP_I64(*entry) + WRAP_I64(*value)))
LINE_LOOP(multiply_I64, int64_t, *entry = I64(WRAP_I64(*entry) * WRAP_I64(*value)))
LINE_LOOP(maximum_I64, int64_t, *entry = CR_MAX(*entry, *value))
LINE_LOOP(minimum_I64, int64_t, *entry = CR_MIN(*entry, *value))
COMBINE_LOOPS(I32, int32_t, WIDE, I32)
COMBINE_LOOPS(I16, int16_t, WIDE, I16)
COMBINE_LOOPS(I8, int8_t, WIDE, I8)
COMBINE_LOOPS(U8, uint8_t, WIDE, U8)
COMBINE_LOOPS(BOOL, bool, WIDE, BOOL)

#define COMBINE_ROW(name, word, numpy, bytes, kind)                                                \
    [CR_##name] = { [INDEX_ADD] = add_##name,                                                      \
                    [INDEX_MULTIPLY] = multiply_##name,                                            \
                    [INDEX_MAXIMUM] = maximum_##name,                                              \
                    [INDEX_MINIMUM] = minimum_##name },
static const line_loop combine_loops[CR_DTYPE_COUNT][INDEX_KIND_COUNT] = { CR_DTYPE_TABLE(
    COMBINE_ROW) };

static line_loop loop_for(enum index_kind kind, cr_dtype dtype)
{
    static const line_loop gathers[] = { gather_8, gather_16, gather_32, gather_64 };
    static const line_loop scatters[] = { scatter_8, scatter_16, scatter_32, scatter_64 };
    size_t size = cr_dtype_size(dtype);
    int width = size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3;
    if (kind == INDEX_GATHER)
        return gathers[width];
    return kind == INDEX_SCATTER ? scatters[width] : combine_loops[dtype][kind];
}

/* ---- the walk over all lines ---- */

struct walk {
    line_loop loop;
    struct lines lines;
    char *table;
    const int64_t *index;
    char *values;
    int64_t size; /* bytes of an element */
    int64_t side; /* lines that lie side by side */
    int ndim;     /* of the other dimensions, slowest first */
    int64_t count[CR_MAX_DIMS];
    int64_t table_stride[CR_MAX_DIMS];
    int64_t index_stride[CR_MAX_DIMS];
    int64_t values_stride[CR_MAX_DIMS];
};

/* A task is up to LINES_TOGETHER lines of one position of the other dimensions. */
static void walk_tasks(int64_t begin, int64_t end, void *context)
{
    const struct walk *walk = context;
    int64_t each = CR_DIV_UP(walk->side, LINES_TOGETHER);
    for (int64_t task = begin; task < end; task++) {
        int64_t first = task % each * LINES_TOGETHER;
        int64_t rest = task / each;
        int64_t table = first * walk->lines.table_next, index = first * walk->lines.index_next;
        int64_t values = first * walk->lines.values_next;
        struct lines lines = walk->lines;
        lines.count = CR_MIN(walk->side - first, LINES_TOGETHER);
        for (int d = walk->ndim - 1; d >= 0; d--) {
            int64_t position = rest % walk->count[d];
            rest /= walk->count[d];
            table += position * walk->table_stride[d];
            index += position * walk->index_stride[d];
            values += position * walk->values_stride[d];
        }
        walk->loop(&lines, walk->table + table * walk->size, walk->index + index,
                   walk->values + values * walk->size);
    }
}

/* Tensors of no dimensions have one line of one element. */
static void single_element(enum index_kind kind, cr_tensor *table, const cr_tensor *index,
                           cr_tensor *values)
{
    struct lines lines = { .length = 1, .count = 1 };
    loop_for(kind, (cr_dtype)table->dtype)(&lines, tensor_bytes(table),
                                           TENSOR_DATA(const int64_t, index), tensor_bytes(values));
}

void index_elements(enum index_kind kind, cr_tensor *table, int dim, const cr_tensor *index,
                    cr_tensor *values)
{
    if (index->shape.ndim == 0 || table->shape.ndim == 0) {
        if (tensor_numel(index))
            single_element(kind, table, index, values);
        return;
    }
    int last = index->shape.ndim - 1;
    bool has_side = dim != last;
    struct walk walk = { .loop = loop_for(kind, (cr_dtype)table->dtype),
                         .table = tensor_bytes(table),
                         .index = TENSOR_DATA(const int64_t, index),
                         .values = tensor_bytes(values),
                         .size = (int64_t)cr_dtype_size((cr_dtype)table->dtype),
                         .side = has_side ? index->shape.dim[last] : 1 };
    walk.lines = (struct lines){ .length = index->shape.dim[dim],
                                 .table_step = table->stride[dim],
                                 .index_step = index->stride[dim],
                                 .values_step = values->stride[dim],
                                 .table_next = has_side ? table->stride[last] : 0,
                                 .index_next = has_side ? index->stride[last] : 0,
                                 .values_next = has_side ? values->stride[last] : 0 };
    int64_t tasks = CR_DIV_UP(walk.side, LINES_TOGETHER);
    for (int d = 0; d < last; d++) {
        if (d == dim)
            continue;
        walk.count[walk.ndim] = index->shape.dim[d];
        walk.table_stride[walk.ndim] = table->stride[d];
        walk.index_stride[walk.ndim] = index->stride[d];
        walk.values_stride[walk.ndim++] = values->stride[d];
        tasks *= index->shape.dim[d];
    }
    int64_t work = CR_MAX(walk.lines.length * CR_MIN(walk.side, LINES_TOGETHER), 1);
    if (walk.lines.length)
        cr_parallel_for(tasks, CR_MAX(8192 / work, 1), walk_tasks, &walk);
}
