/* Which parts of a model are trained: its last ones alone, or more and more of them from the last
 * to the first (Howard and Ruder, "Universal language model fine-tuning", 2018).
 *
 * A part is what the names of parameters have in common up to a dot: layer4, features.6. A part
 * that has more than half of a model's parameters is taken apart at the next dot. Which parts train
 * is a function of the epoch alone, so that nothing has to be saved. */
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/memory.h"
#include "train/train_run.h"

/* The length of the first `depth` steps of a dotted name; 0 if only the parameter's own name would
 * be left. */
static size_t prefix_length(const char *name, int depth)
{
    const char *at = name;
    for (int i = 0; i < depth; i++) {
        at = strchr(i ? at + 1 : at, '.');
        if (!at)
            return 0;
    }
    return (size_t)(at - name);
}

static bool is_below(const char *name, const char *prefix, size_t length)
{
    return strncmp(name, prefix, length) == 0 && (name[length] == '.' || name[length] == '\0');
}

/* How many parameters are below a prefix; all of them if it is NULL. */
static int count_below(const cr_model *model, const char *prefix, size_t length)
{
    int count = 0;
    for (int i = 0; i < cr_model_tensor_count(model); i++) {
        cr_named_tensor named = cr_model_tensor_at(model, i);
        count += !named.is_buffer && (!prefix || is_below(named.name, prefix, length));
    }
    return count;
}

/* The part that a parameter is in: as many steps of its name. */
static size_t part_length(const cr_model *model, const char *name)
{
    int all = count_below(model, NULL, 0);
    size_t length = prefix_length(name, 1);
    if (length == 0)
        return strlen(name);
    for (int depth = 2; 2 * count_below(model, name, length) > all; depth++) {
        size_t longer = prefix_length(name, depth);
        if (longer == 0)
            break;
        length = longer;
    }
    return length;
}

void train_parts_free(struct train_parts *parts)
{
    for (int i = 0; i < parts->count; i++)
        cr_free(parts->names[i]);
    cr_free(parts->names);
    cr_free(parts->of);
    *parts = (struct train_parts){ 0 };
}

static int find_part(const struct train_parts *parts, const char *name, size_t length)
{
    for (int i = 0; i < parts->count; i++)
        if (strlen(parts->names[i]) == length && strncmp(parts->names[i], name, length) == 0)
            return i;
    return -1;
}

cr_status train_parts_find(const cr_model *model, struct train_parts *parts)
{
    int count = cr_model_tensor_count(model);
    *parts = (struct train_parts){ 0 };
    parts->names = cr_alloc_zeroed((size_t)count + 1, sizeof *parts->names);
    parts->of = cr_alloc_array((size_t)count + 1, sizeof *parts->of);
    for (int i = 0; !cr_failed() && i < count; i++) {
        cr_named_tensor named = cr_model_tensor_at(model, i);
        parts->of[i] = -1;
        if (named.is_buffer || !cr_requires_grad(named.tensor))
            continue;
        size_t length = part_length(model, named.name);
        parts->of[i] = find_part(parts, named.name, length);
        if (parts->of[i] >= 0)
            continue;
        parts->names[parts->count] = cr_string_format("%.*s", (int)length, named.name);
        if (parts->names[parts->count])
            parts->of[i] = parts->count++;
    }
    if (cr_failed())
        train_parts_free(parts);
    return cr_error_status();
}

int train_parts_trained(const struct train_parts *parts, const cr_train_settings *settings,
                        uint64_t epoch)
{
    uint64_t trained = (uint64_t)parts->count;
    if (settings->finetune_depth > 0 && (uint64_t)settings->finetune_depth < trained)
        trained = (uint64_t)settings->finetune_depth;
    if (settings->unfreeze_every > 0 && 1 + epoch / (uint64_t)settings->unfreeze_every < trained)
        trained = 1 + epoch / (uint64_t)settings->unfreeze_every;
    return (int)trained;
}

void train_parts_apply(const struct train_parts *parts, const cr_model *model, int trained)
{
    for (int i = 0; parts->of && i < cr_model_tensor_count(model); i++)
        if (parts->of[i] >= 0)
            cr_set_requires_grad(cr_model_tensor_at(model, i).tensor,
                                 parts->of[i] >= parts->count - trained);
}

char *cr_train_parts(const cr_model *model)
{
    struct train_parts parts;
    cr_text text = { 0 };
    if (cr_failed() || train_parts_find(model, &parts) != CR_OK)
        return NULL;
    for (int i = 0; i < parts.count; i++)
        cr_text_printf(&text, "%s%s", i ? " " : "", parts.names[i]);
    char *words = cr_failed() ? NULL : cr_string_copy(text.data ? text.data : "");
    cr_text_free(&text);
    train_parts_free(&parts);
    return words;
}
