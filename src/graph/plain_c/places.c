/* Places: where the elements of a value lie, and how they are brought into another order. */
#include <string.h>

#include "graph/plain_c/plain_c.h"

int buffer_new(struct lowering *l, enum buffer_kind kind, int64_t size)
{
    if (l->buffer_count == l->buffer_capacity) {
        int capacity = l->buffer_capacity ? 2 * l->buffer_capacity : 64;
        struct buffer *buffers = cr_resize(l->buffers, (size_t)capacity, sizeof *buffers);
        if (!buffers)
            return -1;
        l->buffers = buffers;
        l->buffer_capacity = capacity;
    }
    l->buffers[l->buffer_count] = (struct buffer){ .kind = kind, .size = size, .first = -1 };
    return l->buffer_count++;
}

static cr_shape row_major(const cr_shape *shape)
{
    cr_shape stride = { .ndim = shape->ndim };
    shape_contiguous_strides(shape, stride.dim);
    return stride;
}

static cr_shape last_strides(const cr_shape *shape)
{
    const int64_t *dim = shape->dim;
    return CR_SHAPE(dim[1] * dim[2] * dim[3], 1, dim[1] * dim[3], dim[1]);
}

struct place place_new(struct lowering *l, const cr_shape *shape, bool channels_last)
{
    return (struct place){ .buffer = buffer_new(l, BUFFER_ARENA, cr_shape_numel(shape)),
                           .shape = *shape,
                           .stride = channels_last ? last_strides(shape) : row_major(shape) };
}

struct place place_of(struct lowering *l, int value)
{
    if (value < 0)
        return (struct place){ .buffer = -1 };
    struct made *made = &l->values[value];
    if (!made->data || made->is_placed)
        return made->place;
    cr_shape shape = cr_shape_of(made->data);
    const float *from = floats_of_constant(made->data);
    float *to = from ? weights_add(l, cr_shape_numel(&shape), &made->place) : NULL;
    if (!to)
        return (struct place){ .buffer = -1 };
    memcpy(to, from, (size_t)cr_shape_numel(&shape) * sizeof *to);
    made->place.shape = shape;
    made->place.stride = row_major(&shape);
    made->is_placed = true;
    return made->place;
}

static bool has_strides(const struct place *place, const cr_shape *stride)
{
    for (int d = 0; d < place->shape.ndim; d++) {
        if (place->shape.dim[d] != 1 && place->stride.dim[d] != stride->dim[d])
            return false;
    }
    return true;
}

bool place_is_dense(const struct place *place)
{
    cr_shape stride = row_major(&place->shape);
    return has_strides(place, &stride);
}

bool place_is_last(const struct place *place)
{
    if (place->shape.ndim != 4)
        return false;
    cr_shape stride = last_strides(&place->shape);
    return has_strides(place, &stride);
}

static struct place place_as(struct lowering *l, struct place place, bool channels_last)
{
    struct place to = place_new(l, &place.shape, channels_last);
    copy_step(l, NULL, &place, &to);
    return to;
}

struct place place_as_dense(struct lowering *l, struct place place)
{
    return place.buffer < 0 || place_is_dense(&place) ? place : place_as(l, place, false);
}

struct place place_as_last(struct lowering *l, struct place place)
{
    return place.buffer < 0 || place_is_last(&place) ? place : place_as(l, place, true);
}

struct place place_permuted(const struct place *place, const int *order)
{
    struct place result = *place;
    for (int d = 0; d < place->shape.ndim; d++) {
        result.shape.dim[d] = place->shape.dim[order[d]];
        result.stride.dim[d] = place->stride.dim[order[d]];
    }
    return result;
}

struct place place_viewed(const struct place *place, const cr_shape *shape)
{
    struct place result = *place;
    result.shape = *shape;
    result.stride = row_major(shape);
    return result;
}

/* ---- loops ---- */

struct loop_dim {
    int64_t size, order, a, b;
};

/* Dimensions of more than one element, those with the largest steps of `order` first. */
static int sorted_dims(const cr_shape *shape, const struct place *order, const struct place *a,
                       const struct place *b, struct loop_dim *dims)
{
    int count = 0;
    for (int d = 0; d < shape->ndim; d++) {
        if (shape->dim[d] == 1)
            continue;
        struct loop_dim dim = { shape->dim[d], order->stride.dim[d], a->stride.dim[d],
                                b->stride.dim[d] };
        int at = count++;
        for (; at > 0 && dims[at - 1].order < dim.order; at--)
            dims[at] = dims[at - 1];
        dims[at] = dim;
    }
    return count;
}

/* Puts dimensions together over which both arrays go on evenly. */
static int joined_dims(struct loop_dim *dims, int count)
{
    int joined = 0;
    for (int i = 0; i < count; i++) {
        struct loop_dim *before = joined ? &dims[joined - 1] : NULL;
        if (before && before->a == dims[i].a * dims[i].size &&
            before->b == dims[i].b * dims[i].size) {
            before->size *= dims[i].size;
            before->a = dims[i].a;
            before->b = dims[i].b;
        } else {
            dims[joined++] = dims[i];
        }
    }
    return joined;
}

bool loops_text(const cr_shape *shape, const struct place *order, const struct place *a,
                const struct place *b, cr_text *text)
{
    struct loop_dim dims[CR_MAX_DIMS];
    int count = joined_dims(dims, sorted_dims(shape, order, a, b, dims));
    if (count > LOOP_DIMS)
        return false;
    const size_t fields[] = { offsetof(struct loop_dim, size), offsetof(struct loop_dim, a),
                              offsetof(struct loop_dim, b) };
    cr_text_append(text, "{ ");
    for (int f = 0; f < 3; f++) {
        cr_text_append(text, f ? ", { " : "{ ");
        for (int d = 0; d < LOOP_DIMS; d++) {
            int from = d - (LOOP_DIMS - count);
            int64_t value = f ? 0 : 1;
            if (from >= 0)
                memcpy(&value, (const char *)&dims[from] + fields[f], sizeof value);
            cr_text_printf(text, "%s%lld", d ? ", " : "", (long long)value);
        }
        cr_text_append(text, " }");
    }
    cr_text_append(text, " }");
    return true;
}

void copy_step(struct lowering *l, const char *about, const struct place *from,
               const struct place *to)
{
    char x[MARK_SIZE], y[MARK_SIZE];
    cr_text loops = { 0 };
    if (!loops_text(&from->shape, to, from, to, &loops))
        cr_error_set(CR_ERROR_UNSUPPORTED,
                     "a copy over more than %d dimensions cannot be written as C", LOOP_DIMS);
    else if (!cr_failed())
        step(l, "copy", about, "copy(&(struct loops)%s, %s, %s);", loops.data, reads(l, from, x),
             writes(l, to, y));
    cr_text_free(&loops);
}
