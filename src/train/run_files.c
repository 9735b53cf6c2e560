/* The run directory: what is written while a run goes on, and how it is taken up again.
 *
 * weights/last.safetensors holds the model under its own names, the optimiser's state with the
 * prefix "optimizer.", the average's with "average.", that of contrastive pretraining with
 * "contrast.", and everything else as JSON under "training"
 * in the metadata. metrics.csv is written anew after each epoch from the history in that JSON, so
 * that after a crash the two agree. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cresset/autograd.h"
#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/ops.h"
#include "cresset/safetensors.h"
#include "cresset/system.h"
#include "train/train_run.h"

#define TRAINING_KEY "training"
#define OPTIMIZER    "optimizer."
#define AVERAGE      "average."
#define CONTRAST     "contrast."

static cr_status write_text(const char *folder, const char *name, const char *text, size_t length)
{
    char *path = cr_path_join(folder, name);
    cr_status status = path ? cr_file_replace(path, text, length) : CR_ERROR_MEMORY;
    cr_free(path);
    return status;
}

cr_status run_folder_make(const struct trainer *trainer)
{
    char *weights = cr_path_join(trainer->run.folder, "weights");
    cr_status status = weights ? cr_folder_make(weights) : CR_ERROR_MEMORY;
    cr_free(weights);
    if (status != CR_OK)
        return status;
    char *own = trainer->run.arguments ? NULL : train_settings_json(&trainer->settings);
    const char *text = trainer->run.arguments ? trainer->run.arguments : own;
    status =
        text ? write_text(trainer->run.folder, "args.json", text, strlen(text)) : cr_error_status();
    cr_free(own);
    return status;
}

void run_log(const struct trainer *trainer, const char *format, ...)
{
    if (!trainer->run.folder)
        return;
    char when[32];
    char line[512];
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    char *path = cr_path_join(trainer->run.folder, "log.txt");
    char *whole = path ? cr_string_format("%s %s\n", when, line) : NULL;
    FILE *file = whole ? fopen(path, "ae") : NULL;
    if (file) {
        fwrite(whole, 1, strlen(whole), file);
        fclose(file);
    }
    cr_free(whole);
    cr_free(path);
}

/* A number for a table: NaN, for what was not measured, stays empty. */
static void append_number(cr_text *text, double value)
{
    if (isnan(value))
        cr_text_append(text, ",");
    else
        cr_text_printf(text, ",%.8g", value);
}

cr_status run_write_metrics(const struct trainer *trainer)
{
    cr_text text = { 0 };
    cr_text_append(&text, "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,"
                          "lr,seconds,memory_bytes,best");
    bool several = trainer->classifier->has_several_labels;
    cr_text_append(&text, several ? ",validation_average_precision\n" : "\n");
    for (int64_t i = 0; i < trainer->result->count; i++) {
        const cr_train_epoch *epoch = &trainer->result->epochs[i];
        cr_text_printf(&text, "%lld", (long long)epoch->epoch);
        append_number(&text, epoch->train_loss);
        append_number(&text, epoch->train_accuracy);
        append_number(&text, epoch->validation_loss);
        append_number(&text, epoch->validation_accuracy);
        append_number(&text, epoch->lr);
        append_number(&text, epoch->seconds);
        cr_text_printf(&text, ",%lld,%d", (long long)epoch->memory, (int)epoch->is_best);
        if (several)
            append_number(&text, epoch->validation_average_precision);
        cr_text_append(&text, "\n");
    }
    cr_status status = cr_error_status();
    if (status == CR_OK)
        status = write_text(trainer->run.folder, "metrics.csv", text.data, text.length);
    cr_text_free(&text);
    return status;
}

cr_status run_save_best(const struct trainer *trainer)
{
    char *path = cr_path_join(trainer->run.folder, "weights/best.safetensors");
    cr_status status = path ? cr_classifier_save(trainer->classifier, path) : CR_ERROR_MEMORY;
    cr_free(path);
    return status;
}

/* ---- the state as JSON ---- */

