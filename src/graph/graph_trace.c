/* A graph from a model function.
 *
 * The function runs without data for batches of 2, 3 and 5 samples, and an observer notes each op
 * that the dispatcher ran: its attributes and which tensors it read and made. Tensors are held
 * until the end, so that an address stands for one tensor only, and are numbered as they appear; a
 * function that does the same at every batch size gives the same numbers. The three records are
 * then laid over each other. What differs must be an integer of the form base + factor * N.
 *
 * A tensor that no op made is an input, a parameter of the model, or a constant. Ops on constants
 * alone ran on real data and need not run again: their results are constants. */
#include <stdio.h>
#include <string.h>

#include "cresset/autograd.h"
#include "graph/graph.h"
#include "nn/nn.h"

#define TRACES 3

static const int64_t trace_sizes[TRACES] = { 2, 3, 5 };

/* An op that ran; tensors are numbers, -1 for an absent one. */
struct record {
    const cr_op *op;
    void *attributes;
    int *inputs;
    int input_count;
    int outputs[CR_MAX_OUTPUTS];
    int output_count;
    char *scope;
};

struct trace {
    struct record *records;
    int record_count;
    int record_capacity;
    cr_tensor **tensors; /* held */
    int tensor_count;
    int tensor_capacity;
    int *table; /* hash table of 1 + number by address; 0: free */
    int table_size;
    int outputs[CR_GRAPH_OUTPUTS];
    int output_count;
};

/* ---- numbering tensors ---- */

static int *slot_of(const struct trace *trace, const cr_tensor *tensor)
{
    uint64_t hash = (uint64_t)(uintptr_t)tensor * 0x9e3779b97f4a7c15u;
    int slot = (int)((hash >> 32) & (uint64_t)(trace->table_size - 1));
    while (trace->table[slot] && trace->tensors[trace->table[slot] - 1] != tensor)
        slot = (slot + 1) & (trace->table_size - 1);
    return &trace->table[slot];
}

/* Room for one tensor more, the table at most half full. */
static bool make_room(struct trace *trace)
{
    if (trace->tensor_count < trace->tensor_capacity)
        return true;
    int capacity = trace->tensor_capacity ? 2 * trace->tensor_capacity : 512;
    cr_tensor **tensors = cr_resize(trace->tensors, (size_t)capacity, sizeof *tensors);
    if (!tensors)
        return false;
    trace->tensors = tensors;
    int *table = cr_alloc_zeroed((size_t)capacity * 2, sizeof *table);
    if (!table)
        return false;
    cr_free(trace->table);
    trace->table = table;
    trace->table_size = 2 * capacity;
    trace->tensor_capacity = capacity;
    for (int i = 0; i < trace->tensor_count; i++)
        *slot_of(trace, tensors[i]) = i + 1;
    return true;
}

/* The number of a tensor, which is held from now on; -1 for NULL, -2 on failure. */
static int number_of(struct trace *trace, cr_tensor *tensor)
{
    if (!tensor)
        return -1;
    if (!make_room(trace))
        return -2;
    int *slot = slot_of(trace, tensor);
    if (!*slot) {
        trace->tensors[trace->tensor_count++] = cr_retain(tensor);
        *slot = trace->tensor_count;
    }
    return *slot - 1;
}

/* ---- recording ---- */

static void record_clear(struct record *record)
{
    cr_free(record->attributes);
    cr_free(record->inputs);
    cr_free(record->scope);
}

static void trace_clear(struct trace *trace)
{
    for (int i = 0; i < trace->record_count; i++)
        record_clear(&trace->records[i]);
    for (int i = 0; i < trace->tensor_count; i++)
        cr_release(trace->tensors[i]);
    cr_free(trace->records);
    cr_free(trace->tensors);
    cr_free(trace->table);
    *trace = (struct trace){ 0 };
}

