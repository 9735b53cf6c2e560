/* Backward: the graph walked from its outputs, each node once, newest first.
 *
 * Nodes are numbered in the order of creation, and a node is created after those it reads, so
 * falling numbers are a topological order. The reachable nodes are found by an iterative search,
 * sorted, and given a row of slots in which the gradients of their outputs add up. A walk may run
 * inside another (a checkpoint, a hook) and meet its nodes; each visit keeps what the other noted.
 */
#include <stdlib.h>
#include <string.h>

#include "autograd/autograd.h"
#include "cresset/pointwise.h"

struct visit {
    struct node *node;
    const void *outer_walk; /* what stood in the node before */
    int outer_place;
};

/* Hooks see the gradient of a leaf once and whole: when all edges that lead to it are passed. */
struct hooked_leaf {
    cr_tensor *leaf;
    cr_tensor *total; /* owned; NULL while nothing has arrived */
    size_t pending;   /* edges not passed yet */
};

struct walk {
    struct visit *visits;
    size_t count;
    size_t capacity;
    cr_tensor **slots; /* CR_MAX_OUTPUTS a node; owned */
    struct hooked_leaf *hooked;
    size_t hooked_count;
    size_t hooked_capacity;
    const cr_backward_args *args;
    bool captures; /* cr_grad: gradients go to `captured`, not to the leaves */
    cr_tensor *const *wanted;
    int wanted_count;
    cr_tensor **captured; /* owned; one for each wanted */
};

/* ---- finding the nodes ---- */

/* Room for one more in a list. */
static void *with_room(void *list, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return list;
    size_t wider = *capacity ? 2 * *capacity : 64;
    void *moved = cr_resize(list, wider, size);
    if (moved)
        *capacity = wider;
    return moved;
}

static cr_status walk_push(struct walk *walk, struct node *node)
{
    if (!node || node->walk == walk)
        return CR_OK;
    struct visit *visits =
        with_room(walk->visits, walk->count, &walk->capacity, sizeof *walk->visits);
    if (!visits)
        return CR_ERROR_MEMORY;
    walk->visits = visits;
    walk->visits[walk->count++] = (struct visit){ node, node->walk, node->place };
    node->walk = walk;
    return CR_OK;
}

static struct hooked_leaf *find_hooked(const struct walk *walk, const cr_tensor *leaf)
{
    for (size_t i = 0; i < walk->hooked_count; i++) {
        if (walk->hooked[i].leaf == leaf)
            return &walk->hooked[i];
    }
    return NULL;
}

static cr_status count_edge_to_leaf(struct walk *walk, cr_tensor *leaf)
{
    if (!leaf || !leaf->hooks)
        return CR_OK;
    struct hooked_leaf *hooked = find_hooked(walk, leaf);
    if (!hooked) {
        hooked = with_room(walk->hooked, walk->hooked_count, &walk->hooked_capacity,
                           sizeof *walk->hooked);
        if (!hooked)
            return CR_ERROR_MEMORY;
        walk->hooked = hooked;
        hooked += walk->hooked_count++;
        *hooked = (struct hooked_leaf){ .leaf = cr_retain(leaf) };
    }
    hooked->pending++;
    return CR_OK;
}

static int newest_first(const void *a, const void *b)
{
    uint64_t x = ((const struct visit *)a)->node->sequence;
    uint64_t y = ((const struct visit *)b)->node->sequence;
    return (x < y) - (x > y);
}

/* The list itself is the queue of the search: what is pushed behind `i` is visited later. */
static cr_status walk_collect(struct walk *walk, struct node *root)
{
    if (walk_push(walk, root) != CR_OK)
        return CR_ERROR_MEMORY;
    for (size_t i = 0; i < walk->count; i++) {
        struct node *node = walk->visits[i].node;
        for (int e = 0; e < node->input_count; e++) {
            if (walk_push(walk, node->edges[e].node) != CR_OK ||
                count_edge_to_leaf(walk, node->edges[e].leaf) != CR_OK)
                return CR_ERROR_MEMORY;
        }
    }
    qsort(walk->visits, walk->count, sizeof *walk->visits, newest_first);
    for (size_t i = 0; i < walk->count; i++)
        walk->visits[i].node->place = (int)i;
    walk->slots = cr_alloc_zeroed(walk->count * CR_MAX_OUTPUTS, sizeof(cr_tensor *));
    return walk->slots || !walk->count ? CR_OK : CR_ERROR_MEMORY;
}

