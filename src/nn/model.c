/* The tree of names: places, and the parameters and buffers that live there.
 *
 * Nodes and entries are only ever added, each to the end of a list and published by one store, so a
 * model that is built is read without locks by any number of threads. */
#include <stdio.h>
#include <string.h>

#include "cresset/profile.h"
#include "nn/nn.h"

#define NAME_LIMIT 512

struct entry {
    struct entry *_Atomic next;      /* in the node */
    struct entry *_Atomic next_made; /* in the model, by age */
    cr_tensor *tensor;               /* owned */
    bool is_buffer;
    const char *local; /* the last part of name */
    char name[];       /* full */
};

/* Something kept at a place, newest first. */
struct keeping {
    struct keeping *next;
    uint64_t key;
    void *block; /* owned */
};

struct cr_scope_node {
    cr_scope_node *_Atomic next; /* sibling */
    cr_scope_node *_Atomic children;
    struct entry *_Atomic entries;
    struct keeping *_Atomic kept;
    const char *local;
    char name[];
};

struct init_rule {
    struct init_rule *next;
    cr_init init;
    int ndim; /* 0: any */
    char pattern[];
};

struct cr_model {
    uint64_t seed;
    bool is_meta;
    bool is_uninitialized;
    bool is_training;
    bool cumulative_statistics;
    bool checkpoints;
    cr_scope_node *root;
    struct entry *_Atomic first;
    struct entry *last;
    int count;
    struct init_rule *rules; /* newest first */
};

/* ---- the model ---- */

static cr_scope_node *node_make(const char *parent, const char *local)
{
    size_t lead = parent[0] ? strlen(parent) + 1 : 0;
    size_t length = lead + strlen(local);
    if (length > NAME_LIMIT) {
        cr_error_set(CR_ERROR_ARGUMENT, "the name %.40s… is over %d characters long", local,
                     NAME_LIMIT);
        return NULL;
    }
    cr_scope_node *node = cr_alloc_zeroed(1, sizeof *node + length + 1);
    if (!node)
        return NULL;
    snprintf(node->name, length + 1, "%s%s%s", parent, lead ? "." : "", local);
    node->local = node->name + lead;
    return node;
}

cr_model *cr_model_new_with(cr_model_args args)
{
    cr_model *model = cr_alloc_zeroed(1, sizeof *model);
    cr_scope_node *root = model ? node_make("", "") : NULL;
    if (!root) {
        cr_free(model);
        return NULL;
    }
    model->seed = args.seed;
    model->is_meta = args.meta;
    model->is_uninitialized = args.uninitialized;
    model->is_training = true;
    model->root = root;
    return model;
}

/* The tree is as deep as names have dots, so recursion is bounded by NAME_LIMIT. */
static void node_free(cr_scope_node *node)
{
    while (node) {
        cr_scope_node *next = node->next;
        node_free(node->children);
        for (struct keeping *kept = node->kept; kept;) {
            struct keeping *below = kept->next;
            cr_free(kept->block);
            cr_free(kept);
            kept = below;
        }
        cr_free(node);
        node = next;
    }
}

void cr_model_free(cr_model *model)
{
    if (!model)
        return;
    for (struct entry *entry = model->first; entry;) {
        struct entry *next = entry->next_made;
        cr_release(entry->tensor);
        cr_free(entry);
        entry = next;
    }
    while (model->rules) {
        struct init_rule *next = model->rules->next;
        cr_free(model->rules);
        model->rules = next;
    }
    node_free(model->root);
    cr_free(model);
}

void cr_model_train(cr_model *model, bool training)
{
    model->is_training = training;
}

bool cr_model_is_training(const cr_model *model)
{
    return model->is_training;
}

void cr_model_checkpoint(cr_model *model, bool checkpoints)
{
    model->checkpoints = checkpoints;
}

bool model_checkpoints(const cr_model *model)
{
    return model->checkpoints;
}

void model_set_cumulative_statistics(cr_model *model, bool cumulative)
{
    model->cumulative_statistics = cumulative;
}

bool model_cumulative_statistics(const cr_model *model)
{
    return model->cumulative_statistics;
}

/* ---- places ---- */

cr_scope cr_root(cr_model *model)
{
    return (cr_scope){ model, model ? model->root : NULL };
}

static cr_scope_node *child_find(cr_scope_node *parent, const char *local)
{
    for (cr_scope_node *child = parent->children; child; child = child->next) {
        if (strcmp(child->local, local) == 0)
            return child;
    }
    return NULL;
}

static cr_scope_node *child_get(cr_scope_node *parent, const char *local)
{
    cr_scope_node *child = child_find(parent, local);
    if (child)
        return child;
    child = node_make(parent->name, local);
    cr_scope_node *_Atomic *end = &parent->children;
    while (*end)
        end = &(*end)->next;
    *end = child;
    return child;
}