/* Unsigned 64-bit numbers go through JSON's signed ones bit by bit. */
static json_t *bits(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *number_or_null(double value)
{
    return isnan(value) ? json_null() : json_real(value);
}

static json_t *epoch_json(const cr_train_epoch *epoch)
{
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:b}", "epoch",
                     (json_int_t)epoch->epoch, "train_loss", number_or_null(epoch->train_loss),
                     "train_accuracy", number_or_null(epoch->train_accuracy), "validation_loss",
                     number_or_null(epoch->validation_loss), "validation_accuracy",
                     number_or_null(epoch->validation_accuracy), "validation_average_precision",
                     number_or_null(epoch->validation_average_precision), "lr",
                     number_or_null(epoch->lr), "seconds", number_or_null(epoch->seconds), "memory",
                     (json_int_t)epoch->memory, "best", (int)epoch->is_best);
}

static json_t *plateau_json(const cr_plateau *plateau)
{
    return json_pack("{s:f, s:f, s:i, s:i, s:b}", "scale", plateau->scale, "best", plateau->best,
                     "bad", plateau->bad, "cooling", plateau->cooling, "started",
                     (int)plateau->started);
}

static json_t *scaler_json(const cr_grad_scaler *scaler)
{
    return json_pack("{s:f, s:I, s:I}", "scale", scaler->scale, "growth_tracker",
                     (json_int_t)scaler->growth_tracker, "skipped", (json_int_t)scaler->skipped);
}

static char *state_dump(const struct trainer *trainer)
{
    const struct train_state *state = &trainer->state;
    const cr_generator *generator = cr_default_generator();
    json_t *history = json_array();
    for (int64_t i = 0; i < trainer->result->count; i++)
        json_array_append_new(history, epoch_json(&trainer->result->epochs[i]));
    json_t *root = json_pack(
        "{s:i, s:s, s:o, s:o, s:I, s:I, s:f, s:I, s:I, s:f, s:f, s:I, s:b, s:b, "
        "s:[o,o,o], s:o, s:o, s:o}",
        "format", 1, "optimizer", cr_optim_name(trainer->settings.optimizer.kind), "seed",
        bits(state->loader.seed), "epoch", bits(state->loader.epoch), "position",
        (json_int_t)state->loader.position, "steps", (json_int_t)state->steps, "loss_sum",
        state->loss_sum, "correct", (json_int_t)state->correct, "seen", (json_int_t)state->seen,
        "seconds", trainer_seconds(trainer), "best", state->best, "best_epoch",
        (json_int_t)state->best_epoch, "over", (int)state->is_over, "stopped_early",
        (int)trainer->result->stopped_early, "generator", bits(generator->seed),
        bits(generator->stream), bits(generator->offset), "plateau", plateau_json(&state->plateau),
        "scaler", scaler_json(&state->scaler), "history", history);
    return json_text(root, JSON_COMPACT | JSON_REAL_PRECISION(17), "the state of the run");
}

/* ---- writing the state ---- */

struct item_list {
    cr_safetensors_item *items;
    char **names; /* those that were made here */
    int count;
};

static void items_free(struct item_list *list)
{
    for (int i = 0; i < list->count && list->names; i++)
        cr_free(list->names[i]);
    cr_free(list->names);
    cr_free(list->items);
}

static cr_status items_add(struct item_list *list, const char *prefix, cr_named_tensor named)
{
    char *name = named.name ? cr_string_format("%s%s", prefix, named.name) : NULL;
    if (!name)
        return cr_error_status();
    list->names[list->count] = name;
    list->items[list->count++] = (cr_safetensors_item){ name, named.tensor };
    return CR_OK;
}