static bool record_fill(struct trace *trace, struct record *record, const cr_call *call)
{
    *record = (struct record){ .op = call->op,
                               .input_count = call->input_count,
                               .output_count = call->op->output_count ? call->op->output_count : 1,
                               .attributes = cr_alloc(call->op->attribute_size),
                               .inputs = cr_alloc_array((size_t)call->input_count, sizeof(int)),
                               .scope = cr_string_copy(layer_name) };
    if (!record->attributes || !record->inputs || !record->scope)
        return false;
    if (call->op->attribute_size)
        memcpy(record->attributes, call->attributes, call->op->attribute_size);
    bool is_known = true;
    for (int i = 0; i < call->input_count; i++) {
        record->inputs[i] = number_of(trace, call->inputs[i]);
        is_known = is_known && record->inputs[i] > -2;
    }
    for (int o = 0; o < record->output_count; o++) {
        record->outputs[o] = number_of(trace, call->outputs[o]);
        is_known = is_known && record->outputs[o] >= 0;
    }
    return is_known;
}

/* A failure is an error that stands, with which the function ends. */
static void note_op(const cr_call *call, void *context)
{
    struct trace *trace = context;
    if (trace->record_count == trace->record_capacity) {
        int capacity = trace->record_capacity ? 2 * trace->record_capacity : 256;
        struct record *records = cr_resize(trace->records, (size_t)capacity, sizeof *records);
        if (!records)
            return;
        trace->records = records;
        trace->record_capacity = capacity;
    }
    struct record record;
    if (record_fill(trace, &record, call))
        trace->records[trace->record_count++] = record;
    else
        record_clear(&record);
}

/* ---- running the function ---- */

static cr_shape input_shape(const cr_graph_input *input, int64_t n)
{
    cr_shape shape = input->sample;
    if (input->no_batch || shape.ndim >= CR_MAX_DIMS)
        return shape;
    memmove(&shape.dim[1], &shape.dim[0], (size_t)shape.ndim * sizeof shape.dim[0]);
    shape.dim[0] = n;
    shape.ndim++;
    return shape;
}

static cr_status call_function(const cr_graph_args *args, cr_tensor *const *inputs,
                               cr_tensor **outputs, int *output_count)
{
    cr_scope root = cr_root(args->model);
    if (args->many)
        return args->many(root, inputs, args->input_count, outputs, output_count, args->settings);
    *output_count = 1;
    outputs[0] = args->function(root, inputs[0], args->settings);
    return cr_error_status();
}

/* Runs the function for N samples; with a trace, records it there. */
static cr_status run_function(const cr_graph_args *args, int64_t n, struct trace *trace)
{
    cr_tensor *inputs[CR_GRAPH_INPUTS], *outputs[CR_GRAPH_OUTPUTS] = { NULL };
    int count = 0;
    cr_frame frame = cr_frame_begin();
    for (int i = 0; i < args->input_count; i++) {
        cr_shape shape = input_shape(&args->inputs[i], n);
        inputs[i] = tensor_new(CR_META, args->inputs[i].dtype, &shape);
        if (inputs[i] && trace)
            number_of(trace, inputs[i]);
    }
    cr_observation was = cr_observe((cr_observation){ trace ? note_op : NULL, trace });
    tensor_is_traced = trace != NULL;
    if (!cr_failed())
        call_function(args, inputs, outputs, &count);
    tensor_is_traced = false;
    cr_observe(was);
    if (!cr_failed() && (count < 1 || count > CR_GRAPH_OUTPUTS))
        cr_error_set(CR_ERROR_STATE, "the model function gave %d outputs", count);
    for (int i = 0; trace && !cr_failed() && i < count; i++) {
        if (!outputs[i])
            cr_error_set(CR_ERROR_STATE, "the model function returned NULL without an error");
        trace->outputs[i] = number_of(trace, outputs[i]);
        trace->output_count = count;
    }
    cr_frame_end(frame);
    return cr_error_status();
}

/* ---- laying records over each other ---- */

struct merge {
    const cr_graph_args *args;
    struct trace traces[TRACES];
    cr_graph *graph;
    int *values;       /* of tensors; -1: none yet */
    bool *is_constant; /* the tensor depends on neither inputs nor parameters */
};

