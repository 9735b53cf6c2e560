/* Where in one block of memory the results of a graph lie: those that are never needed at the same
 * time share room. The largest are placed first, each at the lowest offset where it meets none that
 * lives when it does. */
#include <stdlib.h>

#include "graph/graph.h"

#define ALIGNMENT 64

static int by_falling_size(const void *a, const void *b)
{
    const struct graph_buffer *x = *(struct graph_buffer *const *)a;
    const struct graph_buffer *y = *(struct graph_buffer *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->first - y->first;
}

static bool meet_in_time(const struct graph_buffer *a, const struct graph_buffer *b)
{
    return a->first <= b->last && b->first <= a->last;
}

static int by_offset(const void *a, const void *b)
{
    const struct graph_buffer *x = *(struct graph_buffer *const *)a;
    const struct graph_buffer *y = *(struct graph_buffer *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* The lowest offset for a buffer beside the `count` placed ones, which lie by rising offsets. */
static size_t lowest_offset(const struct graph_buffer *buffer, struct graph_buffer *const *placed,
                            int count)
{
    size_t offset = 0;
    for (int i = 0; i < count; i++) {
        if (!meet_in_time(buffer, placed[i]))
            continue;
        if (placed[i]->offset >= offset && placed[i]->offset - offset >= buffer->bytes)
            break;
        offset = CR_MAX(offset, placed[i]->offset + placed[i]->bytes);
    }
    return offset;
}

bool graph_place(struct graph_buffer *buffers, int count, size_t *total)
{
    struct graph_buffer **order = cr_alloc_array((size_t)count + 1, sizeof *order);
    struct graph_buffer **placed = cr_alloc_array((size_t)count + 1, sizeof *placed);
    *total = 0;
    for (int i = 0; order && placed && i < count; i++) {
        buffers[i].bytes = (buffers[i].bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        order[i] = &buffers[i];
    }
    bool good = order && placed;
    if (good)
        qsort(order, (size_t)count, sizeof *order, by_falling_size);
    for (int i = 0; good && i < count; i++) {
        order[i]->offset = lowest_offset(order[i], placed, i);
        *total = CR_MAX(*total, order[i]->offset + order[i]->bytes);
        placed[i] = order[i];
        qsort(placed, (size_t)i + 1, sizeof *placed, by_offset);
    }
    cr_free(order);
    cr_free(placed);
    return good;
}