static cr_status items_collect(const struct trainer *trainer, struct item_list *list)
{
    const cr_model *model = trainer->classifier->model;
    int own = cr_model_tensor_count(model);
    int optimizer = cr_optim_state_count(trainer->optim);
    int average = trainer->average ? cr_average_state_count(trainer->average) : 0;
    int contrast = trainer->contrast ? cr_contrast_state_count(trainer->contrast) : 0;
    size_t all = (size_t)own + (size_t)optimizer + (size_t)average + (size_t)contrast;
    list->items = cr_alloc_zeroed(all, sizeof *list->items);
    list->names = cr_alloc_zeroed(all, sizeof *list->names);
    if (!list->items || !list->names)
        return CR_ERROR_MEMORY;
    cr_status status = CR_OK;
    for (int i = 0; i < own && status == CR_OK; i++)
        status = items_add(list, "", cr_model_tensor_at(model, i));
    for (int i = 0; i < optimizer && status == CR_OK; i++)
        status = items_add(list, OPTIMIZER, cr_optim_state_at(trainer->optim, i));
    for (int i = 0; i < average && status == CR_OK; i++)
        status = items_add(list, AVERAGE, cr_average_state_at(trainer->average, i));
    for (int i = 0; i < contrast && status == CR_OK; i++)
        status = items_add(list, CONTRAST, cr_contrast_state_at(trainer->contrast, i));
    return status;
}

static cr_status save_items(const struct trainer *trainer, const struct item_list *list)
{
    char *description = cr_classifier_describe(trainer->classifier);
    char *state = description ? state_dump(trainer) : NULL;
    char *path = state ? cr_path_join(trainer->run.folder, "weights/last.safetensors") : NULL;
    const cr_string_pair metadata[] = { { "cresset", description }, { TRAINING_KEY, state } };
    cr_status status =
        path ? cr_safetensors_save(path, list->items, list->count, metadata, 2) : cr_error_status();
    cr_free(path);
    cr_free(description);
    cr_free(state);
    return status;
}

cr_status run_save_last(struct trainer *trainer)
{
    struct item_list list = { 0 };
    cr_status status = items_collect(trainer, &list);
    if (status == CR_OK)
        status = save_items(trainer, &list);
    items_free(&list);
    trainer->saved = cr_clock_seconds();
    return status;
}

/* ---- reading it back ---- */

static double real_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int64_t integer_at(const json_t *object, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(object, key));
}