/* "conv2d (layer1.0.conv1)" */
static const char *name_record(const struct record *record, char *text, size_t room)
{
    cr_text name = { 0 };
    cr_text_printf(&name, record->scope[0] ? "%s (%s)" : "%s", record->op->name, record->scope);
    snprintf(text, room, "%s", name.data ? name.data : record->op->name);
    cr_text_free(&name);
    return text;
}
#define RECORD_TEXT 640

static cr_status check_alike(const struct merge *merge)
{
    const struct trace *first = &merge->traces[0];
    for (int t = 1; t < TRACES; t++) {
        const struct trace *other = &merge->traces[t];
        int count = CR_MIN(first->record_count, other->record_count);
        for (int i = 0; i < count; i++) {
            const struct record *a = &first->records[i], *b = &other->records[i];
            if (a->op == b->op && a->input_count == b->input_count &&
                memcmp(a->inputs, b->inputs, (size_t)a->input_count * sizeof *a->inputs) == 0)
                continue;
            char text[RECORD_TEXT];
            return cr_error_set(CR_ERROR_UNSUPPORTED,
                                "the model does something else at another batch size, from %s on",
                                name_record(a, text, sizeof text));
        }
        if (first->record_count != other->record_count ||
            first->output_count != other->output_count ||
            memcmp(first->outputs, other->outputs, sizeof first->outputs) != 0)
            return cr_error_set(CR_ERROR_UNSUPPORTED,
                                "the model runs %d ops for %lld samples and %d for %lld",
                                first->record_count, (long long)trace_sizes[0], other->record_count,
                                (long long)trace_sizes[t]);
    }
    return CR_OK;
}

/* The shape of a tensor as a function of N. */
static bool solve_shape(const struct merge *merge, int tensor, cr_shape *base, cr_shape *factor)
{
    const cr_shape *shapes[TRACES];
    for (int t = 0; t < TRACES; t++)
        shapes[t] = &merge->traces[t].tensors[tensor]->shape;
    base->ndim = factor->ndim = shapes[0]->ndim;
    if (shapes[1]->ndim != base->ndim || shapes[2]->ndim != base->ndim)
        return false;
    for (int d = 0; d < base->ndim; d++) {
        int64_t at[TRACES] = { shapes[0]->dim[d], shapes[1]->dim[d], shapes[2]->dim[d] };
        if (!graph_solve(at, &base->dim[d], &factor->dim[d]))
            return false;
    }
    return true;
}

/* ---- constants ---- */

static bool is_same_data(const cr_tensor *a, const cr_tensor *b)
{
    return a && b && a->dtype == b->dtype && cr_shape_equal(&a->shape, &b->shape) &&
           memcmp(tensor_bytes(a), tensor_bytes(b),
                  (size_t)tensor_numel(a) * cr_dtype_size((cr_dtype)a->dtype)) == 0;
}

/* One element along each dimension that grows with N, if all along it are alike; else NULL. */
static cr_tensor *without_repeats(cr_tensor *tensor, const cr_shape *factor)
{
    cr_tensor *part = tensor;
    for (int d = 0; d < factor->ndim; d++) {
        if (factor->dim[d] && part)
            part = cr_narrow(part, d, 0, 1);
    }
    cr_tensor *whole = part ? cr_contiguous(cr_expand(part, tensor->shape)) : NULL;
    return is_same_data(whole, cr_contiguous(tensor)) ? cr_contiguous(part) : NULL;
}

/* A constant whose data is the same for every N but for repetition along what grows with it. */
static cr_tensor *common_data(const struct merge *merge, int tensor, const cr_shape *factor)
{
    cr_tensor *common = NULL;
    for (int t = 0; t < TRACES; t++) {
        cr_tensor *part = without_repeats(merge->traces[t].tensors[tensor], factor);
        if (!part || (common && !is_same_data(part, common)))
            return NULL;
        common = common ? common : part;
    }
    return common;
}

