/* Classifiers as they are kept in files: weights, and a description in the metadata. */
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/classifier.h"
#include "cresset/file.h"
#include "cresset/graph.h"
#include "cresset/memory.h"
#include "cresset/ops.h"
#include "cresset/state_dict.h"
#include "train/train_run.h"

#define DESCRIPTION_KEY    "cresset"
#define DESCRIPTION_FORMAT 1
#define SEVERAL_LABELS     "multilabel classification"
#define MAX_CLASSES        1000000

void cr_classifier_free(cr_classifier *classifier)
{
    if (!classifier)
        return;
    for (int i = 0; i < classifier->class_count && classifier->class_names; i++)
        cr_free(classifier->class_names[i]);
    cr_free(classifier->class_names);
    cr_free(classifier->thresholds);
    cr_compiled_free(classifier->compiled);
    cr_model_free(classifier->model);
    imported_free(classifier);
    cr_free(classifier);
}

/* Makes the model and its parameters, for one sample's shape. */
static cr_status build(cr_classifier *classifier, cr_model_args args)
{
    classifier->model = cr_model_new_with(args);
    if (!classifier->model)
        return cr_error_status();
    cr_shape batch = { .ndim = classifier->input.ndim + 1, .dim = { 2 } };
    for (int d = 0; d < classifier->input.ndim; d++)
        batch.dim[d + 1] = classifier->input.dim[d];
    return cr_model_build(classifier->model, cr_run_architecture, &classifier->bound, batch, CR_F32,
                          NULL);
}

static cr_status name_classes(cr_classifier *classifier, int count)
{
    classifier->class_names = cr_alloc_zeroed((size_t)count, sizeof(char *));
    if (!classifier->class_names)
        return CR_ERROR_MEMORY;
    classifier->class_count = count;
    return CR_OK;
}

static cr_status adopt_classes(cr_classifier *classifier, const cr_dataset *data)
{
    int count = cr_dataset_class_count(data);
    bool has_head = !classifier->bound.settings.no_head;
    classifier->has_several_labels = has_head && cr_dataset_has_targets(data);
    if (count < 2 && has_head && !classifier->has_several_labels)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s has %d classes; a classifier needs at least 2",
                            cr_dataset_name(data), count);
    if (name_classes(classifier, count) != CR_OK)
        return CR_ERROR_MEMORY;
    for (int i = 0; i < count; i++) {
        classifier->class_names[i] = cr_string_copy(cr_dataset_class_name(data, i));
        if (!classifier->class_names[i])
            return CR_ERROR_MEMORY;
    }
    return CR_OK;
}

static cr_status adopt_shape(cr_classifier *classifier, const cr_dataset *data)
{
    cr_shape own = cr_dataset_sample_shape(data);
    if (own.ndim != 3)
        return cr_error_set(
            CR_ERROR_SHAPE,
            "%s has samples of %d dimensions; a classifier needs pictures (channels, "
            "height, width)",
            cr_dataset_name(data), own.ndim);
    classifier->input = cr_transform_shape(&classifier->transforms, own);
    if (classifier->input.dim[1] < 1 || classifier->input.dim[2] < 1)
        return cr_error_set(CR_ERROR_SHAPE,
                            "the pictures of %s differ in size; a transform has to give them one, "
                            "such as resize:224:224 or center_crop:224",
                            cr_dataset_name(data));
    return CR_OK;
}

/* ---- normalization ---- */

/* Some samples of a set that is slow to read, evenly spread; else the set, retained. */
static cr_dataset *to_measure(cr_dataset *data)
{
    int64_t size = cr_dataset_size(data);
    cr_shape shape = cr_dataset_sample_shape(data);
    if (size <= CR_CLASSIFIER_MEASURED || shape.dim[1] > 0)
        return cr_dataset_retain(data);
    int64_t indices[CR_CLASSIFIER_MEASURED];
    for (int64_t i = 0; i < CR_CLASSIFIER_MEASURED; i++)
        indices[i] = i * size / CR_CLASSIFIER_MEASURED;
    return cr_dataset_subset(data, indices, CR_CLASSIFIER_MEASURED);
}

