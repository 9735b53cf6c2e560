/* Sorting by radix, and selection by a heap.
 *
 * Elements become unsigned keys of the same order (inverted for falling order), paired with their
 * positions. Long lines are sorted byte by byte from the lowest, which is stable; a byte that is
 * the same in all keys costs nothing. When few of many are wanted, a heap of the k first so far is
 * kept instead. */
#include <string.h>

#include "kernels/sorting/sorting.h"

struct pair {
    uint64_t key;
    int64_t position;
};

/* ---- keys ---- */

#define FLOAT_KEY(bits, sign, infinity, ones)                                                      \
    (((bits) & ~(sign)) > (infinity) ? (ones)                                                      \
     : (bits) == (sign)              ? (sign)                                                      \
     : (bits) & (sign)               ? (ones) & ~(bits)                                            \
                                     : (bits) | (sign))

#define KEY_F32(v)  FLOAT_KEY((uint64_t)(v), 0x80000000u, 0x7f800000u, 0xffffffffu)
#define KEY_F64(v)  FLOAT_KEY((v), 1ull << 63, 0x7ffull << 52, ~0ull)
#define KEY_BF16(v) FLOAT_KEY((uint64_t)(v), 0x8000u, 0x7f80u, 0xffffu)
#define KEY_F16(v)  FLOAT_KEY((uint64_t)(v), 0x8000u, 0x7c00u, 0xffffu)
#define KEY_I64(v)  ((v) ^ 1ull << 63)
#define KEY_I32(v)  ((v) ^ 0x80000000u)
#define KEY_I16(v)  ((v) ^ 0x8000u)
#define KEY_I8(v)   ((v) ^ 0x80u)
#define KEY_U8(v)   (v)
#define KEY_BOOL(v) (v)

#define KEY_LOOP(name, type)                                                                       \
    static void keys_##name(struct pair *pairs, const void *line, int64_t n, int64_t step)         \
    {                                                                                              \
        const type *at = line;                                                                     \
        for (int64_t i = 0; i < n; i++)                                                            \
            pairs[i] = (struct pair){ (uint64_t)KEY_##name(at[i * step]), i };                     \
    }

KEY_LOOP(F32, uint32_t)
KEY_LOOP(F64, uint64_t)
KEY_LOOP(BF16, uint16_t)
KEY_LOOP(F16, uint16_t)
KEY_LOOP(I64, uint64_t)
KEY_LOOP(I32, uint32_t)
KEY_LOOP(I16, uint16_t)
KEY_LOOP(I8, uint8_t)
KEY_LOOP(U8, uint8_t)
KEY_LOOP(BOOL, uint8_t)

typedef void (*key_loop)(struct pair *pairs, const void *line, int64_t n, int64_t step);

#define KEY_ENTRY(name, word, numpy, bytes, kind) [CR_##name] = keys_##name,
static const key_loop key_loops[CR_DTYPE_COUNT] = { CR_DTYPE_TABLE(KEY_ENTRY) };

static void make_keys(struct pair *pairs, cr_dtype dtype, const char *line, int64_t n, int64_t step,
                      bool descending)
{
    uint64_t ones = ~0ull >> (64 - 8 * cr_dtype_size(dtype));
    key_loops[dtype](pairs, line, n, step);
    for (int64_t i = 0; descending && i < n; i++)
        pairs[i].key ^= ones;
}

/* ---- sorting pairs ---- */

#define SHORT_LINE 40

static void insertion_sort(struct pair *pairs, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        struct pair held = pairs[i];
        int64_t at = i;
        for (; at > 0 && pairs[at - 1].key > held.key; at--)
            pairs[at] = pairs[at - 1];
        pairs[at] = held;
    }
}

/* One pass of the radix sort: by byte `byte`, from `from` to `to`. */
static void radix_pass(struct pair *to, const struct pair *from, int64_t n, int byte,
                       const int64_t *histogram)
{
    int64_t next[256];
    int64_t sum = 0;
    for (int b = 0; b < 256; b++) {
        next[b] = sum;
        sum += histogram[b];
    }
    for (int64_t i = 0; i < n; i++)
        to[next[from[i].key >> (8 * byte) & 255]++] = from[i];
}

