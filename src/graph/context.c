/* A graph made ready for one batch size: kernels with their tensors, over one arena.
 *
 * Shapes, strides and workspaces are found here once, as the dispatcher would at every run. Images
 * that a convolution gives channels-last stay so: pooling, what works element by element, and
 * joining channels are given the same memory under the shape (N, H, W, C). What a kernel cannot
 * read as it lies is copied first, by a step of its own. */
#include <string.h>

#include "graph/graph.h"
#include "kernels/elementwise/elementwise.h"
#include "ops/ops.h"

struct builder {
    const cr_graph *graph;
    struct graph_context *context;
    int *tensors;   /* of values: their place in context->tensors; -1: constants, or not yet made */
    int *last_node; /* for the value that others are views of: the last node that reads any */
    int *root;      /* the value that a value is a view of, or itself */
    int64_t n;
    int step;
};

/* ---- tensors ---- */

/* Number of a handle over `buffer`; -1 on failure. */
static int add_tensor(struct builder *b, cr_dtype dtype, const cr_shape *shape,
                      const cr_shape *stride, int64_t offset, int buffer)
{
    struct graph_context *context = b->context;
    cr_tensor *tensor = tensor_new_owned(CR_META, dtype, shape);
    if (!tensor)
        return -1;
    tensor->device = CR_CPU;
    tensor->offset = offset;
    if (stride)
        memcpy(tensor->stride, stride->dim, sizeof tensor->stride);
    context->tensors[context->tensor_count] = tensor;
    context->buffer_of[context->tensor_count] = buffer;
    return context->tensor_count++;
}

static int add_buffer(struct builder *b, size_t bytes)
{
    struct graph_context *context = b->context;
    context->buffers[context->buffer_count] =
        (struct graph_buffer){ .bytes = bytes, .first = b->step, .last = b->step };
    context->apart_bytes += bytes;
    return context->buffer_count++;
}

static int find_tensor(const struct builder *b, const cr_tensor *tensor)
{
    for (int i = b->context->tensor_count - 1; i >= 0; i--) {
        if (b->context->tensors[i] == tensor)
            return i;
    }
    return -1;
}

/* A new tensor over memory of its own, dense in the order of the strides given (NULL: row-major).
 */
static cr_tensor *new_tensor(struct builder *b, cr_dtype dtype, const cr_shape *shape,
                             const cr_shape *stride)
{
    int64_t numel = cr_shape_numel(shape);
    int number =
        add_tensor(b, dtype, shape, stride, 0, add_buffer(b, (size_t)numel * cr_dtype_size(dtype)));
    return number < 0 ? NULL : b->context->tensors[number];
}

/* Another handle over the memory of a tensor; constants are no tensors of the context. */
static cr_tensor *alias(struct builder *b, const cr_tensor *base, const cr_shape *shape,
                        const cr_shape *stride)
{
    int of = find_tensor(b, base);
    int number = add_tensor(b, (cr_dtype)base->dtype, shape, stride, base->offset,
                            of < 0 ? -1 : b->context->buffer_of[of]);
    if (number < 0)
        return NULL;
    cr_tensor *tensor = b->context->tensors[number];
    if (of < 0) {
        tensor->storage = base->storage;
        atomic_fetch_add_explicit(&base->storage->references, 1, memory_order_relaxed);
    }
    return tensor;
}

/* ---- steps ---- */

static void touch(struct builder *b, const cr_tensor *tensor)
{
    int number = tensor ? find_tensor(b, tensor) : -1;
    int buffer = number < 0 ? -1 : b->context->buffer_of[number];
    if (buffer >= 0 && buffer < b->context->buffer_count)
        b->context->buffers[buffer].last = CR_MAX(b->context->buffers[buffer].last, b->step);
}

static struct graph_step *add_step(struct builder *b, const cr_op *op, int node, int input_count)
{
    struct graph_step *step = &b->context->steps[b->context->step_count++];
    *step = (struct graph_step){ .node = node, .workspace = -1 };
    step->inputs = cr_alloc_zeroed((size_t)input_count + 1, sizeof *step->inputs);
    step->call = (cr_call){
        .op = op, .inputs = step->inputs, .input_count = input_count, .outputs = step->outputs
    };
    return step->inputs ? step : NULL;
}