static cr_status measure(cr_classifier *classifier, cr_dataset *data)
{
    cr_dataset_statistics statistics;
    cr_dataset *some = to_measure(data);
    cr_status status = some ? cr_dataset_measure(some, &statistics) : cr_error_status();
    cr_dataset_free(some);
    if (status != CR_OK)
        return status;
    /* A channel that never changes is left at its scale. */
    for (int c = 0; c < statistics.channel_count; c++) {
        if (statistics.channel_deviations[c] == 0)
            statistics.channel_deviations[c] = 1;
    }
    /* Grey made of colours, or colours of grey: the one mean of all. */
    int channels = (int)classifier->input.dim[0];
    bool fits = channels == statistics.channel_count;
    for (int c = 1; c < statistics.channel_count && !fits; c++) {
        statistics.channel_means[0] += statistics.channel_means[c];
        statistics.channel_deviations[0] += statistics.channel_deviations[c];
    }
    if (!fits) {
        statistics.channel_means[0] /= statistics.channel_count;
        statistics.channel_deviations[0] /= statistics.channel_count;
    }
    status = cr_transform_add_normalize(&classifier->transforms, statistics.channel_means,
                                        statistics.channel_deviations,
                                        fits ? statistics.channel_count : 1);
    cr_dataset_statistics_free(&statistics);
    return status;
}

static bool has_normalize(const cr_transform_list *list)
{
    bool found = false;
    for (int i = 0; i < list->count; i++)
        found |= strcmp(list->items[i].type->name, "normalize") == 0;
    return found;
}

static cr_status normalize(cr_classifier *classifier, cr_dataset *data, cr_normalization how)
{
    static const double means[] = { 0.485, 0.456, 0.406 };
    static const double deviations[] = { 0.229, 0.224, 0.225 };
    if (how == CR_NORMALIZE_NONE || has_normalize(&classifier->transforms))
        return CR_OK;
    if (how == CR_NORMALIZE_MEASURED)
        return measure(classifier, data);
    if (classifier->input.dim[0] != 3)
        return cr_error_set(CR_ERROR_SHAPE,
                            "ImageNet's normalization is of 3 channels, but the pictures have %lld",
                            (long long)classifier->input.dim[0]);
    return cr_transform_add_normalize(&classifier->transforms, means, deviations, 3);
}

/* By name; NULL with an error if there is none, or none that takes images. */
static const cr_architecture *image_architecture(const char *name)
{
    const cr_architecture *found = cr_architecture_find(name);
    if (!found || found->kind == CR_INPUT_IMAGE)
        return found;
    cr_error_set(CR_ERROR_UNSUPPORTED,
                 "the model \"%s\" takes no images, so that it cannot be a classifier of them",
                 name);
    return NULL;
}

static cr_status adopt_data(cr_classifier *classifier, const cr_classifier_args *args)
{
    if (!args->data)
        return cr_error_set(CR_ERROR_ARGUMENT, "a classifier needs a data set");
    if (args->transforms)
        classifier->transforms = *args->transforms;
    if (adopt_classes(classifier, args->data) != CR_OK ||
        adopt_shape(classifier, args->data) != CR_OK)
        return cr_error_status();
    return normalize(classifier, args->data, args->normalization);
}

cr_classifier *cr_classifier_new_with(cr_classifier_args args)
{
    if (cr_failed())
        return NULL;
    cr_classifier *classifier = cr_alloc_zeroed(1, sizeof(cr_classifier));
    if (!classifier)
        return NULL;
    args.settings.classes = cr_dataset_class_count(args.data);
    classifier->bound.settings = args.settings;
    if (is_imported_name(args.architecture))
        imported_open(classifier, args.architecture);
    else
        classifier->bound.architecture = image_architecture(args.architecture);
    if (cr_failed() || adopt_data(classifier, &args) != CR_OK ||
        build(classifier, (cr_model_args){ .seed = args.seed }) != CR_OK) {
        cr_classifier_free(classifier);
        return NULL;
    }
    return classifier;
}

