/* Initializers: which of them are the parameters of a model, and their way into its tree.
 *
 * A float32 initializer of the model's own graph is a parameter if a node reads it where the
 * operator has weights, and a buffer where it has running statistics. Everything else is a constant
 * and is read at once. Parameters are read at the first run at a place, each straight from the file
 * into its tensor; which tensor is which is then kept at that place, so that later runs look up no
 * names. */
#include <string.h>

#include "cresset/profile.h"
#include "io/onnx/onnx.h"

#define NAME_ROOM 512 /* of a place in the tree */

/* ---- choosing ---- */

static bool is_weight(const cr_onnx *onnx, const struct onnx_node *node, int input)
{
    int value = node->inputs[input];
    if (value < 0 || input >= 32 || !(node->op->weights >> input & 1))
        return false;
    const struct onnx_tensor *tensor = onnx->values[value].initializer;
    if (!tensor || tensor->type != ONNX_FLOAT || onnx->values[value].graph != onnx->graph ||
        strlen(tensor->name) > NAME_ROOM)
        return false;
    return !(node->op->flags & ONNX_ELEMENTWISE) || cr_shape_numel(&tensor->shape) > 1;
}

static void note_parameter(cr_onnx *onnx, int value, bool is_buffer)
{
    struct onnx_value_record *record = &onnx->values[value];
    if (record->parameter >= 0) {
        onnx->parameters[record->parameter].is_buffer &= is_buffer;
        return;
    }
    record->parameter = onnx->parameter_count;
    onnx->parameters[onnx->parameter_count++] =
        (struct onnx_parameter){ value, record->initializer->name, is_buffer, false };
}

/* The place of a node with weights: that of a weight, or the node's own name. */
static cr_status name_layer(cr_onnx *onnx, struct onnx_node *node, const char *weight)
{
    const char *dot = strrchr(weight, '.');
    if (dot && dot > weight && weight[0] != '.' && !strchr(weight, ':')) {
        char *name = onnx_keep(onnx, (size_t)(dot - weight) + 1, 1);
        if (name)
            memcpy(name, weight, (size_t)(dot - weight));
        node->layer = name;
        return cr_error_status();
    }
    node->layer = node->name[0] && strlen(node->name) <= NAME_ROOM ? node->name : weight;
    return CR_OK;
}

cr_status onnx_choose_parameters(cr_onnx *onnx)
{
    struct onnx_graph *graph = onnx->graph;
    onnx->parameters = onnx_keep(onnx, (size_t)onnx->value_count, sizeof *onnx->parameters);
    if (!onnx->parameters)
        return cr_error_status();
    for (int n = 0; n < graph->node_count; n++) {
        struct onnx_node *node = &graph->nodes[n];
        const char *weight = NULL;
        for (int i = 0; i < node->input_count; i++) {
            if (!is_weight(onnx, node, i))
                continue;
            weight = weight ? weight : onnx->values[node->inputs[i]].initializer->name;
            note_parameter(onnx, node->inputs[i], node->op->buffers >> i & 1);
        }
        if (weight && !(node->op->flags & ONNX_ELEMENTWISE) &&
            name_layer(onnx, node, weight) != CR_OK)
            return cr_error_status();
    }
    cr_frame frame = cr_frame_begin();
    for (int i = 0; i < onnx->value_count && !cr_failed(); i++) {
        struct onnx_value_record *value = &onnx->values[i];
        if (!value->initializer || value->parameter >= 0)
            continue;
        value->constant = cr_retain(onnx_tensor_load(onnx, value->initializer));
        value->constant_type = value->initializer->type;
    }
    cr_frame_end(frame);
    return cr_error_status();
}

/* ---- binding ---- */

/* The place and the last part of a dotted name. Names that dots would take to another place stay
 * whole. */
static const char *split_name(cr_scope *at, const char *name)
{
    const char *dot = strrchr(name, '.');
    if (!dot || name[0] == '.')
        return name;
    char place[NAME_ROOM + 1];
    size_t length = (size_t)(dot - name);
    memcpy(place, name, length);
    place[length] = '\0';
    *at = cr_at(*at, place);
    return dot + 1;
}

static cr_tensor *new_tensor(const cr_onnx *onnx, const cr_model *model,
                             const struct onnx_tensor *tensor)
{
    cr_tensor_args args = { .shape = tensor->shape };
    if (model_is_meta(model))
        args.device = CR_META;
    if (model_is_meta(model) || model_is_uninitialized(model))
        return cr_empty_with(args);
    return onnx_tensor_load((cr_onnx *)onnx, tensor);
}

static cr_tensor *bind_one(const cr_onnx *onnx, cr_scope at, const struct onnx_parameter *parameter)
{
    const struct onnx_tensor *tensor = onnx->values[parameter->value].initializer;
    const char *local = split_name(&at, parameter->name);
    cr_tensor *found = scope_find(at, local);
    cr_shape shape = cr_shape_of(found);
    if (found && !cr_shape_equal(&shape, &tensor->shape)) {
        cr_error_set(CR_ERROR_SHAPE, "%s: %s has another shape in the model that it is run in",
                     onnx->source.path, parameter->name);
        return NULL;
    }
    if (found || cr_failed())
        return found;
    cr_frame frame = cr_frame_begin();
    cr_tensor *made =
        scope_adopt(at, local, new_tensor(onnx, at.model, tensor), parameter->is_buffer);
    cr_frame_end(frame);
    return made;
}

cr_tensor *const *onnx_bind(const cr_onnx *onnx, cr_scope at, bool body_only)
{
    if (!at.node) {
        cr_error_set(CR_ERROR_ARGUMENT, "%s: an imported model is run at a place of a cr_model",
                     onnx->source.path);
        return NULL;
    }
    uint64_t key = 2 * onnx->serial + body_only;
    cr_tensor **bound = scope_kept(at, key);
    if (bound)
        return bound;
    bound = cr_alloc_array((size_t)onnx->parameter_count, sizeof(cr_tensor *));
    for (int i = 0; bound && i < onnx->parameter_count; i++) {
        bound[i] = NULL;
        if (body_only && !onnx->parameters[i].is_body)
            continue;
        bound[i] = bind_one(onnx, at, &onnx->parameters[i]);
        if (!bound[i]) {
            cr_free(bound);
            return NULL;
        }
    }
    return bound && scope_keep(at, key, bound) == CR_OK ? bound : NULL;
}