/* A copy of a tensor, channels-last or row-major, by a step of its own. */
static cr_tensor *copied(struct builder *b, cr_tensor *from, bool channels_last)
{
    cr_shape stride = channels_last ? channels_last_strides(&from->shape) : (cr_shape){ 0 };
    cr_tensor *to =
        new_tensor(b, (cr_dtype)from->dtype, &from->shape, channels_last ? &stride : NULL);
    struct graph_step *step = to ? add_step(b, NULL, -1, 1) : NULL;
    if (!step)
        return NULL;
    step->inputs[0] = from;
    step->outputs[0] = to;
    touch(b, from);
    b->step++;
    touch(b, to);
    return to;
}

/* ---- layouts ---- */

static bool is_named(const cr_op *op, const char *const *names)
{
    for (; *names; names++) {
        if (strcmp(op->name, *names) == 0)
            return true;
    }
    return false;
}

/* Element by element: any order of the elements will do that all operands share. */
static bool is_pointwise(const cr_op *op)
{
    static const char *const names[] = {
        "add",       "sub",       "mul",         "div",      "maximum", "minimum", "relu",
        "hardtanh",  "hardswish", "hardsigmoid", "silu",     "sigmoid", "tanh",    "gelu_none",
        "gelu_tanh", "exp",       "sqrt",        "rsqrt",    "square",  "clamp",   "leaky_relu",
        "abs",       "neg",       "pow",         "softplus", "mish",    NULL
    };
    return is_named(op, names);
}

static bool is_last(const cr_tensor *tensor)
{
    return tensor && is_channels_last(tensor);
}

/* True if a plane is one point, so that both orders are the same. */
static bool is_both(const cr_tensor *tensor)
{
    return tensor->shape.ndim == 4 && tensor_is_contiguous(tensor) &&
           (tensor->shape.dim[1] == 1 || tensor->shape.dim[2] * tensor->shape.dim[3] == 1);
}

/* (N, C, H, W) as (N, H, W, C), of fewer dimensions after 1s. */
static cr_tensor *turned(struct builder *b, const cr_tensor *x)
{
    static const int order[4] = { 0, 2, 3, 1 };
    cr_shape shape = { .ndim = 4 }, stride = { .ndim = 4 };
    for (int d = 0; d < 4; d++) {
        int from = order[d] - (4 - x->shape.ndim);
        shape.dim[d] = from < 0 ? 1 : x->shape.dim[from];
        stride.dim[d] = from < 0 ? 0 : x->stride[from];
    }
    return alias(b, x, &shape, &stride);
}

/* Whether a node of this kind is to work channels-last. */
static bool goes_last(const struct graph_step *step, const cr_shape *result)
{
    bool is_cat = strcmp(step->call.op->name, "cat") == 0;
    bool some = false, all = true;
    if (result->ndim != 4 || !(is_cat || is_pointwise(step->call.op)))
        return false;
    for (int i = 0; i < step->call.input_count; i++) {
        const cr_tensor *input = step->inputs[i];
        bool last = is_last(input);
        if (!input)
            return false;
        some = some || (last && (is_cat || cr_shape_equal(&input->shape, result)));
        all = all && (last || is_both(input));
    }
    return some && (!is_cat || all);
}

/* The inputs of a step as (N, H, W, C); those that lie otherwise are copied. */
static cr_status turn_inputs(struct builder *b, struct graph_step *step)
{
    for (int i = 0; i < step->call.input_count; i++) {
        cr_tensor *input = step->inputs[i];
        bool is_whole = input->shape.ndim == 4 && input->shape.dim[2] * input->shape.dim[3] > 1 &&
                        input->shape.dim[1] > 1;
        if (is_whole && !is_last(input))
            input = copied(b, input, true);
        step->inputs[i] = input ? turned(b, input) : NULL;
        if (!step->inputs[i])
            return cr_error_status();
    }
    if (strcmp(step->call.op->name, "cat") == 0) {
        static const int turned_dim[4] = { 0, 3, 1, 2 };
        int row = graph_attribute(step->call.op, "dim");
        int64_t *dim = (void *)((char *)step->attributes + step->call.op->attributes[row].offset);
        *dim = turned_dim[(*dim + 4) % 4];
    }
    return CR_OK;
}