cr_status cr_classifier_compile(cr_classifier *classifier)
{
    cr_graph *graph = cr_graph_trace(classifier->model, .function = cr_run_architecture,
                                     .settings = &classifier->bound, .sample = classifier->input);
    cr_compiled_free(classifier->compiled);
    classifier->compiled = graph ? cr_graph_compile(graph) : NULL;
    cr_graph_free(graph);
    return cr_error_status();
}

static bool runs_compiled(const cr_classifier *classifier, const cr_tensor *samples)
{
    if (!classifier->compiled || !samples || cr_failed() ||
        cr_model_is_training(classifier->model) || cr_grad_enabled() ||
        cr_autocast_dtype() != CR_F32 || cr_device_of(samples) != CR_CPU ||
        cr_dtype_of(samples) != CR_F32 || cr_ndim(samples) != classifier->input.ndim + 1)
        return false;
    for (int d = 0; d < classifier->input.ndim; d++) {
        if (cr_dim(samples, d + 1) != classifier->input.dim[d])
            return false;
    }
    cr_layer_watch watch = cr_watch_layers((cr_layer_watch){ 0 });
    cr_watch_layers(watch);
    return !watch.function;
}

cr_tensor *cr_classifier_forward(const cr_classifier *classifier, cr_tensor *samples)
{
    cr_tensor *logits = NULL;
    if (runs_compiled(classifier, samples)) {
        cr_compiled_run(classifier->compiled, &samples, &logits);
        return logits;
    }
    return cr_run_architecture(cr_root(classifier->model), samples, &classifier->bound);
}

/* ---- description ---- */

static json_t *settings_json(const cr_model_settings *settings)
{
    return json_pack("{s:I, s:b, s:f, s:b, s:I, s:b, s:I, s:b}", "classes",
                     (json_int_t)settings->classes, "small_stem", (int)settings->small_stem,
                     "dropout", settings->dropout, "no_dropout", (int)settings->no_dropout, "width",
                     (json_int_t)settings->width, "zero_init_residual",
                     (int)settings->zero_init_residual, "head", (json_int_t)settings->head,
                     "no_head", (int)settings->no_head);
}

static json_t *thresholds_json(const cr_classifier *classifier)
{
    json_t *list = json_array();
    for (int i = 0; i < classifier->class_count; i++)
        json_array_append_new(list, json_real((double)classifier->thresholds[i]));
    return list;
}

char *cr_classifier_describe(const cr_classifier *classifier)
{
    cr_text transforms = { 0 };
    cr_transform_print(&classifier->transforms, &transforms);
    json_t *names = json_array();
    json_t *input = json_array();
    for (int i = 0; i < classifier->class_count; i++)
        json_array_append_new(names, json_string(classifier->class_names[i]));
    for (int d = 0; d < classifier->input.ndim; d++)
        json_array_append_new(input, json_integer((json_int_t)classifier->input.dim[d]));
    const char *task = classifier->bound.settings.no_head ? "pretraining"
                       : classifier->has_several_labels   ? SEVERAL_LABELS
                                                          : "classification";
    json_t *root =
        json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:s}", "format", DESCRIPTION_FORMAT, "task", task,
                  "architecture", classifier->bound.architecture->name, "settings",
                  settings_json(&classifier->bound.settings), "input", input, "classes", names,
                  "transforms", transforms.data ? transforms.data : "");
    if (classifier->thresholds && root)
        json_object_set_new(root, "thresholds", thresholds_json(classifier));
    if (classifier->graph && root)
        json_object_set_new(root, "onnx", json_string(imported_text(classifier)));
    cr_text_free(&transforms);
    return json_text(root, JSON_COMPACT | JSON_REAL_PRECISION(17),
                     "the description of the classifier");
}

