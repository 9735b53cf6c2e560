/* Extremes' positions, groups of equal elements, and binary search. */
#include "kernels/sorting/sorting.h"

/* ---- argmax and argmin ---- */

struct extreme {
    int64_t *out;
    const char *x;
    int64_t n, inner, size;
    bool least;
};

#define COLUMNS 64

/* NaN beats all but NaN. */
#define BEATS(value, best)                                                                         \
    ((least ? (value) < (best) : (value) > (best)) | (((value) != (value)) & ((best) == (best))))

/* One line, or up to COLUMNS lines that lie side by side. */
#define EXTREME_LOOP(name, type, value_type, load)                                                 \
    static int64_t extreme_of_##name(const type *at, int64_t n, int64_t step, bool least)          \
    {                                                                                              \
        value_type best = load(at[0]);                                                             \
        int64_t position = 0;                                                                      \
        for (int64_t i = 1; i < n; i++) {                                                          \
            value_type value = load(at[i * step]);                                                 \
            if (BEATS(value, best)) {                                                              \
                best = value;                                                                      \
                position = i;                                                                      \
            }                                                                                      \
        }                                                                                          \
        return position;                                                                           \
    }                                                                                              \
                                                                                                   \
    static void extreme_##name(int64_t *out, const void *line, int64_t n, int64_t step,            \
                               int64_t columns, bool least)                                        \
    {                                                                                              \
        value_type best[COLUMNS];                                                                  \
        const type *at = line;                                                                     \
        if (columns == 1) {                                                                        \
            out[0] = extreme_of_##name(at, n, step, least);                                        \
            return;                                                                                \
        }                                                                                          \
        for (int64_t c = 0; c < columns; c++) {                                                    \
            best[c] = load(at[c]);                                                                 \
            out[c] = 0;                                                                            \
        }                                                                                          \
        for (int64_t i = 1; i < n; i++) {                                                          \
            at += step;                                                                            \
            for (int64_t c = 0; c < columns; c++) {                                                \
                value_type value = load(at[c]);                                                    \
                bool wins = BEATS(value, best[c]);                                                 \
                best[c] = wins ? value : best[c];                                                  \
                out[c] = wins ? i : out[c];                                                        \
            }                                                                                      \
        }                                                                                          \
    }

#define AS_IS(v) (v)
EXTREME_LOOP(F32, float, float, AS_IS)
EXTREME_LOOP(F64, double, double, AS_IS)
EXTREME_LOOP(BF16, uint16_t, float, bf16_to_float)
EXTREME_LOOP(F16, uint16_t, float, f16_to_float)
EXTREME_LOOP(I64, int64_t, int64_t, AS_IS)
EXTREME_LOOP(I32, int32_t, int32_t, AS_IS)
EXTREME_LOOP(I16, int16_t, int16_t, AS_IS)
EXTREME_LOOP(I8, int8_t, int8_t, AS_IS)
EXTREME_LOOP(U8, uint8_t, uint8_t, AS_IS)
EXTREME_LOOP(BOOL, bool, bool, AS_IS)

typedef void (*extreme_loop)(int64_t *out, const void *line, int64_t n, int64_t step,
                             int64_t columns, bool least);

#define EXTREME_ENTRY(name, word, numpy, bytes, kind) [CR_##name] = extreme_##name,
static const extreme_loop extreme_loops[CR_DTYPE_COUNT] = { CR_DTYPE_TABLE(EXTREME_ENTRY) };

struct extreme_job {
    struct extreme extreme;
    extreme_loop loop;
};

/* A task is up to COLUMNS lines of one position of the outer dimensions. */
static void extreme_part(int64_t begin, int64_t end, void *context)
{
    const struct extreme_job *job = context;
    const struct extreme *e = &job->extreme;
    int64_t tasks = CR_DIV_UP(e->inner, COLUMNS);
    for (int64_t task = begin; task < end; task++) {
        int64_t outer = task / tasks, first = task % tasks * COLUMNS;
        job->loop(e->out + outer * e->inner + first,
                  e->x + (outer * e->n * e->inner + first) * e->size, e->n, e->inner,
                  CR_MIN(COLUMNS, e->inner - first), e->least);
    }
}