/* What the kernel reads: all inputs contiguous, unless it takes any strides. */
static cr_status settle_inputs(struct builder *b, struct graph_step *step)
{
    const cr_op *op = step->call.op;
    bool is_conv = strcmp(op->name, "native_conv_norm_activation") == 0;
    for (int i = 0; i < step->call.input_count; i++) {
        cr_tensor *input = step->inputs[i];
        if (!input || tensor_is_contiguous(input))
            continue;
        bool is_fine =
            is_conv ? is_last(input) && graph_int(&b->graph->nodes[step->node], "channels_last")
                    : (op->flags & CR_OP_STRIDED) != 0;
        if (is_fine)
            continue;
        step->inputs[i] = copied(b, input,
                                 is_conv && input->shape.ndim == 4 &&
                                     graph_int(&b->graph->nodes[step->node], "channels_last"));
        if (!step->inputs[i])
            return cr_error_status();
    }
    return CR_OK;
}

/* ---- one node ---- */

static cr_status infer_step(struct graph_step *step, cr_tensor_spec *outputs)
{
    cr_infer_call call = { .op = step->call.op,
                           .attributes = step->attributes,
                           .inputs = step->inputs,
                           .input_count = step->call.input_count };
    cr_status status = step->call.op->infer(&call);
    memcpy(outputs, call.outputs, sizeof call.outputs);
    if (status != CR_OK)
        cr_error_prefix("%s", step->call.op->name);
    return status;
}

/* A view is no step: a handle over the memory of its input. */
static cr_status build_view(struct builder *b, const struct graph_node *node,
                            struct graph_step *step)
{
    cr_tensor_spec specs[CR_MAX_OUTPUTS];
    if (infer_step(step, specs) != CR_OK) {
        if (tensor_is_contiguous(step->inputs[0]))
            return cr_error_status();
        cr_error_clear();
        cr_tensor *copy = copied(b, step->inputs[0], false);
        step->inputs[0] = copy;
        if (!copy || infer_step(step, specs) != CR_OK)
            return cr_error_status();
    }
    cr_tensor *view = alias(b, step->inputs[0], &specs[0].shape, &specs[0].stride);
    if (!view)
        return cr_error_status();
    view->offset += specs[0].offset;
    b->tensors[node->outputs[0]] = find_tensor(b, view);
    return CR_OK;
}

/* Whether another input than i reads the same buffer in another way. */
static bool is_shared(const struct builder *b, const struct graph_step *step, int i, int buffer)
{
    for (int j = 0; j < step->call.input_count; j++) {
        int number = j == i ? -1 : find_tensor(b, step->inputs[j]);
        if (number >= 0 && b->context->buffer_of[number] == buffer)
            return true;
    }
    return false;
}

/* The buffer of an input that the result may take over: the node is the last to read it, and it is
 * as the result is. -1: none. */
static int reusable(const struct builder *b, const struct graph_node *node,
                    const struct graph_step *step, const cr_tensor_spec *spec)
{
    if (!is_pointwise(step->call.op))
        return -1;
    for (int i = 0; i < node->input_count; i++) {
        const cr_tensor *input = step->inputs[i];
        int value = node->inputs[i], number = find_tensor(b, input);
        int buffer = number < 0 ? -1 : b->context->buffer_of[number];
        if (buffer < 0 || buffer >= b->context->buffer_count ||
            b->graph->values[b->root[value]].data || b->last_node[b->root[value]] != step->node ||
            !tensor_is_contiguous(input) || input->offset || input->dtype != (uint8_t)spec->dtype ||
            !cr_shape_equal(&input->shape, &spec->shape) || is_shared(b, step, i, buffer))
            continue;
        return buffer;
    }
    return -1;
}

