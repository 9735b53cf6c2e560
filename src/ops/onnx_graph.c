/* ONNX graphs while they are made: operators and values in the order in which ops add them
 * (onnx_node.h). Small constants that are equal are one; sizes that depend on the batch are
 * computed by operators from the shape of a value that has them. What is made is put in order,
 * named and written by graph/. */
#include <string.h>

#include "cresset/shaping.h"
#include "ops/ops.h"

#define SHARED_CONSTANT_BYTES 1024 /* larger ones are not compared */

/* ---- the record ---- */

bool onnx_grow(void *array, int count, int *room, size_t size)
{
    if (count < *room)
        return true;
    int next = *room ? 2 * *room : 64;
    void *grown = cr_resize(*(void **)array, (size_t)next, size);
    if (!grown)
        return false;
    *(void **)array = grown;
    *room = next;
    return true;
}

void onnx_graph_free(cr_onnx_graph *graph)
{
    for (int v = 0; v < graph->value_count; v++) {
        cr_free(graph->values[v].name);
        cr_release(graph->values[v].data);
    }
    for (int o = 0; o < graph->operator_count; o++) {
        cr_free(graph->operators[o].scope);
        cr_free(graph->operators[o].name);
        cr_free(graph->operators[o].inputs);
        cr_free(graph->operators[o].attributes);
    }
    cr_free(graph->values);
    cr_free(graph->operators);
    cr_free(graph->computed);
    cr_free(graph->sources);
}

static cr_onnx_value new_value(cr_onnx_graph *graph)
{
    if (!onnx_grow(&graph->values, graph->value_count, &graph->value_room, sizeof *graph->values))
        return 0;
    if (graph->value_count == 0) /* number 0 is none */
        graph->values[graph->value_count++] = (struct written_value){ .maker = -1 };
    if (!onnx_grow(&graph->values, graph->value_count, &graph->value_room, sizeof *graph->values))
        return 0;
    graph->values[graph->value_count] = (struct written_value){ .maker = -1 };
    return graph->value_count++;
}

cr_onnx_value onnx_graph_value(cr_onnx_graph *graph, const char *name, cr_tensor *data)
{
    cr_onnx_value value = new_value(graph);
    if (!value)
        return 0;
    struct written_value *made = &graph->values[value];
    made->name = name ? cr_string_copy(name) : NULL;
    made->is_parameter = name && data;
    made->data = cr_retain(data);
    return name && !made->name ? 0 : value;
}

void onnx_graph_describe(cr_onnx_graph *graph, cr_onnx_value value, const cr_onnx_spec *spec)
{
    graph->values[value].spec = *spec;
    graph->values[value].has_spec = true;
    for (int d = 0; d < spec->ndim; d++) {
        bool is_known = cr_onnx_is_fixed(spec->dim[d]);
        for (int s = 0; s < graph->source_count && !is_known; s++)
            is_known = cr_onnx_size_equal(graph->sources[s].size, spec->dim[d]);
        if (is_known || !onnx_grow(&graph->sources, graph->source_count, &graph->source_room,
                                   sizeof *graph->sources))
            continue;
        graph->sources[graph->source_count++] = (struct onnx_size_source){ spec->dim[d], value, d };
    }
}

/* ---- sizes ---- */

bool cr_onnx_is_fixed(cr_onnx_size size)
{
    return size.factor == 0 && size.symbol == 0;
}

bool cr_onnx_size_equal(cr_onnx_size a, cr_onnx_size b)
{
    return a.symbol == b.symbol && (a.symbol || (a.base == b.base && a.factor == b.factor));
}

int64_t cr_onnx_fixed_size(cr_onnx_call *call, int input, int dim)
{
    const cr_onnx_spec *spec = &call->input_specs[input];
    int d = dim < 0 ? dim + spec->ndim : dim;
    if (cr_onnx_is_fixed(spec->dim[d]))
        return spec->dim[d].base;
    cr_error_set(CR_ERROR_UNSUPPORTED,
                 "needs a fixed size in dimension %d of input %d, which depends on the %s", d,
                 input, spec->dim[d].symbol ? "height and width" : "batch");
    return 0;
}

cr_onnx_size cr_onnx_attribute_size_of(cr_onnx_call *call, const char *name, int element,
                                       int64_t value)
{
    call->minds_varying = true;
    for (int i = 0; i < call->varying_count; i++) {
        if (call->varying[i].element == element && strcmp(call->varying[i].name, name) == 0)
            return call->varying[i].size;
    }
    return (cr_onnx_size){ .base = value };
}