static int expand_constant(struct merge *merge, int value, const cr_shape *base,
                           const cr_shape *factor)
{
    const cr_op *expand = cr_op_find("expand");
    int row = graph_attribute(expand, "shape"), count = 0;
    struct graph_symbol symbols[CR_MAX_DIMS];
    for (int d = 0; d < factor->ndim; d++) {
        if (factor->dim[d])
            symbols[count++] = (struct graph_symbol){ row, d, base->dim[d], factor->dim[d] };
    }
    return graph_insert(merge->graph, merge->graph->node_count, expand, base, symbols, count,
                        &value, 1, NULL);
}

static int constant_value(struct merge *merge, int tensor, const struct record *reader)
{
    cr_shape base, factor;
    char text[RECORD_TEXT];
    bool is_solved = solve_shape(merge, tensor, &base, &factor);
    cr_frame frame = cr_frame_begin();
    cr_tensor *data = is_solved ? common_data(merge, tensor, &factor) : NULL;
    int value = data ? graph_add_constant(merge->graph, NULL, data) : -1;
    cr_frame_end(frame);
    if (!data && !cr_failed())
        cr_error_set(CR_ERROR_UNSUPPORTED,
                     "%s reads a constant that depends on the batch size in a way that no op says",
                     name_record(reader, text, sizeof text));
    bool repeats = false;
    for (int d = 0; is_solved && d < factor.ndim; d++)
        repeats = repeats || factor.dim[d];
    return value >= 0 && repeats ? expand_constant(merge, value, &base, &factor) : value;
}

/* ---- values ---- */

/* A tensor that is a parameter or buffer of the model, or another handle of the same elements. */
static bool find_parameter(const cr_model *model, const cr_tensor *tensor, cr_named_tensor *found)
{
    int count = cr_model_tensor_count(model);
    for (int i = 0; i < count; i++) {
        cr_named_tensor named = cr_model_tensor_at(model, i);
        bool is_alias =
            cr_shares_storage(named.tensor, tensor) && named.tensor->offset == tensor->offset &&
            cr_shape_equal(&named.tensor->shape, &tensor->shape) && tensor_is_contiguous(tensor);
        if (named.tensor != tensor && !is_alias)
            continue;
        *found = named;
        return true;
    }
    return false;
}

/* Of tensors that no op made: parameters get values, constants their mark. */
static cr_status sort_origins(struct merge *merge)
{
    const struct trace *trace = &merge->traces[0];
    bool *is_made = cr_alloc_zeroed((size_t)trace->tensor_count, sizeof *is_made);
    if (!is_made)
        return CR_ERROR_MEMORY;
    for (int i = 0; i < trace->record_count; i++) {
        for (int o = 0; o < trace->records[i].output_count; o++)
            is_made[trace->records[i].outputs[o]] = true;
    }
    for (int i = merge->args->input_count; i < trace->tensor_count && !cr_failed(); i++) {
        cr_tensor *tensor = trace->tensors[i];
        cr_named_tensor named;
        if (is_made[i])
            continue;
        if (find_parameter(merge->args->model, tensor, &named)) {
            merge->values[i] = graph_add_constant(merge->graph, named.name, named.tensor);
            if (merge->values[i] >= 0)
                merge->graph->values[merge->values[i]].is_parameter = true;
        } else if (tensor->storage) {
            merge->is_constant[i] = true;
        } else {
            cr_error_set(CR_ERROR_UNSUPPORTED,
                         "the model made a tensor without data that no op gave; a graph cannot "
                         "say what is in it");
        }
    }
    cr_free(is_made);
    return cr_error_status();
}

/* Ops on constants have run. An op without inputs that is no constant draws random numbers. */
static bool is_folded(const struct merge *merge, const struct record *record)
{
    if (record->op->flags & CR_OP_RANDOM)
        return false;
    for (int i = 0; i < record->input_count; i++) {
        if (record->inputs[i] >= 0 && !merge->is_constant[record->inputs[i]])
            return false;
    }
    return true;
}

static void mark_constants(struct merge *merge)
{
    const struct trace *trace = &merge->traces[0];
    for (int i = 0; i < trace->record_count; i++) {
        const struct record *record = &trace->records[i];
        if (!is_folded(merge, record))
            continue;
        for (int o = 0; o < record->output_count; o++)
            merge->is_constant[record->outputs[o]] = true;
    }
}