static cr_status make_outputs(struct builder *b, const struct graph_node *node,
                              struct graph_step *step, const cr_tensor_spec *specs, bool is_last_op)
{
    static const int back[4] = { 0, 3, 1, 2 };
    int outputs = step->call.op->output_count ? step->call.op->output_count : 1;
    int taken = outputs == 1 ? reusable(b, node, step, &specs[0]) : -1;
    for (int o = 0; o < outputs; o++) {
        const cr_tensor_spec *spec = &specs[o];
        const cr_shape *stride = spec->stride.ndim ? &spec->stride : NULL;
        int number = taken >= 0 ? add_tensor(b, spec->dtype, &spec->shape, stride, 0, taken) : -1;
        cr_tensor *output = taken < 0    ? new_tensor(b, spec->dtype, &spec->shape, stride)
                            : number < 0 ? NULL
                                         : b->context->tensors[number];
        if (!output)
            return cr_error_status();
        step->outputs[o] = output;
        cr_tensor *seen = output;
        if (is_last_op) {
            cr_shape shape = { .ndim = 4 }, own = { .ndim = 4 };
            for (int d = 0; d < 4; d++) {
                shape.dim[d] = output->shape.dim[back[d]];
                own.dim[d] = output->stride[back[d]];
            }
            seen = alias(b, output, &shape, &own);
        }
        if (!seen)
            return cr_error_status();
        if (o < node->output_count)
            b->tensors[node->outputs[o]] = find_tensor(b, seen);
    }
    return CR_OK;
}

static bool reads_given_integers(const struct builder *b, const struct graph_node *node)
{
    for (int i = 0; i < node->input_count; i++) {
        if (node->inputs[i] >= 0 && !b->graph->values[node->inputs[i]].data &&
            !cr_dtype_is_floating(b->graph->values[node->inputs[i]].dtype))
            return true;
    }
    return false;
}

static cr_status finish_step(struct builder *b, const struct graph_node *node,
                             struct graph_step *step, bool is_last_op)
{
    cr_tensor_spec specs[CR_MAX_OUTPUTS];
    const cr_op *op = step->call.op;
    if (settle_inputs(b, step) != CR_OK || infer_step(step, specs) != CR_OK)
        return cr_error_status();
    if (make_outputs(b, node, step, specs, is_last_op) != CR_OK)
        return cr_error_status();
    if (!op->forward[CR_CPU])
        return cr_error_set(CR_ERROR_UNSUPPORTED, "%s has no kernel", op->name);
    step->call.workspace_size = op->workspace ? op->workspace(&step->call) : 0;
    if (step->call.workspace_size)
        step->workspace = add_buffer(b, step->call.workspace_size);
    step->is_checked = reads_given_integers(b, node);
    for (int i = 0; i < step->call.input_count; i++)
        touch(b, step->inputs[i]);
    for (int o = 0; o < CR_MAX_OUTPUTS; o++)
        touch(b, step->outputs[o]);
    b->step++;
    return CR_OK;
}

/* Copies that inputs need are steps before; so the step is put together apart from the list. */
static cr_status build_kernel(struct builder *b, const struct graph_node *node,
                              struct graph_step *step)
{
    const cr_tensor *x = node->input_count ? step->inputs[0] : NULL;
    bool is_last_op = goes_last(step, &b->graph->values[node->outputs[0]].shape);
    if (is_last(x) && x->dtype == CR_F32) {
        _Alignas(16) char attributes[POOL_LAST_BYTES];
        const cr_op *pool = pool_last_op(step->call.op, step->attributes, &x->shape, attributes);
        bool has_one = node->output_count < 2 || !graph_users(b->graph, node->outputs[1], NULL, 0);
        if (pool && has_one) {
            void *own = cr_alloc(sizeof attributes);
            if (!own)
                return CR_ERROR_MEMORY;
            memcpy(own, attributes, sizeof attributes);
            cr_free(step->attributes);
            step->attributes = own;
            step->call.attributes = own;
            step->call.op = pool;
        }
    }
    if (is_last_op && turn_inputs(b, step) != CR_OK)
        return cr_error_status();
    cr_status status = finish_step(b, node, step, is_last_op);
    if (status != CR_OK)
        return status;
    struct graph_step *own = &b->context->steps[b->context->step_count++];
    *own = *step;
    own->call.outputs = own->outputs;
    *step = (struct graph_step){ 0 };
    return CR_OK;
}

