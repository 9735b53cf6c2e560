/* Nodes of the graph: made by the dispatcher, freed without recursion. */
#include <string.h>

#include "autograd/autograd.h"

static atomic_uint_fast64_t next_sequence = 1;

/* One block holds the node and its arrays; sizes are small, so alignment to 16 bytes is enough. */
static size_t align16(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

cr_tensor_spec spec_of(const cr_tensor *tensor)
{
    cr_tensor_spec spec = { .dtype = (cr_dtype)tensor->dtype, .shape = tensor->shape };
    return spec;
}

static void edge_set(struct edge *edge, cr_tensor *input)
{
    if (!input || !input->requires_grad)
        return;
    if (input->node) {
        edge->node = input->node;
        edge->index = input->output_index;
        atomic_fetch_add_explicit(&input->node->references, 1, memory_order_relaxed);
    } else {
        edge->leaf = cr_retain(input);
    }
}

/* Keeps a tensor, whose reference is taken over. */
static void saved_set(struct saved *saved, cr_tensor *tensor)
{
    saved->tensor = tensor;
    if (!tensor)
        return;
    saved->version = tensor_version(tensor);
    if (profile_mode() && tensor->storage)
        memory_trace_keep(tensor->storage->data, 1);
}

struct node *node_new(const cr_op *op, const void *attributes, cr_tensor *const *inputs,
                      int input_count, int output_count)
{
    size_t count = (size_t)input_count;
    size_t head = align16(sizeof(struct node));
    size_t edges = align16(count * sizeof(struct edge));
    size_t saved = align16(count * sizeof(struct saved));
    size_t specs = align16(count * sizeof(cr_tensor_spec));
    char *block = cr_alloc_zeroed(1, head + edges + saved + specs + op->attribute_size);
    if (!block)
        return NULL;
    struct node *node = (struct node *)(void *)block;
    atomic_init(&node->references, 1);
    node->op = op;
    node->layer = profile_mode() ? profile_layer() : NULL;
    node->sequence = atomic_fetch_add_explicit(&next_sequence, 1, memory_order_relaxed);
    node->input_count = input_count;
    node->output_count = output_count;
    node->edges = (void *)(block + head);
    node->saved_inputs = (void *)(block + head + edges);
    node->input_specs = (void *)(block + head + edges + saved);
    node->attributes = block + head + edges + saved + specs;
    if (op->attribute_size)
        memcpy(node->attributes, attributes, op->attribute_size);
    for (int i = 0; i < input_count; i++) {
        if (!inputs[i])
            continue;
        node->input_specs[i] = spec_of(inputs[i]);
        edge_set(&node->edges[i], inputs[i]);
        if (i < 64 && (op->save_inputs >> i & 1)) {
            saved_set(&node->saved_inputs[i], cr_retain(inputs[i]));
        }
    }
    return node;
}

cr_status node_adopt_outputs(struct node *node, cr_tensor *const *outputs)
{
    for (int i = 0; i < node->output_count; i++) {
        cr_tensor *output = outputs[i];
        node->output_specs[i] = spec_of(output);
        if (node->op->save_outputs >> i & 1) {
            /* An alias outside the graph: the output itself owns the node. */
            saved_set(&node->saved_outputs[i], tensor_alias_owned(output));
            if (!node->saved_outputs[i].tensor)
                return CR_ERROR_MEMORY;
        }
        if (!tensor_is_floating(output))
            continue;
        output->node = node;
        output->output_index = (uint8_t)i;
        output->requires_grad = true;
        atomic_fetch_add_explicit(&node->references, 1, memory_order_relaxed);
    }
    return CR_OK;
}

static bool saved_release(struct saved *saved)
{
    cr_tensor *tensor = saved->tensor;
    saved->tensor = NULL;
    if (profile_mode() && tensor && tensor->storage)
        memory_trace_keep(tensor->storage->data, -1);
    cr_release(tensor);
    return tensor != NULL;
}

void node_consume(struct node *node)
{
    for (int i = 0; i < node->input_count; i++)
        node->is_consumed |= saved_release(&node->saved_inputs[i]);
    for (int i = 0; i < node->output_count; i++)
        node->is_consumed |= saved_release(&node->saved_outputs[i]);
}

static void hooks_free(struct grad_hook *hook)
{
    while (hook) {
        struct grad_hook *next = hook->next;
        cr_free(hook);
        hook = next;
    }
}

static void node_free(struct node *node)
{
    node_consume(node);
    for (int i = 0; i < node->input_count; i++) {
        node_release(node->edges[i].node);
        cr_release(node->edges[i].leaf);
    }
    hooks_free(node->hooks);
    cr_free(node);
}

void node_release(struct node *node)
{
    static CR_THREAD_LOCAL struct node *garbage;
    static CR_THREAD_LOCAL bool is_draining;
    if (!node || atomic_fetch_sub_explicit(&node->references, 1, memory_order_acq_rel) != 1)
        return;
    node->next_garbage = garbage;
    garbage = node;
    if (is_draining)
        return;
    is_draining = true;
    while (garbage) {
        struct node *dead = garbage;
        garbage = dead->next_garbage;
        node_free(dead);
    }
    is_draining = false;
}

/* Called when a tensor with ties to the graph dies. */
static void release_graph(cr_tensor *tensor)
{
    struct node *node = tensor->node;
    if (node && node->watched[tensor->output_index] == tensor)
        node->watched[tensor->output_index] = NULL;
    tensor->node = NULL;
    node_release(node);
    cr_release(tensor->grad);
    hooks_free(tensor->hooks);
}

/* Tensors lie below the graph, so they learn of its release function here. */
CR_CONSTRUCTOR static void install_release(void)
{
    tensor_release_graph = release_graph;
}