/* ---- attributes ---- */

static cr_status refuse_attribute(const struct record *record, const char *attribute)
{
    char text[RECORD_TEXT];
    return cr_error_set(CR_ERROR_UNSUPPORTED,
                        "%s: %s depends on the batch size, and not as base + factor * N",
                        name_record(record, text, sizeof text), attribute);
}

/* The integers of one attribute in the three records: a pointer and a count each. */
static int integers_of(const struct merge *merge, int index, const cr_attribute *row,
                       int64_t *at[TRACES])
{
    int count = 1;
    for (int t = 0; t < TRACES; t++) {
        at[t] = (void *)((char *)merge->traces[t].records[index].attributes + row->offset);
        if (row->kind != CR_ATTRIBUTE_INTS)
            continue;
        cr_shape *list = (void *)at[t];
        if (t > 0 && list->ndim != count)
            return -1;
        count = list->ndim;
        at[t] = list->dim;
    }
    return count;
}

static size_t plain_size(cr_attribute_kind kind)
{
    switch (kind) {
    case CR_ATTRIBUTE_FLOAT:
        return sizeof(double);
    case CR_ATTRIBUTE_BOOL:
        return sizeof(bool);
    case CR_ATTRIBUTE_ENUM:
        return sizeof(int);
    default:
        return CR_ATTRIBUTE_TEXT_SIZE;
    }
}

static bool is_alike(const struct merge *merge, int index, const cr_attribute *row)
{
    const char *first = merge->traces[0].records[index].attributes;
    size_t size =
        row->kind == CR_ATTRIBUTE_TEXT ? strlen(first + row->offset) + 1 : plain_size(row->kind);
    for (int t = 1; t < TRACES; t++) {
        const char *other = merge->traces[t].records[index].attributes;
        if (memcmp(first + row->offset, other + row->offset, size) != 0)
            return false;
    }
    return true;
}

#define MOST_SYMBOLS 64

/* Solves the integers of one attribute, writing those for N = 0 into the first record. */
static int solve_row(const struct merge *merge, int index, int row, struct graph_symbol *symbols)
{
    const struct record *record = &merge->traces[0].records[index];
    const cr_attribute *attribute = &record->op->attributes[row];
    int64_t *at[TRACES];
    int found = 0, count = integers_of(merge, index, attribute, at);
    for (int i = 0; i < count; i++) {
        struct graph_symbol symbol = { .attribute = row, .element = i };
        int64_t values[TRACES] = { at[0][i], at[1][i], at[2][i] };
        if (!graph_solve(values, &symbol.base, &symbol.factor))
            return -1;
        if (symbol.factor) {
            at[0][i] = symbol.base;
            symbols[found++] = symbol;
        }
    }
    return count < 0 ? -1 : found;
}

/* The symbols of a record; -1 on failure. */
static int solve_attributes(const struct merge *merge, int index, struct graph_symbol *symbols)
{
    const struct record *record = &merge->traces[0].records[index];
    int count = 0;
    for (int row = 0; record->op->attributes && record->op->attributes[row].name; row++) {
        const cr_attribute *attribute = &record->op->attributes[row];
        bool is_integer =
            attribute->kind == CR_ATTRIBUTE_INT || attribute->kind == CR_ATTRIBUTE_INTS;
        int more = 0;
        if (is_integer && count + CR_MAX_DIMS <= MOST_SYMBOLS)
            more = solve_row(merge, index, row, &symbols[count]);
        else if (is_integer || !is_alike(merge, index, attribute))
            more = -1;
        if (more < 0) {
            refuse_attribute(record, attribute->name);
            return -1;
        }
        count += more;
    }
    return count;
}

/* ---- nodes ---- */

