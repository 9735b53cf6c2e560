/* Copies between layouts whose fastest dimensions differ: a matrix and its transpose, channels last
 * and channels first. Row by row either the reads or the writes would touch a line of the cache for
 * each element, so squares that fit the first cache are copied one after the other. */
#include "kernels/elementwise/elementwise.h"

#define SQUARE 32 /* elements along each side */
#define LEAST  4  /* sizes below which rows do as well */

/* Dimension 0 is the one along which the written elements lie side by side, `across` the one along
 * which the read ones do. */
struct transposed {
    const struct elementwise_plan *plan;
    int across;
    int64_t strips; /* of SQUARE along `across` */
    void (*square)(char *to, const char *from, int64_t rows, int64_t columns, int64_t to_step,
                   int64_t from_step);
};

/* to[r][c] = from[c][r]; steps in bytes from row to row. */
#define SQUARE_COPY(bits)                                                                          \
    static void square_##bits(char *to, const char *from, int64_t rows, int64_t columns,           \
                              int64_t to_step, int64_t from_step)                                  \
    {                                                                                              \
        for (int64_t r = 0; r < rows; r++) {                                                       \
            uint##bits##_t *out = (uint##bits##_t *)(void *)(to + r * to_step);                    \
            const char *in = from + r * (bits / 8);                                                \
            for (int64_t c = 0; c < columns; c++)                                                  \
                out[c] = *(const uint##bits##_t *)(const void *)(in + c * from_step);              \
        }                                                                                          \
    }

SQUARE_COPY(8)
SQUARE_COPY(16)
SQUARE_COPY(32)
SQUARE_COPY(64)

/* A task is a strip along dimension 0, at one position of the dimensions beside the two. */
static void copy_strips(int64_t begin, int64_t end, void *context)
{
    const struct transposed *t = context;
    const struct elementwise_plan *plan = t->plan;
    int64_t to_across = plan->stride[0][t->across], from_across = plan->stride[1][t->across];
    int64_t to_along = plan->stride[0][0], from_along = plan->stride[1][0];
    for (int64_t task = begin; task < end; task++) {
        int64_t first = task % t->strips * SQUARE, rest = task / t->strips;
        char *to = plan->data[0] + first * to_across;
        const char *from = plan->data[1] + first * from_across;
        for (int d = 1; d < plan->ndim; d++) {
            if (d == t->across)
                continue;
            to += rest % plan->size[d] * plan->stride[0][d];
            from += rest % plan->size[d] * plan->stride[1][d];
            rest /= plan->size[d];
        }
        int64_t rows = CR_MIN(SQUARE, plan->size[t->across] - first);
        for (int64_t c = 0; c < plan->size[0]; c += SQUARE)
            t->square(to + c * to_along, from + c * from_along, rows,
                      CR_MIN(SQUARE, plan->size[0] - c), to_across, from_along);
    }
}

/* The dimension along which what is read lies side by side; 0 if rows are as good. */
static int read_dimension(const struct elementwise_plan *plan, int64_t size)
{
    if (plan->size[0] < LEAST || plan->stride[0][0] != size || plan->stride[1][0] == size ||
        plan->stride[1][0] == 0)
        return 0;
    for (int d = 1; d < plan->ndim; d++) {
        if (plan->stride[1][d] == size && plan->size[d] >= LEAST)
            return d;
    }
    return 0;
}

bool copy_transposed(const struct elementwise_plan *plan, size_t size)
{
    struct transposed t = { .plan = plan, .across = read_dimension(plan, (int64_t)size) };
    if (t.across == 0)
        return false;
    t.square = size == 1 ? square_8 : size == 2 ? square_16 : size == 4 ? square_32 : square_64;
    t.strips = CR_DIV_UP(plan->size[t.across], SQUARE);
    int64_t tasks = t.strips;
    for (int d = 1; d < plan->ndim; d++)
        tasks *= d == t.across ? 1 : plan->size[d];
    int64_t work = SQUARE * plan->size[0];
    cr_parallel_for(tasks, CR_MAX(16384 / work, 1), copy_strips, &t);
    return true;
}