/* Sorts by key, keeping the order of equal ones. Returns where the result is. */
static struct pair *sort_pairs(struct pair *pairs, struct pair *other, int64_t n, int bytes)
{
    if (n <= SHORT_LINE) {
        insertion_sort(pairs, n);
        return pairs;
    }
    for (int byte = 0; byte < bytes; byte++) {
        int64_t histogram[256] = { 0 };
        for (int64_t i = 0; i < n; i++)
            histogram[pairs[i].key >> (8 * byte) & 255]++;
        if (histogram[pairs[0].key >> (8 * byte) & 255] == n)
            continue;
        radix_pass(other, pairs, n, byte, histogram);
        struct pair *held = pairs;
        pairs = other;
        other = held;
    }
    return pairs;
}

/* ---- the k first, by a heap whose root is the last of them ---- */

static bool comes_after(const struct pair *a, const struct pair *b)
{
    return a->key > b->key || (a->key == b->key && a->position > b->position);
}

static void sift_down(struct pair *heap, int64_t k, int64_t at)
{
    struct pair held = heap[at];
    for (int64_t child = 2 * at + 1; child < k; child = 2 * at + 1) {
        if (child + 1 < k && comes_after(&heap[child + 1], &heap[child]))
            child++;
        if (!comes_after(&heap[child], &held))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = held;
}

/* Leaves the k first in pairs[0 … k), in the order of their positions where keys are equal. */
static struct pair *select_pairs(struct pair *pairs, int64_t n, int64_t k)
{
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        sift_down(pairs, k, i);
    for (int64_t i = k; i < n; i++) {
        if (comes_after(&pairs[0], &pairs[i])) {
            pairs[0] = pairs[i];
            sift_down(pairs, k, 0);
        }
    }
    for (int64_t last = k - 1; last > 0; last--) {
        struct pair held = pairs[0];
        pairs[0] = pairs[last];
        pairs[last] = held;
        sift_down(pairs, last, 0);
    }
    return pairs;
}

/* ---- lines ---- */

/* Lines are shared out to this many parts, each with room for the pairs of one line. */
#define MOST_PARTS 8

static int64_t lines_per_part(const struct sort_lines *s)
{
    return CR_MAX(CR_DIV_UP(s->outer * s->inner, MOST_PARTS), 1);
}

size_t sort_workspace(const struct sort_lines *s)
{
    int64_t parts = CR_DIV_UP(s->outer * s->inner, lines_per_part(s));
    return (size_t)(parts * 2 * s->n) * sizeof(struct pair);
}

static void store_line(const struct sort_lines *s, const char *line, const struct pair *pairs,
                       int64_t first)
{
    int64_t size = (int64_t)cr_dtype_size((cr_dtype)s->x->dtype);
    char *values = tensor_bytes(s->values);
    int64_t *indices = TENSOR_DATA(int64_t, s->indices);
    for (int64_t i = 0; i < s->k; i++) {
        int64_t at = first + i * s->inner;
        indices[at] = pairs[i].position;
        memcpy(values + at * size, line + pairs[i].position * s->inner * size, (size_t)size);
    }
}

static void sort_part(int64_t begin, int64_t end, void *context)
{
    const struct sort_lines *s = context;
    cr_dtype dtype = (cr_dtype)s->x->dtype;
    int64_t size = (int64_t)cr_dtype_size(dtype);
    struct pair *pairs = (struct pair *)s->workspace + begin / lines_per_part(s) * 2 * s->n;
    bool few = s->k < s->n / 4;
    for (int64_t l = begin; l < end; l++) {
        int64_t outer = l / s->inner, inner = l % s->inner;
        const char *line = tensor_bytes(s->x) + (outer * s->n * s->inner + inner) * size;
        make_keys(pairs, dtype, line, s->n, s->inner, s->descending);
        struct pair *sorted = few ? select_pairs(pairs, s->n, s->k)
                                  : sort_pairs(pairs, pairs + s->n, s->n, (int)size);
        store_line(s, line, sorted, outer * s->k * s->inner + inner);
    }
}

void sort_run(const struct sort_lines *s)
{
    if (s->n && s->k)
        cr_parallel_for(s->outer * s->inner, lines_per_part(s), sort_part, (void *)s);
}
