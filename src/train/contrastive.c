/* Contrastive learning: its losses, and what a method keeps from step to step. MoCo's key encoder
 * is a model of its own with the names of the first; its queue is a ring of unit vectors. */
#include <math.h>
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/memory.h"
#include "cresset/ops.h"
#include "cresset/self_supervised.h"

#define PROJECTION       "projection"
#define QUEUE            "moco.queue"
#define POINTER          "moco.pointer"
#define USUAL_QUEUE      4096
#define USUAL_MOMENTUM   0.999
#define USUAL_DIM        128
#define MOCO_TEMPERATURE 0.2
#define SIM_TEMPERATURE  0.5
#define LEAST_NORM       1e-12

/* ---- losses ---- */

static cr_tensor *unit(cr_tensor *x)
{
    return cr_normalize(x, 2, 1, LEAST_NORM);
}

static void give(cr_tensor **to, cr_tensor *tensor)
{
    if (to)
        *to = tensor;
}

cr_tensor *cr_info_nce_loss(cr_tensor *queries, cr_tensor *keys, cr_tensor *queue,
                            double temperature, cr_tensor **logits)
{
    keys = cr_detach(keys);
    queue = cr_detach(queue);
    int64_t last[] = { 1 };
    cr_tensor *own = cr_sum_dims(cr_mul(queries, keys), cr_shape_make(1, last), true);
    cr_tensor *others = cr_matmul(queries, cr_transpose(queue, 0, 1));
    cr_tensor *all = cr_div_scalar(cr_cat_of(1, own, others), temperature);
    give(logits, all);
    if (!all)
        return NULL;
    return cr_cross_entropy(all, cr_zeros(CR_SHAPE(cr_dim(all, 0)), .dtype = CR_I64));
}

/* Row i of 2N finds row (i + N) modulo 2N. */
static cr_tensor *partners(int64_t count)
{
    cr_tensor *labels = cr_empty(CR_SHAPE(2 * count), .dtype = CR_I64);
    int64_t *label = labels ? cr_data(labels) : NULL;
    for (int64_t i = 0; label && i < 2 * count; i++)
        label[i] = (i + count) % (2 * count);
    return labels;
}

cr_tensor *cr_nt_xent_loss(cr_tensor *first, cr_tensor *second, double temperature,
                           cr_tensor **logits)
{
    cr_tensor *z = unit(cr_cat_of(0, first, second));
    cr_tensor *all = cr_div_scalar(cr_matmul(z, cr_transpose(z, 0, 1)), temperature);
    if (!all)
        return NULL;
    int64_t rows = cr_dim(all, 0);
    all = cr_masked_fill(all, cr_eye(rows, .dtype = CR_BOOL), -INFINITY);
    give(logits, all);
    return cr_cross_entropy(all, partners(rows / 2));
}

/* ---- a method ---- */

struct cr_contrast {
    cr_contrast_settings settings;
    cr_model *model;
    cr_model_function encoder;
    const void *encoder_settings;
    cr_model *key;      /* MoCo's key encoder */
    cr_tensor *queue;   /* owned: (queue, dim) */
    cr_tensor *pointer; /* owned: int64 (1), where the next keys go */
};

/* The encoder and its projection, as a model function. */
static cr_tensor *encode(cr_scope at, cr_tensor *x, const void *context)
{
    const cr_contrast *contrast = context;
    cr_tensor *features = contrast->encoder(at, x, contrast->encoder_settings);
    if (!features)
        return NULL;
    if (cr_ndim(features) != 2) {
        cr_error_set(CR_ERROR_SHAPE, "contrastive learning needs an encoder that gives features "
                                     "(N, C), one vector a sample");
        return NULL;
    }
    int64_t hidden = contrast->settings.hidden;
    cr_scope projection = cr_at(at, PROJECTION);
    x = cr_relu(cr_linear(projection, "0", features, .out = hidden ? hidden : cr_dim(features, 1)));
    return cr_linear(projection, "2", x, .out = contrast->settings.dim);
}

static void choose_usual(cr_contrast_settings *settings)
{
    bool is_moco = settings->method == CR_CONTRAST_MOCO;
    if (settings->temperature == 0)
        settings->temperature = is_moco ? MOCO_TEMPERATURE : SIM_TEMPERATURE;
    if (settings->momentum == 0)
        settings->momentum = USUAL_MOMENTUM;
    if (settings->queue == 0)
        settings->queue = USUAL_QUEUE;
    if (settings->dim == 0)
        settings->dim = USUAL_DIM;
}