static void walk_free(struct walk *walk)
{
    for (size_t i = 0; i < walk->count; i++) {
        struct visit *visit = &walk->visits[i];
        visit->node->walk = visit->outer_walk;
        visit->node->place = visit->outer_place;
    }
    for (size_t i = 0; walk->slots && i < walk->count * CR_MAX_OUTPUTS; i++)
        cr_release(walk->slots[i]);
    for (size_t i = 0; i < walk->hooked_count; i++) {
        cr_release(walk->hooked[i].leaf);
        cr_release(walk->hooked[i].total);
    }
    for (int i = 0; i < walk->wanted_count; i++)
        cr_release(walk->captured[i]);
    cr_free(walk->slots);
    cr_free(walk->hooked);
    cr_free(walk->visits);
}

/* ---- adding gradients up ---- */

/* True if nothing else can see the memory of `grad`, so that it may be added to in place. */
static bool is_sole_owner(const cr_tensor *grad)
{
    return atomic_load(&grad->references) == 1 && grad->storage &&
           atomic_load(&grad->storage->references) == 1 && tensor_is_contiguous(grad);
}

/* Adds `grad` to *slot (owned); the first one is shared, not copied. */
static cr_status accumulate(cr_tensor **slot, cr_tensor *grad)
{
    if (!*slot) {
        *slot = cr_retain(grad);
        return CR_OK;
    }
    if (!cr_grad_enabled() && is_sole_owner(*slot)) {
        cr_profile_range range = cr_profile_begin("adding gradients");
        cr_status status = cr_add_(*slot, grad, 1.0);
        cr_profile_end(range);
        return status;
    }
    cr_tensor *sum = cr_retain(cr_add(*slot, grad));
    if (!sum)
        return cr_error_status();
    cr_release(*slot);
    *slot = sum;
    return CR_OK;
}

/* The gradient of a leaf must own its memory: what others hold, and views, are copied. */
static cr_status accumulate_leaf(cr_tensor *leaf, cr_tensor *grad)
{
    if (leaf->grad)
        return accumulate(&leaf->grad, grad);
    cr_tensor *own = is_sole_owner(grad) || !grad->storage ? grad : cr_clone(grad);
    if (!own)
        return cr_error_status();
    leaf->grad = cr_retain(own);
    cr_memory_tag(own, CR_MEMORY_GRADIENT);
    return CR_OK;
}

static cr_status check_hooked(const cr_tensor *given, const cr_tensor *grad)
{
    char text[2][CR_SHAPE_TEXT];
    if (cr_failed())
        return cr_error_status();
    if (!given)
        return cr_error_set(CR_ERROR_STATE, "backward: a gradient hook returned NULL; to leave the "
                                            "gradient alone, return it");
    if (given->dtype == grad->dtype && cr_shape_equal(&given->shape, &grad->shape))
        return CR_OK;
    return cr_error_set(CR_ERROR_SHAPE,
                        "backward: a gradient hook returned %s of shape %s for a gradient of %s of "
                        "shape %s",
                        cr_dtype_name((cr_dtype)given->dtype),
                        cr_shape_format(&given->shape, text[0], CR_SHAPE_TEXT),
                        cr_dtype_name((cr_dtype)grad->dtype),
                        cr_shape_format(&grad->shape, text[1], CR_SHAPE_TEXT));
}

/* What the hooks make of a gradient; NULL and an error if one fails. */
static cr_tensor *run_hooks(const struct grad_hook *hook, int output, cr_tensor *grad)
{
    for (; hook; hook = hook->next) {
        if (hook->output != output)
            continue;
        cr_tensor *given = hook->function(grad, hook->context);
        if (check_hooked(given, grad) != CR_OK)
            return NULL;
        grad = given;
    }
    return grad;
}