/* Infer must give for N = 5 what the function gave. */
static cr_status check_outputs(const struct merge *merge, const struct record *record)
{
    for (int o = 0; o < record->output_count; o++) {
        const struct graph_value *value = &merge->graph->values[merge->values[record->outputs[o]]];
        for (int t = 0; t < TRACES; t++) {
            const cr_tensor *given = merge->traces[t].tensors[record->outputs[o]];
            cr_shape shape = graph_shape(value, trace_sizes[t]);
            char text[RECORD_TEXT];
            if (!cr_shape_equal(&shape, &given->shape) || value->dtype != (cr_dtype)given->dtype)
                return cr_error_set(CR_ERROR_UNSUPPORTED,
                                    "%s: its result depends on more than its inputs",
                                    name_record(record, text, sizeof text));
        }
    }
    return CR_OK;
}

static cr_status add_node(struct merge *merge, int index, int *inputs)
{
    const struct record *record = &merge->traces[0].records[index];
    struct graph_symbol symbols[MOST_SYMBOLS];
    int count = solve_attributes(merge, index, symbols);
    if (count < 0)
        return cr_error_status();
    for (int i = 0; i < record->input_count; i++) {
        int tensor = record->inputs[i];
        if (tensor >= 0 && merge->is_constant[tensor] && merge->values[tensor] < 0)
            merge->values[tensor] = constant_value(merge, tensor, record);
        if (cr_failed())
            return cr_error_status();
        inputs[i] = tensor < 0 ? -1 : merge->values[tensor];
    }
    int at = merge->graph->node_count;
    if (graph_insert(merge->graph, at, record->op, record->attributes, symbols, count, inputs,
                     record->input_count, record->scope) < 0) {
        cr_error_prefix("%s", record->op->name);
        return cr_error_status();
    }
    for (int o = 0; o < record->output_count; o++)
        merge->values[record->outputs[o]] = merge->graph->nodes[at].outputs[o];
    return check_outputs(merge, record);
}

static cr_status add_nodes(struct merge *merge)
{
    const struct trace *trace = &merge->traces[0];
    for (int i = 0; i < trace->record_count; i++) {
        if (merge->is_constant[trace->records[i].outputs[0]])
            continue;
        int *inputs = cr_alloc_array((size_t)trace->records[i].input_count, sizeof *inputs);
        if (inputs)
            add_node(merge, i, inputs);
        cr_free(inputs);
        if (cr_failed())
            break;
    }
    return cr_error_status();
}

/* ---- inputs and outputs ---- */

/* The name given, or "input", or "input0" and so on. */
static char *port_name(const char *given, const char *kind, int index, int count)
{
    if (given)
        return cr_string_copy(given);
    return count == 1 ? cr_string_copy(kind) : cr_string_format("%s%d", kind, index);
}

static cr_status add_inputs(struct merge *merge)
{
    const cr_graph_args *args = merge->args;
    for (int i = 0; i < args->input_count; i++) {
        cr_shape base, factor;
        char *name = port_name(args->inputs[i].name, "input", i, args->input_count);
        if (!name)
            return CR_ERROR_MEMORY;
        solve_shape(merge, i, &base, &factor);
        merge->values[i] =
            graph_add_value(merge->graph, name, args->inputs[i].dtype, &base, &factor);
        cr_free(name);
        if (merge->values[i] < 0)
            return cr_error_status();
        merge->graph->inputs[merge->graph->input_count++] = merge->values[i];
    }
    return CR_OK;
}

/* An output is a value that a node makes, and one output only. */
static int own_value(struct merge *merge, int tensor)
{
    int value = merge->values[tensor];
    if (value < 0 && merge->is_constant[tensor])
        value = constant_value(merge, tensor,
                               &(struct record){ .op = cr_op_find("clone"), .scope = "" });
    if (value < 0) {
        if (!cr_failed())
            cr_error_set(CR_ERROR_UNSUPPORTED, "an output of the model comes from no op");
        return -1;
    }
    if (merge->graph->values[value].node >= 0 && !graph_is_output(merge->graph, value))
        return value;
    return graph_insert(merge->graph, merge->graph->node_count, cr_op_find("clone"), NULL, NULL, 0,
                        &value, 1, NULL);
}