/* A vector of one int64: the size of a value that is described so. */
static cr_onnx_value read_size(cr_onnx_call *call, cr_onnx_size size)
{
    const cr_onnx_graph *graph = call->graph;
    for (int s = 0; s < graph->source_count; s++) {
        const struct onnx_size_source *source = &graph->sources[s];
        if (!cr_onnx_size_equal(source->size, size))
            continue;
        cr_onnx_value dim = cr_onnx_integers(call, CR_SHAPE(source->dim));
        return cr_onnx_add(call, "Gather",
                           .inputs = { cr_onnx_unary(call, "Shape", source->value), dim },
                           .attributes = { CR_ONNX_INT("axis", 0) });
    }
    if (size.symbol)
        return (cr_error_set(CR_ERROR_UNSUPPORTED, "has a size that no input tells"), 0);
    if (size.base == 0 && size.factor == 1)
        return (cr_error_set(CR_ERROR_UNSUPPORTED, "needs the batch size, which no input tells"),
                0);
    return 0;
}

static cr_onnx_value compute_size(cr_onnx_call *call, cr_onnx_size size)
{
    cr_onnx_value value = read_size(call, size);
    if (value || cr_failed())
        return value;
    value = read_size(call, (cr_onnx_size){ .factor = 1 });
    if (size.factor != 1)
        value = cr_onnx_binary(call, "Mul", value, cr_onnx_integers(call, CR_SHAPE(size.factor)));
    if (size.base != 0)
        value = cr_onnx_binary(call, "Add", value, cr_onnx_integers(call, CR_SHAPE(size.base)));
    return value;
}

/* One size as a vector; computed once. */
static cr_onnx_value size_vector(cr_onnx_call *call, cr_onnx_size size)
{
    cr_onnx_graph *graph = call->graph;
    if (cr_onnx_is_fixed(size))
        return cr_onnx_integers(call, CR_SHAPE(size.base));
    for (int i = 0; i < graph->computed_count; i++) {
        if (cr_onnx_size_equal(graph->computed[i].size, size))
            return graph->computed[i].value;
    }
    cr_onnx_value value = compute_size(call, size);
    if (!value || !onnx_grow(&graph->computed, graph->computed_count, &graph->computed_room,
                             sizeof *graph->computed))
        return 0;
    graph->computed[graph->computed_count++] = (struct onnx_computed_size){ size, value };
    return value;
}

cr_onnx_value cr_onnx_sizes(cr_onnx_call *call, const cr_onnx_size *sizes, int count)
{
    cr_onnx_value parts[CR_MAX_DIMS] = { 0 };
    int part_count = 0;
    for (int i = 0; i < count && !cr_failed();) {
        cr_shape fixed = { 0 };
        while (i < count && cr_onnx_is_fixed(sizes[i]))
            fixed.dim[fixed.ndim++] = sizes[i++].base;
        parts[part_count++] =
            fixed.ndim ? cr_onnx_integers(call, fixed) : size_vector(call, sizes[i++]);
    }
    if (count == 0)
        return cr_onnx_integers(call, cr_shape_scalar());
    if (part_count == 1)
        return parts[0];
    return cr_onnx_add(call, "Concat", .many = parts, .many_count = part_count,
                       .attributes = { CR_ONNX_INT("axis", 0) });
}

/* ---- operators ---- */

static bool keep_inputs(struct written_operator *made, const cr_onnx_operator *from)
{
    const cr_onnx_value *inputs = from->many ? from->many : from->inputs;
    int count = from->many ? from->many_count : CR_ONNX_MAX_INPUTS;
    while (!from->many && count > 0 && !inputs[count - 1])
        count--;
    made->inputs = cr_alloc_zeroed((size_t)count + 1, sizeof *made->inputs);
    if (!made->inputs)
        return false;
    memcpy(made->inputs, inputs, (size_t)count * sizeof *inputs);
    made->input_count = count;
    return true;
}

static bool keep_attributes(struct written_operator *made, const cr_onnx_operator *from)
{
    int count = 0;
    while (count < CR_ONNX_MAX_ATTRIBUTES && from->attributes[count].kind != CR_ONNX_END)
        count++;
    made->attributes = cr_alloc_zeroed((size_t)count + 1, sizeof *made->attributes);
    if (!made->attributes)
        return false;
    memcpy(made->attributes, from->attributes, (size_t)count * sizeof *made->attributes);
    made->attribute_count = count;
    return true;
}

cr_onnx_value cr_onnx_add_with(cr_onnx_call *call, cr_onnx_operator operation)
{
    cr_onnx_graph *graph = call->graph;
    if (cr_failed() || !onnx_grow(&graph->operators, graph->operator_count, &graph->operator_room,
                                  sizeof *graph->operators))
        return 0;
    int number = graph->operator_count++;
    struct written_operator *made = &graph->operators[number];
    *made = (struct written_operator){ .type = operation.type,
                                       .output_count = CR_MAX(operation.outputs, 1) };
    made->scope = cr_string_copy(graph->scope ? graph->scope : "");
    if (!made->scope || !keep_inputs(made, &operation) || !keep_attributes(made, &operation))
        return 0;
    for (int i = 0; i < made->output_count; i++) {
        cr_onnx_value value = new_value(graph);
        if (!value)
            return 0;
        graph->values[value].maker = number;
        graph->values[value].output = i;
        if (i == 0)
            made->output = value;
    }
    return made->output;
}

