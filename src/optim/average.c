/* Averages of a model's weights over the steps of training. */
#include <string.h>

#include "nn/nn.h"
#include "optim/optim.h"

struct cr_average {
    cr_model *model;
    bool is_ema;
    bool warmup;
    double decay;
    cr_tensor *updates; /* owned: float64 (1) */
    cr_tensor **values; /* owned: one for each tensor of the model */
    int count;
};

static cr_average *average_new(cr_model *model, bool is_ema, double decay, bool warmup)
{
    if (cr_failed())
        return NULL;
    cr_average *average = cr_alloc_zeroed(1, sizeof *average);
    if (!average)
        return NULL;
    average->model = model;
    average->is_ema = is_ema;
    average->decay = decay;
    average->warmup = warmup;
    int count = cr_model_tensor_count(model);
    average->values = cr_alloc_zeroed((size_t)CR_MAX(count, 1), sizeof(cr_tensor *));
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(false);
    average->updates = cr_retain(cr_zeros(CR_SHAPE(1), .dtype = CR_F64));
    for (int i = 0; average->values && i < count; i++) {
        average->values[i] = cr_retain(cr_clone(cr_model_tensor_at(model, i).tensor));
        average->count = i + 1;
    }
    cr_set_grad_enabled(was);
    cr_frame_end(frame);
    if (!average->values || cr_failed()) {
        cr_average_free(average);
        return NULL;
    }
    return average;
}

cr_average *cr_ema_new(cr_model *model, double decay, bool warmup)
{
    if (!(decay >= 0 && decay < 1)) {
        cr_error_set(CR_ERROR_ARGUMENT, "ema: the decay %g must lie in [0, 1)", decay);
        return NULL;
    }
    return average_new(model, true, decay, warmup);
}

cr_average *cr_swa_new(cr_model *model)
{
    return average_new(model, false, 0, false);
}

void cr_average_free(cr_average *average)
{
    if (!average)
        return;
    for (int i = 0; i < average->count; i++)
        cr_release(average->values[i]);
    cr_release(average->updates);
    cr_free(average->values);
    cr_free(average);
}

/* a += rate (w - a) for parameters; buffers follow the model. */
static cr_status average_toward(cr_average *average, double rate)
{
    for (int i = 0; i < average->count; i++) {
        cr_named_tensor named = cr_model_tensor_at(average->model, i);
        cr_tensor *value = average->values[i];
        cr_frame frame = cr_frame_begin();
        cr_status status = named.is_buffer || rate == 1
                               ? cr_copy_(value, named.tensor)
                               : cr_add_(value, cr_sub(named.tensor, value), rate);
        cr_frame_end(frame);
        if (status != CR_OK)
            return status;
    }
    return CR_OK;
}

cr_status cr_average_update(cr_average *average)
{
    if (!average || cr_failed())
        return cr_error_status();
    double *updates = cr_data(average->updates);
    double t = ++*updates;
    double rate = 1 / t;
    if (average->is_ema) {
        double decay = average->decay;
        if (average->warmup)
            decay = CR_MIN(decay, (1 + t) / (10 + t));
        rate = 1 - decay;
    }
    bool was = cr_set_grad_enabled(false);
    cr_status status = average_toward(average, rate);
    cr_set_grad_enabled(was);
    return status;
}

cr_status cr_average_swap(cr_average *average)
{
    if (!average || cr_failed())
        return cr_error_status();
    for (int i = 0; i < average->count; i++) {
        cr_tensor *weight = cr_model_tensor_at(average->model, i).tensor;
        char *a = cr_data(weight);
        char *b = cr_data(average->values[i]);
        size_t bytes = (size_t)cr_numel(weight) * cr_dtype_size(cr_dtype_of(weight));
        for (size_t done = 0; done < bytes;) {
            char piece[4096];
            size_t more = CR_MIN(sizeof piece, bytes - done);
            memcpy(piece, a + done, more);
            memcpy(a + done, b + done, more);
            memcpy(b + done, piece, more);
            done += more;
        }
        cr_mark_written(weight);
    }
    return CR_OK;
}

int cr_average_state_count(const cr_average *average)
{
    return average->count + 1;
}

cr_named_tensor cr_average_state_at(const cr_average *average, int index)
{
    if (index == average->count)
        return (cr_named_tensor){ "updates", average->updates, true };
    cr_named_tensor named = cr_model_tensor_at(average->model, index);
    named.tensor = average->values[index];
    return named;
}

cr_status cr_average_state_set(cr_average *average, const char *name, cr_tensor *value)
{
    for (int i = 0; i <= average->count; i++) {
        cr_named_tensor named = cr_average_state_at(average, i);
        cr_shape shape = cr_shape_of(value);
        cr_shape own = cr_shape_of(named.tensor);
        if (strcmp(named.name, name) != 0)
            continue;
        if (!cr_shape_equal(&shape, &own))
            return cr_error_set(CR_ERROR_SHAPE, "average: %s has another shape than the model's",
                                name);
        bool was = cr_set_grad_enabled(false);
        cr_status status = cr_copy_(named.tensor, value);
        cr_set_grad_enabled(was);
        return status;
    }
    return cr_error_set(CR_ERROR_ARGUMENT, "average: the model has no tensor %s", name);
}

/* ---- batch norm's statistics ---- */

static cr_status reset_statistics(cr_model *model)
{
    for (int i = 0; i < cr_model_tensor_count(model); i++) {
        cr_named_tensor named = cr_model_tensor_at(model, i);
        if (!named.is_buffer)
            continue;
        cr_status status = CR_OK;
        if (cr_pattern_match("*running_var", named.name))
            status = cr_fill_(named.tensor, 1);
        else if (cr_pattern_match("*running_mean", named.name) ||
                 cr_pattern_match("*num_batches_tracked", named.name))
            status = cr_fill_(named.tensor, 0);
        if (status != CR_OK)
            return status;
    }
    return CR_OK;
}

static cr_status run_batches(cr_model *model, cr_model_function function, const void *settings,
                             cr_batch_source next, void *context)
{
    for (;;) {
        cr_frame frame = cr_frame_begin();
        cr_tensor *batch = next(context);
        if (batch)
            function(cr_root(model), batch, settings);
        cr_frame_end(frame);
        if (!batch || cr_failed())
            return cr_error_status();
    }
}

cr_status cr_update_batch_norm(cr_model *model, cr_model_function function, const void *settings,
                               cr_batch_source next, void *context)
{
    if (cr_failed())
        return cr_error_status();
    bool grad_was = cr_set_grad_enabled(false);
    bool training_was = cr_model_is_training(model);
    cr_model_train(model, true);
    model_set_cumulative_statistics(model, true);
    cr_status status = reset_statistics(model);
    if (status == CR_OK)
        status = run_batches(model, function, settings, next, context);
    model_set_cumulative_statistics(model, false);
    cr_model_train(model, training_was);
    cr_set_grad_enabled(grad_was);
    return status;
}