cr_status cr_classifier_save(const cr_classifier *classifier, const char *path)
{
    char *description = cr_classifier_describe(classifier);
    if (!description)
        return cr_error_status();
    cr_string_pair metadata = { DESCRIPTION_KEY, description };
    cr_status status = cr_model_save(classifier->model, path, &metadata, 1);
    cr_free(description);
    return status;
}

/* ---- loading ---- */

static cr_status refuse(const char *path, const char *what)
{
    return cr_error_set(CR_ERROR_FORMAT,
                        "%s: %s; it was not written by Cresset as a classifier, or is damaged",
                        path, what);
}

static cr_status read_names(cr_classifier *classifier, const json_t *names, const char *path)
{
    size_t count = json_array_size(names);
    if (count < 1 || count > MAX_CLASSES)
        return refuse(path, "its list of classes is missing");
    if (name_classes(classifier, (int)count) != CR_OK)
        return CR_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (!name)
            return refuse(path, "a class has no name");
        classifier->class_names[i] = cr_string_copy(name);
        if (!classifier->class_names[i])
            return CR_ERROR_MEMORY;
    }
    return CR_OK;
}

static cr_status read_input(cr_classifier *classifier, const json_t *input, const char *path)
{
    if (json_array_size(input) != 3)
        return refuse(path, "the shape of its input is missing");
    classifier->input.ndim = 3;
    for (int d = 0; d < 3; d++) {
        json_int_t size = json_integer_value(json_array_get(input, (size_t)d));
        if (size < 1 || size > 65536)
            return refuse(path, "the shape of its input is out of range");
        classifier->input.dim[d] = size;
    }
    return CR_OK;
}

static cr_status read_settings(cr_classifier *classifier, const json_t *settings, const char *path)
{
    cr_model_settings *own = &classifier->bound.settings;
    own->classes = json_integer_value(json_object_get(settings, "classes"));
    own->width = json_integer_value(json_object_get(settings, "width"));
    own->dropout = json_number_value(json_object_get(settings, "dropout"));
    own->head = json_integer_value(json_object_get(settings, "head"));
    own->small_stem = json_is_true(json_object_get(settings, "small_stem"));
    own->no_dropout = json_is_true(json_object_get(settings, "no_dropout"));
    own->zero_init_residual = json_is_true(json_object_get(settings, "zero_init_residual"));
    if (json_is_true(json_object_get(settings, "no_head")))
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s holds what pretraining gave, which tells no classes apart yet; "
                            "begin a training with it: cresset train --weights",
                            path);
    if (own->classes != classifier->class_count || own->width < 0 || own->width > 65536 ||
        own->head < 0 || own->head > 65536 || !(own->dropout >= 0 && own->dropout < 1))
        return refuse(path, "the settings of its architecture are out of range");
    return CR_OK;
}

/* The thresholds of a file, if it has any. */
static cr_status read_thresholds(cr_classifier *classifier, const json_t *list, const char *path)
{
    if (!list)
        return CR_OK;
    size_t count = (size_t)classifier->class_count;
    if (!classifier->has_several_labels || json_array_size(list) != count)
        return refuse(path, "its thresholds do not fit its classes");
    classifier->thresholds = cr_alloc_array(count, sizeof *classifier->thresholds);
    for (size_t i = 0; classifier->thresholds && i < count; i++) {
        double value = json_number_value(json_array_get(list, i));
        if (!(value >= 0 && value <= 1))
            return refuse(path, "a threshold is no probability");
        classifier->thresholds[i] = (float)value;
    }
    return cr_error_status();
}