cr_scope cr_at(cr_scope at, const char *name)
{
    char part[NAME_LIMIT + 1];
    while (at.node && name[0]) {
        size_t length = strcspn(name, ".");
        if (length > NAME_LIMIT) {
            cr_error_set(CR_ERROR_ARGUMENT, "a name has over %d characters", NAME_LIMIT);
            at.node = NULL;
            break;
        }
        memcpy(part, name, length);
        part[length] = '\0';
        at.node = child_get(at.node, part);
        name += length + (name[length] == '.');
    }
    return at;
}

cr_scope cr_at_format(cr_scope at, const char *format, ...)
{
    char name[NAME_LIMIT + 1];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    return cr_at(at, name);
}

const char *cr_scope_name(cr_scope at)
{
    return at.node ? at.node->name : "";
}

/* ---- parameters and buffers ---- */

static struct entry *entry_find(cr_scope_node *node, const char *local)
{
    for (struct entry *entry = node->entries; entry; entry = entry->next) {
        if (strcmp(entry->local, local) == 0)
            return entry;
    }
    return NULL;
}

static struct entry *entry_make(cr_scope at, const char *local, cr_tensor *tensor, bool is_buffer)
{
    size_t lead = at.node->name[0] ? strlen(at.node->name) + 1 : 0;
    size_t length = lead + strlen(local);
    struct entry *entry = cr_alloc_zeroed(1, sizeof *entry + length + 1);
    if (!entry)
        return NULL;
    snprintf(entry->name, length + 1, "%s%s%s", at.node->name, lead ? "." : "", local);
    entry->local = entry->name + lead;
    entry->tensor = cr_retain(tensor);
    entry->is_buffer = is_buffer;
    cr_memory_tag(tensor, is_buffer ? CR_MEMORY_BUFFER : CR_MEMORY_PARAMETER);
    struct entry *_Atomic *end = &at.node->entries;
    while (*end)
        end = &(*end)->next;
    *end = entry;
    *(at.model->last ? &at.model->last->next_made : &at.model->first) = entry;
    at.model->last = entry;
    at.model->count++;
    return entry;
}

/* FNV-1a: parameters are initialised from streams of their own, by name. */
static uint64_t name_hash(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash;
}

static cr_status entry_initialize(cr_model *model, const struct entry *entry, cr_init init)
{
    if (model->is_uninitialized)
        return CR_OK;
    for (struct init_rule *rule = model->rules; rule; rule = rule->next) {
        if ((rule->ndim == 0 || rule->ndim == cr_ndim(entry->tensor)) &&
            cr_pattern_match(rule->pattern, entry->name)) {
            init = rule->init;
            break;
        }
    }
    cr_generator *generator = cr_default_generator();
    cr_generator was = *generator;
    *generator = cr_generator_make(model->seed, name_hash(entry->name));
    cr_status status = cr_init_fill(entry->tensor, init);
    *generator = was;
    return status;
}

static cr_status check_found(const struct entry *entry, const cr_shape *shape)
{
    if (cr_shape_equal(&entry->tensor->shape, shape))
        return CR_OK;
    char text[2][CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE,
                        "%s has shape %s, but here it should have %s: the input has another size "
                        "than the first time, or two layers share a name",
                        entry->name, cr_shape_format(&entry->tensor->shape, text[0], CR_SHAPE_TEXT),
                        cr_shape_format(shape, text[1], CR_SHAPE_TEXT));
}

static cr_tensor *tensor_for(const cr_model *model, cr_shape shape, cr_dtype dtype)
{
    return cr_empty_with((cr_tensor_args){
        .shape = shape, .dtype = dtype, .device = model->is_meta ? CR_META : CR_CPU });
}

cr_tensor *cr_parameter(cr_scope at, const char *name, cr_shape shape, cr_init init)
{
    if (cr_failed() || !at.node)
        return NULL;
    struct entry *entry = entry_find(at.node, name);
    if (entry)
        return check_found(entry, &shape) == CR_OK ? entry->tensor : NULL;
    cr_frame frame = cr_frame_begin();
    cr_tensor *tensor = tensor_for(at.model, shape, CR_F32);
    entry = tensor ? entry_make(at, name, tensor, false) : NULL;
    cr_frame_end(frame);
    if (!entry || entry_initialize(at.model, entry, init) != CR_OK)
        return NULL;
    entry->tensor->is_parameter = true;
    return cr_set_requires_grad(entry->tensor, true);
}

cr_tensor *cr_buffer(cr_scope at, const char *name, cr_shape shape, cr_dtype dtype, double value)
{
    if (cr_failed() || !at.node)
        return NULL;
    struct entry *entry = entry_find(at.node, name);
    if (entry)
        return check_found(entry, &shape) == CR_OK ? entry->tensor : NULL;
    cr_frame frame = cr_frame_begin();
    cr_tensor *tensor = cr_full_with(
        (cr_tensor_args){
            .shape = shape, .dtype = dtype, .device = at.model->is_meta ? CR_META : CR_CPU },
        value);
    entry = tensor ? entry_make(at, name, tensor, true) : NULL;
    cr_frame_end(frame);
    return entry ? entry->tensor : NULL;
}

bool model_is_meta(const cr_model *model)
{
    return model->is_meta;
}

