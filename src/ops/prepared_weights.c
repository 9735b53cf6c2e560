/* Forms of weights that inference keeps with their storages.
 *
 * A kernel reads weights packed or transformed. An op that finds them unchanged at its next call
 * saves that work: the storage of the weight keeps one form, the last that was made, under the key
 * of what it was made of. Of norm that key has the values, since tensors that are freed leave their
 * addresses to others. Who reads a form holds a reference to it, so another thread may replace
 * it meanwhile. */
#include <pthread.h>
#include <string.h>

#include "ops/ops.h"

/* Guards what storages keep, and the counts of references. */
static pthread_mutex_t prepared_lock = PTHREAD_MUTEX_INITIALIZER;

static void release(void *context)
{
    prepared_release(context);
}

void prepared_release(struct prepared *prepared)
{
    pthread_mutex_lock(&prepared_lock);
    bool is_last = prepared && --prepared->references == 0;
    pthread_mutex_unlock(&prepared_lock);
    if (!is_last)
        return;
    cr_buffer_free(prepared->data, prepared->bytes);
    cr_free(prepared);
}

struct prepared *prepared_new(const struct prepared_key *key, size_t bytes)
{
    size_t count = (size_t)key->shape.dim[0], more = (PREPARED_VECTORS + 1) * count;
    struct prepared *prepared = cr_alloc(sizeof *prepared);
    size_t all = bytes + more * sizeof(float);
    float *data = prepared ? cr_buffer_alloc(all) : NULL;
    if (!data) {
        cr_free(prepared);
        return NULL;
    }
    float *shift = data + bytes / sizeof(float), *vector = shift + count;
    *prepared = (struct prepared){
        .references = 1, .key = *key, .bytes = all, .data = data, .shift = shift
    };
    for (int i = 0; i < PREPARED_VECTORS; i++, vector += count) {
        if (!key->vectors[i])
            continue;
        memcpy(vector, key->vectors[i], count * sizeof(float));
        prepared->key.vectors[i] = vector;
    }
    return prepared;
}

static bool is_same(const struct prepared_key *a, const struct prepared_key *b)
{
    if (a->form != b->form || a->version != b->version || a->offset != b->offset ||
        a->eps != b->eps || !cr_shape_equal(&a->shape, &b->shape))
        return false;
    size_t bytes = (size_t)a->shape.dim[0] * sizeof(float);
    for (int i = 0; i < PREPARED_VECTORS; i++) {
        if (!a->vectors[i] != !b->vectors[i] ||
            (a->vectors[i] && memcmp(a->vectors[i], b->vectors[i], bytes) != 0))
            return false;
    }
    return true;
}

struct prepared *prepared_find(struct storage *storage, const struct prepared_key *key)
{
    pthread_mutex_lock(&prepared_lock);
    struct prepared *kept = storage->is_foreign ? NULL : storage->context;
    if (kept)
        kept->references++;
    pthread_mutex_unlock(&prepared_lock);
    if (!kept || is_same(&kept->key, key))
        return kept;
    prepared_release(kept);
    return NULL;
}

void prepared_keep(struct storage *storage, struct prepared *prepared)
{
    if (storage->is_foreign)
        return;
    pthread_mutex_lock(&prepared_lock);
    struct prepared *before = storage->context;
    storage->context = prepared;
    storage->release = release;
    prepared->references++;
    pthread_mutex_unlock(&prepared_lock);
    prepared_release(before);
}

void prepared_forget(struct storage *storage)
{
    if (storage->is_foreign)
        return;
    pthread_mutex_lock(&prepared_lock);
    struct prepared *before = storage->context;
    storage->context = NULL;
    pthread_mutex_unlock(&prepared_lock);
    prepared_release(before);
}