static cr_status restore_history(struct trainer *trainer, const json_t *history)
{
    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *row = json_array_get(history, i);
        cr_train_epoch epoch = {
            .epoch = integer_at(row, "epoch"),
            .train_loss = real_at(row, "train_loss"),
            .train_accuracy = real_at(row, "train_accuracy"),
            .validation_loss = real_at(row, "validation_loss"),
            .validation_accuracy = real_at(row, "validation_accuracy"),
            .validation_average_precision = real_at(row, "validation_average_precision"),
            .lr = real_at(row, "lr"),
            .seconds = real_at(row, "seconds"),
            .memory = integer_at(row, "memory"),
            .is_best = json_is_true(json_object_get(row, "best")),
        };
        if (result_append(trainer->result, epoch) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

static void restore_plateau(cr_plateau *plateau, const json_t *saved)
{
    plateau->scale = real_at(saved, "scale");
    plateau->best = real_at(saved, "best");
    plateau->bad = (int)integer_at(saved, "bad");
    plateau->cooling = (int)integer_at(saved, "cooling");
    plateau->started = json_is_true(json_object_get(saved, "started"));
}

static void restore_scaler(cr_grad_scaler *scaler, const json_t *saved)
{
    scaler->scale = real_at(saved, "scale");
    scaler->growth_tracker = integer_at(saved, "growth_tracker");
    scaler->skipped = integer_at(saved, "skipped");
}

static cr_status restore_state(struct trainer *trainer, const json_t *root)
{
    struct train_state *state = &trainer->state;
    const char *optimizer = json_string_value(json_object_get(root, "optimizer"));
    const char *own = cr_optim_name(trainer->settings.optimizer.kind);
    if (integer_at(root, "format") != 1 || !optimizer)
        return cr_error_set(CR_ERROR_FORMAT, "its training state is damaged");
    if (strcmp(optimizer, own) != 0)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "the run was trained with %s and cannot go on with %s", optimizer, own);
    state->loader.seed = (uint64_t)integer_at(root, "seed");
    state->loader.epoch = (uint64_t)integer_at(root, "epoch");
    state->loader.position = integer_at(root, "position");
    state->steps = integer_at(root, "steps");
    state->loss_sum = real_at(root, "loss_sum");
    state->correct = integer_at(root, "correct");
    state->seen = integer_at(root, "seen");
    state->seconds = real_at(root, "seconds");
    state->best = real_at(root, "best");
    state->best_epoch = integer_at(root, "best_epoch");
    state->is_over = json_is_true(json_object_get(root, "over"));
    trainer->result->stopped_early = json_is_true(json_object_get(root, "stopped_early"));
    const json_t *generator = json_object_get(root, "generator");
    *cr_default_generator() = (cr_generator){
        .seed = (uint64_t)json_integer_value(json_array_get(generator, 0)),
        .stream = (uint64_t)json_integer_value(json_array_get(generator, 1)),
        .offset = (uint64_t)json_integer_value(json_array_get(generator, 2)),
    };
    restore_plateau(&state->plateau, json_object_get(root, "plateau"));
    if (state->scaler.scale != 0 && json_object_get(root, "scaler"))
        restore_scaler(&state->scaler, json_object_get(root, "scaler"));
    return restore_history(trainer, json_object_get(root, "history"));
}

/* One tensor of the file, to where its prefix says. */
static cr_status restore_tensor(struct trainer *trainer, const char *name, cr_tensor *value)
{
    size_t optimizer = strlen(OPTIMIZER);
    size_t average = strlen(AVERAGE);
    size_t contrast = strlen(CONTRAST);
    if (strncmp(name, OPTIMIZER, optimizer) == 0)
        return cr_optim_state_set(trainer->optim, name + optimizer, value);
    if (strncmp(name, AVERAGE, average) == 0)
        return trainer->average ? cr_average_state_set(trainer->average, name + average, value)
                                : CR_OK;
    if (strncmp(name, CONTRAST, contrast) == 0)
        return trainer->contrast ? cr_contrast_state_set(trainer->contrast, name + contrast, value)
                                 : CR_OK;
    cr_tensor *own = cr_model_find(trainer->classifier->model, name);
    cr_shape have = cr_shape_of(value);
    cr_shape want = cr_shape_of(own);
    if (!own || !cr_shape_equal(&have, &want))
        return cr_error_set(CR_ERROR_SHAPE, "the tensor %s does not fit the model", name);
    return cr_copy_(own, value);
}

static cr_status restore_tensors(struct trainer *trainer, cr_safetensors *file)
{
    bool was = cr_set_grad_enabled(false);
    cr_status status = CR_OK;
    for (int i = 0; i < cr_safetensors_count(file) && status == CR_OK; i++) {
        const char *name = cr_safetensors_at(file, i).name;
        cr_frame frame = cr_frame_begin();
        cr_tensor *value = cr_safetensors_load(file, name);
        status = value ? restore_tensor(trainer, name, value) : cr_error_status();
        cr_frame_end(frame);
    }
    cr_set_grad_enabled(was);
    return status;
}

static cr_status restore_file(struct trainer *trainer, cr_safetensors *file)
{
    const char *text = cr_safetensors_metadata(file, TRAINING_KEY);
    json_t *root = text ? json_loads(text, 0, NULL) : NULL;
    if (!root)
        return cr_error_set(CR_ERROR_FORMAT, "it holds weights but no state of training to resume "
                                             "from");
    cr_status status = restore_state(trainer, root);
    json_decref(root);
    return status == CR_OK ? restore_tensors(trainer, file) : status;
}

cr_status run_restore_last(struct trainer *trainer)
{
    char *path = cr_path_join(trainer->run.folder, "weights/last.safetensors");
    cr_safetensors *file = path ? cr_safetensors_open(path) : NULL;
    cr_status status = file ? restore_file(trainer, file) : cr_error_status();
    if (status != CR_OK && file)
        cr_error_prefix("%s", path);
    cr_safetensors_close(file);
    cr_free(path);
    return status;
}