cr_onnx_value cr_onnx_unary(cr_onnx_call *call, const char *type, cr_onnx_value x)
{
    return cr_onnx_add(call, type, .inputs = { x });
}

cr_onnx_value cr_onnx_binary(cr_onnx_call *call, const char *type, cr_onnx_value a, cr_onnx_value b)
{
    return cr_onnx_add(call, type, .inputs = { a, b });
}

cr_status onnx_result(cr_onnx_call *call, cr_onnx_value value)
{
    call->outputs[0] = value;
    return cr_error_status();
}

cr_status onnx_direct(cr_onnx_call *call, const char *type)
{
    return onnx_result(
        call, cr_onnx_add(call, type, .many = call->inputs, .many_count = call->input_count));
}

/* ---- constants ---- */

static bool is_same_constant(const cr_tensor *a, const cr_tensor *b)
{
    size_t bytes = (size_t)tensor_numel(a) * cr_dtype_size((cr_dtype)a->dtype);
    return a->dtype == b->dtype && cr_shape_equal(&a->shape, &b->shape) &&
           memcmp(tensor_bytes(a), tensor_bytes(b), bytes) == 0;
}

cr_onnx_value cr_onnx_tensor(cr_onnx_call *call, cr_tensor *tensor)
{
    cr_onnx_graph *graph = call->graph;
    cr_tensor *data = tensor ? cr_contiguous(tensor) : NULL;
    if (!data || cr_failed())
        return 0;
    bool is_shared =
        (size_t)tensor_numel(data) * cr_dtype_size((cr_dtype)data->dtype) <= SHARED_CONSTANT_BYTES;
    for (int v = 1; v < graph->value_count && is_shared; v++) {
        const struct written_value *value = &graph->values[v];
        if (value->data && !value->is_parameter && tensor_is_contiguous(value->data) &&
            is_same_constant(value->data, data))
            return v;
    }
    return onnx_graph_value(graph, NULL, data);
}

cr_onnx_value cr_onnx_number(cr_onnx_call *call, cr_dtype dtype, double value)
{
    if (cr_failed())
        return 0;
    cr_frame frame = cr_frame_begin();
    cr_onnx_value made = cr_onnx_tensor(call, cr_full(value, cr_shape_scalar(), .dtype = dtype));
    cr_frame_end(frame);
    return made;
}

cr_onnx_value cr_onnx_integers(cr_onnx_call *call, cr_shape values)
{
    if (cr_failed())
        return 0;
    cr_frame frame = cr_frame_begin();
    cr_onnx_value made =
        cr_onnx_tensor(call, cr_from_buffer(values.dim, CR_SHAPE(values.ndim), CR_I64));
    cr_frame_end(frame);
    return made;
}

cr_tensor *cr_onnx_constant(cr_onnx_call *call, cr_onnx_value value)
{
    return value ? call->graph->values[value].data : NULL;
}

/* ---- what many ops need ---- */

cr_onnx_value cr_onnx_with_number(cr_onnx_call *call, const char *type, cr_onnx_value x,
                                  cr_dtype dtype, double number)
{
    return cr_onnx_binary(call, type, x, cr_onnx_number(call, dtype, number));
}

/* The operator of a type that made a value; NULL if another did, or none. */
static const struct written_operator *made_by(const cr_onnx_graph *graph, cr_onnx_value x,
                                              const char *type)
{
    int maker = x ? graph->values[x].maker : -1;
    bool is_it = maker >= 0 && strcmp(graph->operators[maker].type, type) == 0;
    return is_it ? &graph->operators[maker] : NULL;
}

/* ONNX's Reshape keeps a size for 0, and finds one for -1. False if these do not say it. */
static bool plain_sizes(const cr_onnx_spec *from, const cr_onnx_size *sizes, int ndim,
                        cr_shape *plain)
{
    bool has_free = false;
    *plain = (cr_shape){ .ndim = ndim };
    for (int d = 0; d < ndim; d++) {
        bool is_fixed = cr_onnx_is_fixed(sizes[d]);
        bool is_kept = !is_fixed && d < from->ndim && cr_onnx_size_equal(from->dim[d], sizes[d]);
        if ((is_fixed && sizes[d].base == 0) || (!is_fixed && !is_kept && has_free))
            return false;
        has_free = has_free || (!is_fixed && !is_kept);
        plain->dim[d] = is_fixed ? sizes[d].base : is_kept ? 0 : -1;
    }
    return true;
}