static cr_tensor *value_tensor(const struct builder *b, int value)
{
    if (value < 0)
        return NULL;
    return b->graph->values[value].data ? b->graph->values[value].data
                                        : b->context->tensors[b->tensors[value]];
}

static cr_status build_node(struct builder *b, int i)
{
    const struct graph_node *node = &b->graph->nodes[i];
    struct graph_step step = { .node = i, .workspace = -1 };
    step.attributes = cr_alloc(node->op->attribute_size);
    step.inputs = cr_alloc_zeroed((size_t)node->input_count + 1, sizeof *step.inputs);
    cr_status status = step.attributes && step.inputs ? CR_OK : CR_ERROR_MEMORY;
    if (status == CR_OK) {
        graph_attributes(node, b->n, step.attributes);
        for (int j = 0; j < node->input_count; j++)
            step.inputs[j] = value_tensor(b, node->inputs[j]);
        step.call = (cr_call){ .op = node->op,
                               .attributes = step.attributes,
                               .inputs = step.inputs,
                               .input_count = node->input_count,
                               .outputs = step.outputs };
        if (node->op->flags & CR_OP_VIEW)
            status = build_view(b, node, &step);
        else
            status = build_kernel(b, node, &step);
    }
    cr_free(step.attributes);
    cr_free(step.inputs);
    return status;
}

/* ---- the whole ---- */

static void find_roots(struct builder *b)
{
    const cr_graph *graph = b->graph;
    for (int i = 0; i < graph->value_count; i++) {
        b->root[i] = i;
        b->last_node[i] = -1;
        b->tensors[i] = -1;
    }
    for (int i = 0; i < graph->node_count; i++) {
        const struct graph_node *node = &graph->nodes[i];
        if (node->op->flags & CR_OP_VIEW)
            b->root[node->outputs[0]] = b->root[node->inputs[0]];
        for (int j = 0; j < node->input_count; j++) {
            if (node->inputs[j] >= 0)
                b->last_node[b->root[node->inputs[j]]] = i;
        }
    }
    for (int i = 0; i < graph->output_count; i++)
        b->last_node[b->root[graph->outputs[i]]] = graph->node_count;
}

/* Room for the most that there may be: each input of a node may have to be copied, and turned. */
static cr_status make_room(struct builder *b)
{
    const cr_graph *graph = b->graph;
    struct graph_context *context = b->context;
    size_t inputs = 0, steps, tensors, buffers;
    for (int i = 0; i < graph->node_count; i++)
        inputs += (size_t)graph->nodes[i].input_count + 1;
    steps = inputs + (size_t)graph->node_count;
    tensors = 3 * inputs + 2 * CR_MAX_OUTPUTS * (size_t)graph->node_count + CR_GRAPH_INPUTS;
    buffers = inputs + (CR_MAX_OUTPUTS + 1) * (size_t)graph->node_count + CR_GRAPH_INPUTS;
    context->steps = cr_alloc_zeroed(steps + 1, sizeof *context->steps);
    context->tensors = cr_alloc_zeroed(tensors, sizeof *context->tensors);
    context->buffer_of = cr_alloc_zeroed(tensors, sizeof *context->buffer_of);
    context->buffers = cr_alloc_zeroed(buffers, sizeof *context->buffers);
    size_t count = (size_t)graph->value_count + 1;
    b->tensors = cr_alloc_array(count, sizeof *b->tensors);
    b->last_node = cr_alloc_array(count, sizeof *b->last_node);
    b->root = cr_alloc_array(count, sizeof *b->root);
    return cr_error_status();
}