static cr_status capture(struct walk *walk, const cr_tensor *tensor, cr_tensor *grad)
{
    for (int i = 0; i < walk->wanted_count; i++) {
        if (walk->wanted[i] == tensor && accumulate(&walk->captured[i], grad) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

static cr_status settle_leaf(struct walk *walk, cr_tensor *leaf, cr_tensor *grad)
{
    return walk->captures ? capture(walk, leaf, grad) : accumulate_leaf(leaf, grad);
}

static cr_status deliver_leaf(struct walk *walk, cr_tensor *leaf, cr_tensor *grad)
{
    struct hooked_leaf *hooked = find_hooked(walk, leaf);
    return hooked ? accumulate(&hooked->total, grad) : settle_leaf(walk, leaf, grad);
}

/* The whole gradient of a leaf with hooks. */
static cr_status finish_leaf(struct walk *walk, cr_tensor *leaf, cr_tensor *total)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *grad = run_hooks(leaf->hooks, 0, total);
    cr_status status = grad ? settle_leaf(walk, leaf, grad) : cr_error_status();
    cr_frame_end(frame);
    return status;
}

/* After a node ran, or was found to have no gradient: leaves that nothing else leads to. */
static cr_status pass_edges(struct walk *walk, const struct node *node)
{
    for (int i = 0; i < node->input_count && walk->hooked_count; i++) {
        struct hooked_leaf *hooked =
            node->edges[i].leaf ? find_hooked(walk, node->edges[i].leaf) : NULL;
        if (!hooked || --hooked->pending || !hooked->total)
            continue;
        if (finish_leaf(walk, hooked->leaf, hooked->total) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

/* A gradient that an op's backward gave for its input i. */
static cr_status deliver(struct walk *walk, struct node *node, int i, cr_tensor *grad)
{
    const cr_tensor_spec *spec = &node->input_specs[i];
    if (!cr_shape_equal(&grad->shape, &spec->shape)) {
        char text[2][CR_SHAPE_TEXT];
        return cr_error_set(
            CR_ERROR_SHAPE, "%s: its backward gave input %d a gradient of shape %s instead of %s",
            node->op->name, i, cr_shape_format(&grad->shape, text[0], CR_SHAPE_TEXT),
            cr_shape_format(&spec->shape, text[1], CR_SHAPE_TEXT));
    }
    if (grad->dtype != (uint8_t)spec->dtype)
        grad = cr_to_dtype(grad, spec->dtype);
    if (!grad)
        return cr_error_status();
    struct edge *edge = &node->edges[i];
    if (edge->leaf)
        return deliver_leaf(walk, edge->leaf, grad);
    return accumulate(&walk->slots[edge->node->place * CR_MAX_OUTPUTS + edge->index], grad);
}

/* ---- one node ---- */

static cr_status unpack(struct node *node, struct saved *saved, int count, cr_tensor **out)
{
    for (int i = 0; i < count; i++) {
        out[i] = saved[i].tensor;
        if (out[i] && tensor_version(out[i]) != saved[i].version)
            return cr_error_set(
                CR_ERROR_STATE,
                "backward: a tensor that %s needs was changed in place after it ran "
                "(version %u, expected %u); clone it before the change",
                node->op->name, tensor_version(out[i]), saved[i].version);
    }
    return CR_OK;
}

/* Saved outputs are kept outside the graph; to record backward itself they must be in it. */
static cr_status reattach_outputs(struct node *node, cr_tensor **outputs)
{
    for (int i = 0; i < node->output_count; i++) {
        if (!outputs[i] || !tensor_is_floating(outputs[i]))
            continue;
        cr_tensor *alias = cr_frame_add(tensor_alias_owned(outputs[i]));
        if (!alias)
            return CR_ERROR_MEMORY;
        atomic_fetch_add(&node->references, 1);
        alias->node = node;
        alias->output_index = (uint8_t)i;
        alias->requires_grad = true;
        outputs[i] = alias;
    }
    return CR_OK;
}

/* Hooks, retained gradients and captures of the node's outputs. */
static cr_status settle_outputs(struct walk *walk, struct node *node, cr_tensor **grads)
{
    for (int i = 0; i < node->output_count; i++) {
        if (!grads[i])
            continue;
        cr_tensor *hooked = run_hooks(node->hooks, i, grads[i]);
        if (!hooked)
            return cr_error_status();
        if (hooked != grads[i]) {
            cr_retain(hooked);
            cr_release(grads[i]);
            grads[i] = hooked;
        }
        if (node->watched[i] && node->watched[i]->retains_grad && !walk->captures &&
            accumulate_leaf(node->watched[i], grads[i]) != CR_OK)
            return cr_error_status();
    }
    for (int i = 0; i < walk->wanted_count; i++) {
        const cr_tensor *tensor = walk->wanted[i];
        if (tensor->node == node && grads[tensor->output_index] &&
            accumulate(&walk->captured[i], grads[tensor->output_index]) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

static cr_status call_backward(struct node *node, cr_tensor **grads, cr_tensor **inputs,
                               bool *needs, cr_tensor **grad_inputs)
{
    cr_tensor *outputs[CR_MAX_OUTPUTS] = { NULL };
    for (int i = 0; i < node->input_count; i++)
        needs[i] = node->edges[i].node || node->edges[i].leaf;
    if (unpack(node, node->saved_inputs, node->input_count, inputs) != CR_OK ||
        unpack(node, node->saved_outputs, node->output_count, outputs) != CR_OK)
        return cr_error_status();
    if (cr_grad_enabled() && reattach_outputs(node, outputs) != CR_OK)
        return cr_error_status();
    cr_gradient_call call = { .op = node->op,
                              .attributes = node->attributes,
                              .inputs = inputs,
                              .input_count = node->input_count,
                              .outputs = outputs,
                              .grad_outputs = grads,
                              .needs = needs,
                              .input_specs = node->input_specs,
                              .output_specs = node->output_specs,
                              .grad_inputs = grad_inputs };
    if (node->op->backward(&call) == CR_OK && !cr_failed())
        return CR_OK;
    cr_error_prefix("backward of %s", node->op->name);
    return cr_error_status();
}

static cr_status deliver_all(struct walk *walk, struct node *node, const bool *needs,
                             cr_tensor **grad_inputs)
{
    for (int i = 0; i < node->input_count; i++) {
        if (!needs[i] || !grad_inputs[i])
            continue;
        if (cr_anomaly_mode() && anomaly_check(node->op, grad_inputs[i], "gradient") != CR_OK)
            return cr_error_status();
        if (deliver(walk, node, i, grad_inputs[i]) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

/* The node whose backward runs on this thread. */
struct running_node {
    struct walk *walk;
    struct node *node;
};
static CR_THREAD_LOCAL struct running_node running;

cr_tensor *backward_take_gradient(int i)
{
    const struct edge *edge = &running.node->edges[i];
    cr_tensor **slot = NULL;
    if (edge->node)
        slot = &running.walk->slots[edge->node->place * CR_MAX_OUTPUTS + edge->index];
    else if (edge->leaf && !edge->leaf->hooks && !running.walk->captures)
        slot = &edge->leaf->grad;
    cr_tensor *taken = slot ? *slot : NULL;
    if (slot)
        *slot = NULL;
    return taken;
}

static cr_status run_node(struct walk *walk, struct node *node, cr_tensor **grads)
{
    if (node->is_consumed)
        return cr_error_set(CR_ERROR_STATE,
                            "backward: the graph through %s was walked before and freed; pass "
                            ".retain_graph = true the first time",
                            node->op->name);
    if (!node->op->backward)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "backward: %s has no gradient", node->op->name);
    size_t count = (size_t)CR_MAX(node->input_count, 1);
    cr_tensor **arrays = cr_alloc_zeroed(count, 2 * sizeof(cr_tensor *) + sizeof(bool));
    if (!arrays)
        return CR_ERROR_MEMORY;
    bool *needs = (bool *)(arrays + 2 * count);
    cr_frame frame = cr_frame_begin();
    struct running_node outer = running;
    running.walk = walk;
    running.node = node;
    cr_status status = call_backward(node, grads, arrays, needs, arrays + count);
    running = outer;
    bool keeps = walk->args->retain_graph || walk->args->create_graph;
    if (status == CR_OK && !keeps)
        node_consume(node);
    if (status == CR_OK)
        status = deliver_all(walk, node, needs, arrays + count);
    cr_frame_end(frame);
    cr_free(arrays);
    return status;
}

/* The same, told to the profiler: under the name of the op and in the layer of its forward run. */
static cr_status run_profiled(struct walk *walk, struct node *node, cr_tensor **grads)
{
    if (!profile_mode())
        return run_node(walk, node, grads);
    const char *layer = profile_set_layer(node->layer);
    uint32_t profiled = profile_push(PROFILE_NODE, node->op->name);
    cr_status status = run_node(walk, node, grads);
    profile_pop(profiled);
    profile_set_layer(layer);
    return status;
}

static cr_status run_nodes(struct walk *walk)
{
    for (size_t i = 0; i < walk->count; i++) {
        struct node *node = walk->visits[i].node;
        cr_tensor **grads = walk->slots + i * CR_MAX_OUTPUTS;
        bool any = false;
        for (int output = 0; output < node->output_count; output++)
            any = any || grads[output];
        if (any && (settle_outputs(walk, node, grads) != CR_OK ||
                    run_profiled(walk, node, grads) != CR_OK))
            return cr_error_status();
        if (pass_edges(walk, node) != CR_OK)
            return cr_error_status();
        for (int output = 0; output < node->output_count; output++) {
            cr_release(grads[output]);
            grads[output] = NULL;
        }
    }
    return CR_OK;
}

/* ---- the ways in ---- */

static cr_tensor *seed_gradient(const cr_backward_args *args)
{
    cr_tensor *output = args->output;
    char text[2][CR_SHAPE_TEXT];
    if (!output->requires_grad) {
        cr_error_set(CR_ERROR_STATE, "backward: the output does not require a gradient; nothing it "
                                     "was made from does, or recording was off");
        return NULL;
    }
    if (args->gradient) {
        if (cr_shape_equal(&args->gradient->shape, &output->shape))
            return cr_to_dtype(args->gradient, (cr_dtype)output->dtype);
        cr_error_set(CR_ERROR_SHAPE, "backward: the gradient given has shape %s, but the output %s",
                     cr_shape_format(&args->gradient->shape, text[0], CR_SHAPE_TEXT),
                     cr_shape_format(&output->shape, text[1], CR_SHAPE_TEXT));
        return NULL;
    }
    if (tensor_numel(output) != 1) {
        cr_error_set(CR_ERROR_SHAPE,
                     "backward: the output has shape %s; only one element has a gradient of its "
                     "own, else pass .gradient",
                     cr_shape_format(&output->shape, text[0], CR_SHAPE_TEXT));
        return NULL;
    }
    return cr_ones_with(
        (cr_tensor_args){ .shape = output->shape, .dtype = (cr_dtype)output->dtype });
}

static cr_status walk_run(struct walk *walk)
{
    cr_tensor *output = walk->args->output;
    cr_tensor *seed = seed_gradient(walk->args);
    if (!seed)
        return cr_error_status();
    if (!output->node) {
        cr_retain(seed); /* the caller's, so the leaf copies it */
        cr_status status = finish_leaf(walk, output, seed);
        cr_release(seed);
        return status;
    }
    if (walk_collect(walk, output->node) != CR_OK)
        return CR_ERROR_MEMORY;
    walk->slots[output->node->place * CR_MAX_OUTPUTS + output->output_index] = cr_retain(seed);
    return run_nodes(walk);
}

static cr_status backward_run(struct walk *walk)
{
    if (cr_failed())
        return cr_error_status();
    if (!walk->args->output)
        return cr_error_set(CR_ERROR_ARGUMENT, "backward: the output is NULL");
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(walk->args->create_graph);
    /* Gradients have the dtypes that the forward run had, whatever autocast says now. */
    cr_dtype autocast = cr_set_autocast(CR_F32);
    /* The output may belong to the frame that ends below; the nodes live through it. */
    cr_status status = walk_run(walk);
    cr_set_autocast(autocast);
    cr_set_grad_enabled(was);
    cr_frame_end(frame);
    return status;
}

cr_status cr_backward_with(cr_backward_args args)
{
    struct walk walk = { .args = &args };
    uint32_t profiled = profile_mode() ? profile_push(PROFILE_PHASE, "backward") : 0;
    cr_status status = backward_run(&walk);
    walk_free(&walk);
    profile_pop(profiled);
    return status;
}

cr_status cr_grad(cr_backward_args args, cr_tensor *const *inputs, int count, cr_tensor **grads)
{
    memset(grads, 0, (size_t)count * sizeof *grads);
    for (int i = 0; i < count; i++) {
        if (!cr_requires_grad(inputs[i]))
            return cr_error_set(CR_ERROR_STATE, "grad: input %d does not require a gradient", i);
    }
    cr_tensor **captured = cr_alloc_zeroed((size_t)CR_MAX(count, 1), sizeof *captured);
    if (!captured)
        return CR_ERROR_MEMORY;
    struct walk walk = {
        .args = &args,
        .captures = true,
        .wanted = inputs,
        .wanted_count = count,
        .captured = captured,
    };
    cr_status status = backward_run(&walk);
    for (int i = 0; i < count && status == CR_OK; i++)
        grads[i] = cr_frame_add(cr_retain(captured[i]));
    walk_free(&walk);
    cr_free(captured);
    return status;
}