static cr_status add_outputs(struct merge *merge)
{
    const struct trace *trace = &merge->traces[0];
    cr_graph *graph = merge->graph;
    for (int i = 0; i < trace->output_count; i++) {
        int value = own_value(merge, trace->outputs[i]);
        if (value < 0)
            return cr_error_status();
        const char *given = merge->args->output_names ? merge->args->output_names[i] : NULL;
        graph->values[value].name = port_name(given, "output", i, trace->output_count);
        if (!graph->values[value].name)
            return CR_ERROR_MEMORY;
        graph->outputs[graph->output_count++] = value;
    }
    return CR_OK;
}

/* ---- the whole ---- */

static cr_status merge_traces(struct merge *merge)
{
    if (check_alike(merge) != CR_OK)
        return cr_error_status();
    size_t count = (size_t)merge->traces[0].tensor_count;
    merge->graph = graph_new();
    merge->values = cr_alloc_array(count, sizeof *merge->values);
    merge->is_constant = cr_alloc_zeroed(count, sizeof *merge->is_constant);
    if (!merge->graph || !merge->values || !merge->is_constant)
        return CR_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        merge->values[i] = -1;
    if (add_inputs(merge) != CR_OK || sort_origins(merge) != CR_OK)
        return cr_error_status();
    mark_constants(merge);
    if (add_nodes(merge) != CR_OK || add_outputs(merge) != CR_OK)
        return cr_error_status();
    graph_prune(merge->graph);
    return cr_error_status();
}

/* What a run of a model goes by, put aside for the time of a trace. */
struct surroundings {
    bool training;
    bool grad;
    cr_dtype autocast;
    cr_layer_watch watch;
    struct layer_observer *observer;
};

static struct surroundings surroundings_set(cr_model *model)
{
    struct surroundings was = { .training = cr_model_is_training(model),
                                .grad = cr_set_grad_enabled(false),
                                .autocast = cr_set_autocast(CR_F32),
                                .watch = cr_watch_layers((cr_layer_watch){ 0 }),
                                .observer = layer_observer };
    layer_observer = NULL;
    if (was.training)
        cr_model_train(model, false);
    return was;
}

static void surroundings_restore(cr_model *model, struct surroundings was)
{
    if (was.training)
        cr_model_train(model, true);
    layer_observer = was.observer;
    cr_watch_layers(was.watch);
    cr_set_autocast(was.autocast);
    cr_set_grad_enabled(was.grad);
}

static cr_status check_args(const cr_graph_args *args)
{
    if (!args->model || (!args->function && !args->many))
        return cr_error_set(CR_ERROR_ARGUMENT, "graph_trace: a model and its function are needed");
    if (args->many && (args->input_count < 1 || args->input_count > CR_GRAPH_INPUTS))
        return cr_error_set(CR_ERROR_ARGUMENT, "graph_trace: %d inputs; 1 to %d are possible",
                            args->input_count, CR_GRAPH_INPUTS);
    for (int i = 0; i < args->input_count; i++) {
        if (args->inputs[i].sample.ndim >= CR_MAX_DIMS && !args->inputs[i].no_batch)
            return cr_error_set(CR_ERROR_SHAPE, "graph_trace: samples have at most %d dimensions",
                                CR_MAX_DIMS - 1);
    }
    return CR_OK;
}

cr_graph *cr_graph_trace_with(cr_graph_args args)
{
    cr_graph_input input = { .sample = args.sample, .dtype = args.dtype };
    struct merge merge = { .args = &args };
    if (cr_failed() || check_args(&args) != CR_OK)
        return NULL;
    if (!args.many || !args.inputs) {
        args.inputs = &input;
        args.input_count = 1;
    }
    struct surroundings was = surroundings_set(args.model);
    cr_status status = run_function(&args, trace_sizes[0], NULL);
    for (int t = 0; t < TRACES && status == CR_OK; t++)
        status = run_function(&args, trace_sizes[t], &merge.traces[t]);
    if (status == CR_OK)
        merge_traces(&merge);
    surroundings_restore(args.model, was);
    for (int t = 0; t < TRACES; t++)
        trace_clear(&merge.traces[t]);
    cr_free(merge.values);
    cr_free(merge.is_constant);
    if (cr_failed()) {
        cr_graph_free(merge.graph);
        return NULL;
    }
    return merge.graph;
}