static bool is_of_sizes(const cr_onnx_spec *spec, const cr_onnx_size *sizes, int ndim)
{
    bool is_same = spec->ndim == ndim;
    for (int d = 0; d < ndim && is_same; d++)
        is_same = cr_onnx_size_equal(spec->dim[d], sizes[d]);
    return is_same;
}

/* Two in turn are one. */
cr_onnx_value cr_onnx_reshape(cr_onnx_call *call, cr_onnx_value x, const cr_onnx_spec *from,
                              const cr_onnx_size *sizes, int ndim)
{
    const struct written_operator *earlier = made_by(call->graph, x, "Reshape");
    cr_onnx_spec known = { 0 };
    cr_shape plain;
    if (earlier)
        x = earlier->inputs[0];
    else if (from)
        known = *from;
    if (earlier && call->graph->values[x].has_spec)
        known = call->graph->values[x].spec;
    if (known.ndim && is_of_sizes(&known, sizes, ndim))
        return x;
    cr_onnx_value shape = plain_sizes(&known, sizes, ndim, &plain)
                              ? cr_onnx_integers(call, plain)
                              : cr_onnx_sizes(call, sizes, ndim);
    return cr_onnx_binary(call, "Reshape", x, shape);
}

/* A constant in another order is made once. */
static cr_onnx_value permuted_constant(cr_onnx_call *call, cr_onnx_value x, cr_shape order)
{
    cr_onnx_graph *graph = call->graph;
    for (int v = 1; v < graph->value_count; v++) {
        const struct written_value *value = &graph->values[v];
        if (value->permuted_from == x && cr_shape_equal(&value->order, &order))
            return v;
    }
    cr_frame frame = cr_frame_begin();
    const struct written_value *from = &graph->values[x];
    cr_tensor *data = cr_contiguous(cr_permute(from->data, order));
    cr_onnx_value made = data ? onnx_graph_value(graph, from->name, data) : 0;
    cr_frame_end(frame);
    if (!made)
        return 0;
    graph->values[made].permuted_from = x;
    graph->values[made].order = order;
    return made;
}

/* Two orders in turn are one. */
cr_onnx_value cr_onnx_permute(cr_onnx_call *call, cr_onnx_value x, cr_shape order)
{
    const struct written_operator *earlier = made_by(call->graph, x, "Transpose");
    if (earlier) {
        for (int d = 0; d < order.ndim; d++)
            order.dim[d] = earlier->attributes[0].integers.dim[order.dim[d]];
        x = earlier->inputs[0];
    }
    bool is_same = true;
    for (int d = 0; d < order.ndim; d++)
        is_same = is_same && order.dim[d] == d;
    if (is_same || cr_failed())
        return x;
    const struct written_value *value = &call->graph->values[x];
    if (value->data && !(value->is_parameter && call->graph->keeps_parameters))
        return permuted_constant(call, x, order);
    return cr_onnx_add(call, "Transpose", .inputs = { x },
                       .attributes = { CR_ONNX_INTS("perm", order) });
}

int onnx_dtype(cr_dtype dtype)
{
    static const int numbers[CR_DTYPE_COUNT] = {
        [CR_F32] = 1, [CR_U8] = 2,   [CR_I8] = 3,   [CR_I16] = 5,  [CR_I32] = 6,
        [CR_I64] = 7, [CR_BOOL] = 9, [CR_F16] = 10, [CR_F64] = 11, [CR_BF16] = 16,
    };
    return numbers[dtype];
}

cr_onnx_value cr_onnx_cast(cr_onnx_call *call, cr_onnx_value x, cr_dtype dtype)
{
    return cr_onnx_add(call, "Cast", .inputs = { x },
                       .attributes = { CR_ONNX_INT("to", onnx_dtype(dtype)) });
}

cr_onnx_value cr_onnx_slice(cr_onnx_call *call, cr_onnx_value x, int64_t dim, int64_t start,
                            int64_t end, int64_t step)
{
    return cr_onnx_add(call, "Slice",
                       .inputs = { x, cr_onnx_integers(call, CR_SHAPE(start)),
                                   cr_onnx_integers(call, CR_SHAPE(end)),
                                   cr_onnx_integers(call, CR_SHAPE(dim)),
                                   step == 1 ? 0 : cr_onnx_integers(call, CR_SHAPE(step)) });
}

cr_onnx_value cr_onnx_unsqueeze(cr_onnx_call *call, cr_onnx_value x, cr_shape dims)
{
    return cr_onnx_binary(call, "Unsqueeze", x, cr_onnx_integers(call, dims));
}

cr_onnx_value cr_onnx_squeeze(cr_onnx_call *call, cr_onnx_value x, cr_shape dims)
{
    return cr_onnx_binary(call, "Squeeze", x, cr_onnx_integers(call, dims));
}
