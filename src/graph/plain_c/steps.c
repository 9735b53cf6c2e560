/* Steps of the code that is written, the weights and tables that they read, and the arena: buffers
 * are placed largest first, each at the lowest address where nothing lies that lives meanwhile. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/pointwise.h"
#include "graph/plain_c/plain_c.h"

#define ARENA_UNIT 16 /* floats: a vector */

/* ---- steps ---- */

static const char *mark(const struct place *place, char *text)
{
    snprintf(text, MARK_SIZE, "%c%d %lld%c", MARK, place->buffer, (long long)place->offset, MARK);
    return text;
}

const char *reads(struct lowering *l, const struct place *place, char *text)
{
    if (place->buffer < 0)
        return "NULL";
    l->buffers[place->buffer].last = CR_MAX(l->buffers[place->buffer].last, l->step_count);
    return mark(place, text);
}

const char *writes(struct lowering *l, const struct place *place, char *text)
{
    if (place->buffer < 0)
        return "NULL";
    struct buffer *buffer = &l->buffers[place->buffer];
    if (buffer->first < 0)
        buffer->first = l->step_count;
    buffer->last = CR_MAX(buffer->last, l->step_count);
    return mark(place, text);
}

void step(struct lowering *l, const char *part, const char *about, const char *format, ...)
{
    if (cr_failed())
        return;
    use_part(l, part);
    if (l->step_count == l->step_capacity) {
        int capacity = l->step_capacity ? 2 * l->step_capacity : 64;
        char **steps = cr_resize(l->steps, (size_t)capacity, sizeof *steps);
        if (!steps)
            return;
        l->steps = steps;
        l->step_capacity = capacity;
    }
    char call[2048];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(call, sizeof call, format, list);
    va_end(list);
    if (length < 0 || (size_t)length >= sizeof call) {
        cr_error_set(CR_ERROR_STATE, "a step of the code is too long");
        return;
    }
    char *text = about ? cr_string_format("    /* %s */\n    %s\n", about, call)
                       : cr_string_format("    %s\n", call);
    if (text)
        l->steps[l->step_count++] = text;
}

char *describe(const struct lowering *l, int node, int result)
{
    const struct graph_node *n = &l->graph->nodes[node];
    cr_shape shape = value_shape(l, result);
    char text[CR_SHAPE_TEXT];
    cr_shape_format(&shape, text, sizeof text);
    const char *scope = n->scope ? n->scope : "";
    return cr_string_format("%s%s%s %s", scope, *scope ? ": " : "", n->op->name, text);
}

void use_part(struct lowering *l, const char *name)
{
    if (name)
        parts_want(&l->parts, name, l->wanted);
}

/* ---- weights and tables ---- */

float *weights_add(struct lowering *l, int64_t count, struct place *place)
{
    int64_t room = CR_DIV_UP(count, ARENA_UNIT) * ARENA_UNIT;
    if (l->weight_count + room > l->weight_capacity) {
        int64_t capacity = CR_MAX(2 * l->weight_capacity, l->weight_count + room);
        float *weights = cr_resize(l->weights, (size_t)capacity, sizeof *weights);
        if (!weights)
            return NULL;
        l->weights = weights;
        l->weight_capacity = capacity;
    }
    int buffer = buffer_new(l, BUFFER_WEIGHTS, count);
    if (buffer < 0)
        return NULL;
    float *at = l->weights + l->weight_count;
    memset(at, 0, (size_t)room * sizeof *at);
    l->buffers[buffer].place = l->weight_count;
    l->weight_count += room;
    *place = (struct place){ .buffer = buffer };
    return at;
}

const float *floats_of_constant(cr_tensor *data)
{
    cr_tensor *dense = data ? cr_contiguous(cr_to_dtype(data, CR_F32)) : NULL;
    return dense ? TENSOR_DATA(const float, dense) : NULL;
}

const char *table_of(struct lowering *l, cr_tensor *data, char *name)
{
    cr_tensor *dense = cr_contiguous(cr_to_dtype(data, CR_I64));
    int64_t count = dense ? tensor_numel(dense) : 0;
    const int64_t *at = dense ? TENSOR_DATA(const int64_t, dense) : NULL;
    for (int i = 0; dense && i < l->table_count; i++) {
        if (l->table_data[i] == data) {
            snprintf(name, MARK_SIZE, "table_%d", i);
            return name;
        }
    }
    if (l->table_count == l->table_capacity) {
        int capacity = l->table_capacity ? 2 * l->table_capacity : 16;
        cr_tensor **tables = cr_resize(l->table_data, (size_t)capacity, sizeof *tables);
        if (!tables)
            return "";
        l->table_data = tables;
        l->table_capacity = capacity;
    }
    snprintf(name, MARK_SIZE, "table_%d", l->table_count);
    l->table_data[l->table_count++] = data;
    cr_text_printf(&l->tables, "\nstatic const int %s[%lld] = {", name, (long long)count);
    for (int64_t i = 0; i < count; i++)
        cr_text_printf(&l->tables, "%s%lld,", i % 16 ? " " : "\n    ", (long long)at[i]);
    cr_text_append(&l->tables, "\n};\n");
    return name;
}

/* ---- the arena ---- */

static int by_size(const void *a, const void *b)
{
    const struct buffer *x = *(struct buffer *const *)a, *y = *(struct buffer *const *)b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    return x->first - y->first;
}

/* The lowest place for a buffer beside those before it that live at the same time: above one of
 * them, or 0. */
static int64_t lowest_place(struct buffer *const *placed, int count, const struct buffer *buffer)
{
    int64_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < count; i++) {
            const struct buffer *other = placed[i];
            bool apart = other->last < buffer->first || buffer->last < other->first ||
                         at + buffer->size <= other->place || other->place + other->size <= at;
            if (apart)
                continue;
            at = CR_DIV_UP(other->place + other->size, ARENA_UNIT) * ARENA_UNIT;
            moved = true;
        }
    }
    return at;
}

cr_status pack_buffers(struct lowering *l)
{
    struct buffer **sorted = cr_alloc_array((size_t)l->buffer_count + 1, sizeof *sorted);
    if (!sorted)
        return cr_error_status();
    int count = 0;
    for (int i = 0; i < l->buffer_count; i++) {
        if (l->buffers[i].kind == BUFFER_ARENA && l->buffers[i].first >= 0)
            sorted[count++] = &l->buffers[i];
    }
    qsort(sorted, (size_t)count, sizeof *sorted, by_size);
    for (int i = 0; i < count; i++) {
        sorted[i]->place = lowest_place(sorted, i, sorted[i]);
        l->arena = CR_MAX(l->arena, sorted[i]->place + sorted[i]->size);
    }
    cr_free(sorted);
    return cr_error_status();
}