static cr_status check(const cr_contrast_settings *settings)
{
    if (settings->method != CR_CONTRAST_MOCO && settings->method != CR_CONTRAST_SIMCLR)
        return cr_error_set(CR_ERROR_ARGUMENT, "contrastive learning: choose MoCo or SimCLR");
    if (!(settings->temperature > 0) || !(settings->momentum >= 0 && settings->momentum < 1) ||
        settings->queue < 1 || settings->hidden < 0 || settings->dim < 1)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "contrastive learning needs a temperature above 0, a momentum in "
                            "[0, 1), and a queue and vectors of 1 at least; they are %g, %g, %lld "
                            "and %lld",
                            settings->temperature, settings->momentum, (long long)settings->queue,
                            (long long)settings->dim);
    return CR_OK;
}

/* a = b, or a += rate (b - a) for parameters. */
static cr_status move_key(const cr_contrast *contrast, double rate)
{
    bool was = cr_set_grad_enabled(false);
    for (int i = 0; i < cr_model_tensor_count(contrast->key) && !cr_failed(); i++) {
        cr_named_tensor key = cr_model_tensor_at(contrast->key, i);
        cr_tensor *own = cr_model_find(contrast->model, key.name);
        cr_frame frame = cr_frame_begin();
        if (rate == 1)
            cr_copy_(key.tensor, own);
        else if (!key.is_buffer) /* its norms keep statistics of their own */
            cr_add_(key.tensor, cr_sub(own, key.tensor), rate);
        cr_frame_end(frame);
    }
    cr_set_grad_enabled(was);
    return cr_error_status();
}

/* The key encoder begins as a copy of the model, the queue with random directions. */
static cr_status make_moco(cr_contrast *contrast, cr_shape input, uint64_t seed)
{
    const cr_contrast_settings *settings = &contrast->settings;
    contrast->key = cr_model_new(.seed = seed, .uninitialized = true);
    if (!contrast->key ||
        cr_model_build(contrast->key, encode, contrast, input, CR_F32, NULL) != CR_OK ||
        move_key(contrast, 1) != CR_OK)
        return cr_error_status();
    cr_generator *generator = cr_default_generator();
    cr_generator was = *generator;
    *generator = cr_generator_make(seed, (uint64_t)settings->queue);
    cr_frame frame = cr_frame_begin();
    contrast->queue = cr_retain(unit(cr_randn(CR_SHAPE(settings->queue, settings->dim))));
    contrast->pointer = cr_retain(cr_zeros(CR_SHAPE(1), .dtype = CR_I64));
    cr_frame_end(frame);
    *generator = was;
    return cr_error_status();
}

cr_contrast *cr_contrast_new(cr_model *model, cr_model_function encoder, const void *settings,
                             cr_shape input, uint64_t seed, cr_contrast_settings chosen)
{
    choose_usual(&chosen);
    if (cr_failed() || check(&chosen) != CR_OK)
        return NULL;
    cr_contrast *contrast = cr_alloc_zeroed(1, sizeof *contrast);
    if (!contrast)
        return NULL;
    *contrast = (cr_contrast){
        .settings = chosen, .model = model, .encoder = encoder, .encoder_settings = settings
    };
    if (cr_model_build(model, encode, contrast, input, CR_F32, NULL) == CR_OK &&
        chosen.method == CR_CONTRAST_MOCO)
        make_moco(contrast, input, seed);
    if (!cr_failed())
        return contrast;
    cr_contrast_free(contrast);
    return NULL;
}

void cr_contrast_free(cr_contrast *contrast)
{
    if (!contrast)
        return;
    cr_model_free(contrast->key);
    cr_release(contrast->queue);
    cr_release(contrast->pointer);
    cr_free(contrast);
}

/* ---- a step ---- */