void sort_extreme(int64_t *out, const cr_tensor *x, int64_t outer, int64_t n, int64_t inner,
                  bool least)
{
    struct extreme_job job = {
        .extreme = { .out = out,
                     .x = tensor_bytes(x),
                     .n = n,
                     .inner = inner,
                     .size = (int64_t)cr_dtype_size((cr_dtype)x->dtype),
                     .least = least },
        .loop = extreme_loops[x->dtype],
    };
    int64_t work = CR_MAX(n * CR_MIN(inner, COLUMNS), 1);
    cr_parallel_for(outer * CR_DIV_UP(inner, COLUMNS), CR_MAX(16384 / work, 1), extreme_part, &job);
}

/* ---- groups ---- */

#define GROUP_CASE(name, type, load)                                                               \
    case CR_##name: {                                                                              \
        const type *at = TENSOR_DATA(const type, sorted);                                          \
        for (int64_t i = 1; i < n; i++) {                                                          \
            count += load(at[i]) != load(at[i - 1]);                                               \
            group[i] = count;                                                                      \
        }                                                                                          \
        break;                                                                                     \
    }

int64_t sort_groups(int64_t *group, const cr_tensor *sorted)
{
    int64_t n = tensor_numel(sorted), count = 0;
    if (n == 0)
        return 0;
    group[0] = 0;
    switch ((cr_dtype)sorted->dtype) {
        GROUP_CASE(F32, float, AS_IS)
        GROUP_CASE(F64, double, AS_IS)
        GROUP_CASE(BF16, uint16_t, bf16_to_float)
        GROUP_CASE(F16, uint16_t, f16_to_float)
        GROUP_CASE(I64, int64_t, AS_IS)
        GROUP_CASE(I32, int32_t, AS_IS)
        GROUP_CASE(I16, int16_t, AS_IS)
        GROUP_CASE(I8, int8_t, AS_IS)
        GROUP_CASE(U8, uint8_t, AS_IS)
        GROUP_CASE(BOOL, bool, AS_IS)
    default:
        break;
    }
    return count + 1;
}

/* ---- binary search ---- */

struct search {
    int64_t *out;
    const cr_tensor *sorted;
    const cr_tensor *values;
    int64_t n;
    int64_t per_line;
    bool right;
};

/* NaN is greater than everything. */
#define SEARCH(name, type)                                                                         \
    static int64_t search_##name(const type *line, int64_t n, type value, bool right)              \
    {                                                                                              \
        int64_t low = 0, high = n;                                                                 \
        while (low < high) {                                                                       \
            int64_t middle = low + (high - low) / 2;                                               \
            type at = line[middle];                                                                \
            bool before = right ? !(value < at) && !(at != at && value == value)                   \
                                : at < value || (value != value && at == at);                      \
            if (before)                                                                            \
                low = middle + 1;                                                                  \
            else                                                                                   \
                high = middle;                                                                     \
        }                                                                                          \
        return low;                                                                                \
    }

SEARCH(f64, double)
SEARCH(i64, int64_t)

static void search_part(int64_t begin, int64_t end, void *context)
{
    const struct search *s = context;
    for (int64_t i = begin; i < end; i++) {
        int64_t first = s->per_line ? i / s->per_line * s->n : 0;
        if (s->sorted->dtype == CR_F64)
            s->out[i] = search_f64(TENSOR_DATA(const double, s->sorted) + first, s->n,
                                   TENSOR_DATA(const double, s->values)[i], s->right);
        else
            s->out[i] = search_i64(TENSOR_DATA(const int64_t, s->sorted) + first, s->n,
                                   TENSOR_DATA(const int64_t, s->values)[i], s->right);
    }
}

void sort_search(int64_t *out, const cr_tensor *sorted, int64_t n, const cr_tensor *values,
                 int64_t values_per_line, bool right)
{
    struct search search = { out, sorted, values, n, values_per_line, right };
    cr_parallel_for(tensor_numel(values), 4096, search_part, &search);
}