/* The inputs of the graph lie in memory of the caller's: each in a buffer numbered from INT_MAX
 * downwards. */
#define INPUT_BUFFER(i) (INT32_MAX - (i))

static cr_status add_inputs(struct builder *b)
{
    for (int i = 0; i < b->graph->input_count; i++) {
        int value = b->graph->inputs[i];
        cr_shape shape = graph_shape(&b->graph->values[value], b->n);
        b->tensors[value] =
            add_tensor(b, b->graph->values[value].dtype, &shape, NULL, 0, INPUT_BUFFER(i));
        if (b->tensors[value] < 0)
            return cr_error_status();
        b->context->inputs[i] = b->context->tensors[b->tensors[value]];
    }
    return CR_OK;
}

/* Gives tensors their memory. */
static cr_status attach(struct graph_context *context, int input_count)
{
    int count = context->buffer_count;
    if (!graph_place(context->buffers, count, &context->arena_bytes))
        return cr_error_status();
    context->arena = cr_buffer_alloc(context->arena_bytes);
    context->storages =
        cr_alloc_zeroed((size_t)(count + input_count) + 1, sizeof *context->storages);
    if (!context->arena || !context->storages)
        return CR_ERROR_MEMORY;
    for (int i = 0; i < count + input_count; i++) {
        struct storage *storage = &context->storages[i];
        atomic_init(&storage->references, 1);
        storage->is_foreign = true;
        if (i < count) {
            storage->data = context->arena + context->buffers[i].offset;
            storage->bytes = context->buffers[i].bytes;
        }
    }
    for (int i = 0; i < context->tensor_count; i++) {
        int buffer = context->buffer_of[i];
        if (buffer >= count)
            buffer = count + (INT32_MAX - buffer);
        if (buffer >= 0)
            context->tensors[i]->storage = &context->storages[buffer];
    }
    for (int i = 0; i < context->step_count; i++) {
        struct graph_step *step = &context->steps[i];
        if (step->workspace >= 0)
            step->call.workspace = context->arena + context->buffers[step->workspace].offset;
    }
    return CR_OK;
}

static cr_status build(struct builder *b)
{
    if (make_room(b) != CR_OK)
        return cr_error_status();
    find_roots(b);
    if (add_inputs(b) != CR_OK)
        return cr_error_status();
    for (int i = 0; i < b->graph->node_count; i++) {
        if (build_node(b, i) != CR_OK)
            return cr_error_status();
    }
    for (int i = 0; i < b->graph->output_count; i++) {
        b->context->outputs[i] = value_tensor(b, b->graph->outputs[i]);
        touch(b, b->context->outputs[i]);
    }
    return attach(b->context, b->graph->input_count);
}

struct graph_context *graph_context_new(const cr_graph *graph, int64_t n)
{
    struct graph_context *context = cr_alloc_zeroed(1, sizeof *context);
    if (!context)
        return NULL;
    struct builder b = { .graph = graph, .context = context, .n = n };
    context->n = n;
    context->threads = cr_num_threads();
    build(&b);
    cr_free(b.tensors);
    cr_free(b.last_node);
    cr_free(b.root);
    if (!cr_failed())
        return context;
    graph_context_free(context);
    return NULL;
}

void graph_context_free(struct graph_context *context)
{
    if (!context)
        return;
    for (int i = 0; i < context->tensor_count; i++) {
        if (context->buffer_of[i] >= 0)
            context->tensors[i]->storage = NULL;
        cr_release(context->tensors[i]);
    }
    for (int i = 0; context->steps && i < context->step_count; i++) {
        cr_free(context->steps[i].attributes);
        cr_free(context->steps[i].inputs);
    }
    if (context->arena)
        cr_buffer_free(context->arena, context->arena_bytes);
    cr_free(context->steps);
    cr_free(context->tensors);
    cr_free(context->buffer_of);
    cr_free(context->buffers);
    cr_free(context->storages);
    cr_free(context);
}