/* Puts keys (N, dim) into the ring, the latest in place of the oldest. */
static void enqueue(cr_contrast *contrast, cr_tensor *keys)
{
    int64_t dim = contrast->settings.dim;
    int64_t size = contrast->settings.queue;
    cr_tensor *rows = cr_contiguous(cr_to_dtype(keys, CR_F32));
    if (!rows)
        return;
    const float *from = cr_data(rows);
    float *queue = cr_data(contrast->queue);
    int64_t *pointer = cr_data(contrast->pointer);
    for (int64_t i = 0; i < cr_dim(rows, 0); i++) {
        memcpy(queue + *pointer * dim, from + i * dim, (size_t)dim * sizeof *queue);
        *pointer = (*pointer + 1) % size;
    }
    cr_mark_written(contrast->queue);
    cr_mark_written(contrast->pointer);
}

/* The keys of a view, by the key encoder after its step towards the model. */
static cr_tensor *make_keys(const cr_contrast *contrast, cr_tensor *view)
{
    if (move_key(contrast, 1 - contrast->settings.momentum) != CR_OK)
        return NULL;
    bool was = cr_set_grad_enabled(false);
    cr_model_train(contrast->key, cr_model_is_training(contrast->model));
    cr_tensor *keys = unit(encode(cr_root(contrast->key), view, contrast));
    cr_set_grad_enabled(was);
    return keys;
}

static cr_tensor *moco_loss(cr_contrast *contrast, cr_tensor *first, cr_tensor *second,
                            cr_tensor **logits, cr_tensor **labels)
{
    cr_tensor *queries = unit(encode(cr_root(contrast->model), first, contrast));
    cr_tensor *keys = make_keys(contrast, second);
    /* A copy, since the keys overwrite what backward reads. */
    cr_tensor *loss = cr_info_nce_loss(queries, keys, cr_clone(contrast->queue),
                                       contrast->settings.temperature, logits);
    if (!loss)
        return NULL;
    give(labels, cr_zeros(CR_SHAPE(cr_dim(queries, 0)), .dtype = CR_I64));
    enqueue(contrast, keys);
    return cr_failed() ? NULL : loss;
}

/* Both views in one batch, so that the norms see them together. */
static cr_tensor *simclr_loss(cr_contrast *contrast, cr_tensor *first, cr_tensor *second,
                              cr_tensor **logits, cr_tensor **labels)
{
    cr_tensor *z = encode(cr_root(contrast->model), cr_cat_of(0, first, second), contrast);
    if (!z)
        return NULL;
    int64_t count = cr_dim(z, 0) / 2;
    give(labels, partners(count));
    return cr_nt_xent_loss(cr_narrow(z, 0, 0, count), cr_narrow(z, 0, count, count),
                           contrast->settings.temperature, logits);
}

cr_tensor *cr_contrast_loss(cr_contrast *contrast, cr_tensor *first, cr_tensor *second,
                            cr_tensor **logits, cr_tensor **labels)
{
    if (cr_failed() || !first || !second)
        return NULL;
    return contrast->settings.method == CR_CONTRAST_MOCO
               ? moco_loss(contrast, first, second, logits, labels)
               : simclr_loss(contrast, first, second, logits, labels);
}

/* ---- its state ---- */

int cr_contrast_state_count(const cr_contrast *contrast)
{
    return contrast->key ? cr_model_tensor_count(contrast->key) + 2 : 0;
}

cr_named_tensor cr_contrast_state_at(const cr_contrast *contrast, int index)
{
    if (index == 0)
        return (cr_named_tensor){ QUEUE, contrast->queue, true };
    if (index == 1)
        return (cr_named_tensor){ POINTER, contrast->pointer, true };
    return cr_model_tensor_at(contrast->key, index - 2);
}

cr_status cr_contrast_state_set(cr_contrast *contrast, const char *name, cr_tensor *value)
{
    cr_tensor *own = contrast->key ? cr_model_find(contrast->key, name) : NULL;
    if (strcmp(name, QUEUE) == 0)
        own = contrast->queue;
    else if (strcmp(name, POINTER) == 0)
        own = contrast->pointer;
    cr_shape have = cr_shape_of(value);
    cr_shape want = cr_shape_of(own);
    if (!own || !cr_shape_equal(&have, &want))
        return cr_error_set(CR_ERROR_SHAPE, "the tensor %s does not fit this contrastive learning",
                            name);
    bool was = cr_set_grad_enabled(false);
    cr_status status = cr_copy_(own, value);
    cr_set_grad_enabled(was);
    return status;
}