static cr_status read_description(cr_classifier *classifier, const char *text, const char *path)
{
    json_error_t where;
    json_t *root = json_loads(text, 0, &where);
    if (!root)
        return refuse(path, "its description is not JSON");
    cr_status status = CR_OK;
    const char *name = json_string_value(json_object_get(root, "architecture"));
    const char *transforms = json_string_value(json_object_get(root, "transforms"));
    if (json_integer_value(json_object_get(root, "format")) != DESCRIPTION_FORMAT)
        status = refuse(path, "its description has another format than 1");
    else if (!name || !transforms)
        status = refuse(path, "its description lacks the architecture or the transforms");
    if (status == CR_OK) {
        const char *graph = json_string_value(json_object_get(root, "onnx"));
        if (graph)
            imported_restore(classifier, name, graph);
        else
            classifier->bound.architecture = image_architecture(name);
        if (cr_failed() || cr_transform_parse(transforms, &classifier->transforms) != CR_OK) {
            cr_error_prefix("%s", path);
            status = cr_error_status();
        }
    }
    if (status == CR_OK)
        status = read_names(classifier, json_object_get(root, "classes"), path);
    if (status == CR_OK)
        status = read_input(classifier, json_object_get(root, "input"), path);
    if (status == CR_OK)
        status = read_settings(classifier, json_object_get(root, "settings"), path);
    const char *task = json_string_value(json_object_get(root, "task"));
    classifier->has_several_labels = task && strcmp(task, SEVERAL_LABELS) == 0;
    if (status == CR_OK)
        status = read_thresholds(classifier, json_object_get(root, "thresholds"), path);
    json_decref(root);
    return status;
}

/* Every tensor of the model must be there; others, the optimiser's in the file of a run that goes
 * on, are passed over. */
static cr_status read_weights(cr_classifier *classifier, cr_safetensors *file, const char *path)
{
    bool was = cr_set_grad_enabled(false);
    for (int i = 0; i < cr_model_tensor_count(classifier->model) && !cr_failed(); i++) {
        cr_named_tensor named = cr_model_tensor_at(classifier->model, i);
        cr_frame frame = cr_frame_begin();
        cr_tensor *value = cr_safetensors_load(file, named.name);
        cr_shape have = cr_shape_of(value);
        cr_shape want = cr_shape_of(named.tensor);
        if (value && !cr_shape_equal(&have, &want))
            cr_error_set(CR_ERROR_SHAPE, "%s: %s has another shape than %s has", path, named.name,
                         classifier->bound.architecture->name);
        else if (value)
            cr_copy_(named.tensor, value);
        cr_frame_end(frame);
    }
    cr_set_grad_enabled(was);
    return cr_error_status();
}

static cr_status load_from(cr_classifier *classifier, const char *path)
{
    cr_safetensors *file = cr_safetensors_open(path);
    if (!file)
        return cr_error_status();
    const char *description = cr_safetensors_metadata(file, DESCRIPTION_KEY);
    cr_status status = description ? read_description(classifier, description, path)
                                   : refuse(path, "it has no description");
    if (status == CR_OK)
        status = build(classifier, (cr_model_args){ .uninitialized = true });
    if (status == CR_OK)
        status = read_weights(classifier, file, path);
    cr_safetensors_close(file);
    return status;
}

/* The weights file that a path means. */
static char *weights_path(const char *path)
{
    if (!cr_file_is_folder(path))
        return cr_string_copy(path);
    char *best = cr_path_join(path, "weights/best.safetensors");
    if (!best || cr_file_exists(best))
        return best;
    cr_free(best);
    return cr_path_join(path, "weights/last.safetensors");
}

cr_classifier *cr_classifier_load(const char *path)
{
    if (cr_failed())
        return NULL;
    char *weights = weights_path(path);
    cr_classifier *classifier = weights ? cr_alloc_zeroed(1, sizeof(cr_classifier)) : NULL;
    if (classifier && load_from(classifier, weights) != CR_OK) {
        cr_classifier_free(classifier);
        classifier = NULL;
    }
    cr_free(weights);
    return classifier;
}