bool model_is_uninitialized(const cr_model *model)
{
    return model->is_uninitialized;
}

cr_tensor *scope_find(cr_scope at, const char *name)
{
    struct entry *entry = at.node ? entry_find(at.node, name) : NULL;
    return entry ? entry->tensor : NULL;
}

cr_tensor *scope_adopt(cr_scope at, const char *name, cr_tensor *tensor, bool is_buffer)
{
    struct entry *entry = at.node && tensor ? entry_make(at, name, tensor, is_buffer) : NULL;
    if (!entry || is_buffer)
        return entry ? tensor : NULL;
    tensor->is_parameter = true;
    return cr_set_requires_grad(tensor, true);
}

void *scope_kept(cr_scope at, uint64_t key)
{
    for (struct keeping *kept = at.node ? at.node->kept : NULL; kept; kept = kept->next) {
        if (kept->key == key)
            return kept->block;
    }
    return NULL;
}

cr_status scope_keep(cr_scope at, uint64_t key, void *block)
{
    struct keeping *kept = cr_alloc(sizeof *kept);
    if (!kept) {
        cr_free(block);
        return CR_ERROR_MEMORY;
    }
    *kept = (struct keeping){ at.node->kept, key, block };
    at.node->kept = kept;
    return CR_OK;
}

cr_status cr_model_init_weights(cr_model *model, const char *pattern, int ndim, cr_init init)
{
    size_t length = strlen(pattern);
    struct init_rule *rule = cr_alloc(sizeof *rule + length + 1);
    if (!rule)
        return CR_ERROR_MEMORY;
    memcpy(rule->pattern, pattern, length + 1);
    rule->init = init;
    rule->ndim = ndim;
    rule->next = model->rules;
    model->rules = rule;
    return CR_OK;
}

cr_status cr_model_init_rule(cr_model *model, const char *pattern, cr_init init)
{
    return cr_model_init_weights(model, pattern, 0, init);
}

/* ---- looking through them ---- */

int cr_model_tensor_count(const cr_model *model)
{
    return model->count;
}

cr_named_tensor cr_model_tensor_at(const cr_model *model, int index)
{
    struct entry *entry = model->first;
    while (entry && index-- > 0)
        entry = entry->next_made;
    return entry ? (cr_named_tensor){ entry->name, entry->tensor, entry->is_buffer }
                 : (cr_named_tensor){ 0 };
}

cr_tensor *cr_model_find(const cr_model *model, const char *name)
{
    for (struct entry *entry = model->first; entry; entry = entry->next_made) {
        if (strcmp(entry->name, name) == 0)
            return entry->tensor;
    }
    return NULL;
}

int64_t cr_model_parameter_count(const cr_model *model, bool trainable_only)
{
    int64_t count = 0;
    for (struct entry *entry = model->first; entry; entry = entry->next_made) {
        if (!entry->is_buffer && (!trainable_only || entry->tensor->requires_grad))
            count += tensor_numel(entry->tensor);
    }
    return count;
}

int64_t scope_parameter_count(cr_scope at)
{
    int64_t count = 0;
    for (struct entry *entry = at.node ? at.node->entries : NULL; entry; entry = entry->next)
        count += entry->is_buffer ? 0 : tensor_numel(entry->tensor);
    return count;
}

int cr_model_freeze(cr_model *model, const char *pattern, bool frozen)
{
    int count = 0;
    for (struct entry *entry = model->first; entry; entry = entry->next_made) {
        if (entry->is_buffer || !cr_pattern_match(pattern, entry->name))
            continue;
        entry->tensor->requires_grad = !frozen;
        count++;
    }
    return count;
}

static cr_status entry_convert(struct entry *entry, cr_dtype dtype)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *old = entry->tensor;
    cr_tensor *converted = cr_retain(cr_detach(cr_to_dtype(old, dtype)));
    cr_frame_end(frame);
    if (!converted)
        return cr_error_status();
    converted->is_parameter = old->is_parameter;
    cr_memory_tag(converted, entry->is_buffer ? CR_MEMORY_BUFFER : CR_MEMORY_PARAMETER);
    cr_set_requires_grad(converted, old->requires_grad);
    entry->tensor = converted;
    cr_release(old);
    return CR_OK;
}

cr_status cr_model_to_dtype(cr_model *model, cr_dtype dtype)
{
    if (cr_failed())
        return cr_error_status();
    if (!cr_dtype_is_floating(dtype))
        return cr_error_set(CR_ERROR_DTYPE,
                            "a model cannot be converted to %s; float64 is one of "
                            "those that it can be",
                            cr_dtype_name(dtype));
    cr_status status = CR_OK;
    for (struct entry *entry = model->first; entry && status == CR_OK; entry = entry->next_made) {
        cr_dtype own = cr_dtype_of(entry->tensor);
        if (cr_dtype_is_floating(own) && own != dtype)
            status = entry_convert(entry, dtype);
    }
    return status;
}

void cr_model_zero_grad(cr_model *model)
{
    for (struct entry *entry = model->first; entry; entry = entry->next_made)
        cr_set_grad(entry->tensor, NULL);
}
