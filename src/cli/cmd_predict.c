/* `cresset predict`: what a trained model says about pictures, files or samples of a data set. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/array_file.h"
#include "cresset/autograd.h"
#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/ops.h"
#include "cresset/thread.h"

#define BATCH       64
#define MOST_INPUTS 1000000 /* of one call, ranges counted out */

typedef struct predict_settings {
    const char *data, *split, *format, *output, *precision, *explain, *ensemble, *views;
    double threshold;
    int64_t top, threads;
    bool show, json;
    profile_options profile;
} predict_settings;

static const char *const format_names[] = { "text", "json", "npy", "csv" };

static const char *format_words(int index)
{
    return index < COUNT_OF(format_names) ? format_names[index] : NULL;
}

static const cli_option predict_options[] = {
    { "data", 'd', "Input", FOLDER_PATH(predict_settings, data), "DATA", NULL,
      "take INPUT as numbers of samples of this data set" },
    { "split", 0, "Input", CHOICE(predict_settings, split, split_words), "WORD", "test",
      "which part of it" },
    { "threads", 't', "Input", INTEGER(predict_settings, threads, 0, 1024), "N", "0",
      "threads to compute with, 0 for all" },
    PRECISION_OPTION(predict_settings, precision, "Input"),
    ENSEMBLE_OPTIONS(predict_settings, "Model"),
    { "top", 'k', "Output", INTEGER(predict_settings, top, 1, 1000), "K", "3",
      "how many classes to show, the most probable first" },
    { "show", 's', "Output", FLAG(predict_settings, show), NULL, NULL,
      "draw each picture as the model sees it" },
    { "format", 'f', "Output", CHOICE(predict_settings, format, format_words), "WORD", "text",
      "how to answer; npy is an array (inputs, classes) of probabilities, csv a table of them" },
    { "output", 'o', "Output", FILE_PATH(predict_settings, output), "FILE", NULL,
      "where the array of --format npy goes" },
    { "explain", 0, "Output", FOLDER_PATH(predict_settings, explain), "DIR", NULL,
      "write to this folder where the model looked in each picture (Grad-CAM), painted over it" },
    PROFILE_OPTIONS(predict_settings, profile, "Output"),
    { "json", 0, "Output", FLAG(predict_settings, json), NULL, NULL, "the same as --format json" },
};

static const cli_example examples[] = {
    { "cresset predict runs/convnet-001 boot.png shirt.png", "Pictures in files:" },
    { "cresset predict runs/convnet-001 --data fashion-mnist --show 0-5",
      "The first six test samples, and how they look:" },
    { "cresset predict best.safetensors --json *.png", "For a program:" },
    { "cresset predict runs/oct-001 scans --format csv >answers.csv",
      "All pictures of a folder, for a spreadsheet:" },
};

/* One picture: where it comes from, and what the model says. */
typedef struct input {
    char *path;    /* of its file; NULL for a sample of the data set */
    int64_t index; /* of that sample */
    int64_t truth; /* its class, CR_NO_LABEL if not known */
} input;

typedef struct prediction {
    const arguments *args;
    model_list models;
    cr_classifier *classifier; /* the first of them */
    float *thresholds;         /* of several labels */
    cr_dataset *set;           /* NULL for files */
    input *inputs;
    int64_t count;
    cr_transform_list pictures, tensors; /* what is done to pictures, and then to samples */
    float *samples;       /* (count, C, H, W), from 0 to 1, as the first model sees them */
    float *probabilities; /* (count, classes), the mean over models and views */
} prediction;

/* One model on one view of the inputs. */
typedef struct model_view {
    const cr_classifier *model;
    cr_transform_list pictures, tensors;
    float *samples;
} model_view;

/* --- Inputs --------------------------------------------------------------------------------- */

static bool add_input(prediction *p, input one)
{
    if ((p->count & (p->count - 1)) == 0) { /* full at the powers of two */
        input *grown = cr_resize(p->inputs, p->count ? (size_t)p->count * 2 : 1, sizeof *grown);
        if (!grown)
            return false;
        p->inputs = grown;
    }
    p->inputs[p->count++] = one;
    return true;
}

/* The samples that "7" or "0-5" names. */
static bool add_range(prediction *p, const char *word)
{
    char first_word[24];
    long long first, last, size = cr_dataset_size(p->set);
    size_t length = strcspn(word, "-");
    snprintf(first_word, sizeof first_word, "%.*s", (int)length, word);
    bool good = length < sizeof first_word && cr_parse_int64(first_word, &first);
    last = first;
    if (good && word[length])
        good = cr_parse_int64(word + length + 1, &last);
    if (!good || first < 0 || last < first) {
        cr_error_set(CR_ERROR_ARGUMENT, "\"%s\" is not a number of a sample, such as 7 or 0-5",
                     word);
        return false;
    }
    if (last >= size) {
        cr_error_set(CR_ERROR_ARGUMENT, "there is no sample %lld: %s has samples 0 to %lld", last,
                     cr_dataset_name(p->set), size - 1);
        return false;
    }
    for (long long i = first; i <= last; i++)
        if (!add_input(p, (input){ .index = i, .truth = CR_NO_LABEL }))
            return false;
    return true;
}

/* Takes over the path. */
static bool add_file(prediction *p, char *path)
{
    if (path && add_input(p, (input){ .path = path, .index = -1, .truth = CR_NO_LABEL }))
        return true;
    cr_free(path);
    return false;
}

static bool add_folder(prediction *p, const char *folder)
{
    int64_t count;
    char **paths = cr_image_folder_paths(folder, &count);
    for (int64_t i = 0; i < count; i++)
        add_file(p, paths[i]);
    cr_free(paths);
    return !cr_failed();
}

/* The paths in the lines of standard input. */
static bool add_lines(prediction *p)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    int64_t before = p->count;
    while (!cr_failed() && (length = getline(&line, &room, stdin)) >= 0) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0])
            add_file(p, cr_string_copy(line));
    }
    free(line);
    if (p->count == before)
        cr_error_set(CR_ERROR_ARGUMENT, "standard input names no pictures; it takes a path a line");
    return !cr_failed();
}

static bool add_files(prediction *p, const char *word)
{
    if (strcmp(word, "-") == 0)
        return add_lines(p);
    return cr_file_is_folder(word) ? add_folder(p, word) : add_file(p, cr_string_copy(word));
}

static bool list_inputs(prediction *p)
{
    for (int i = 1; i < p->args->operand_count; i++) {
        const char *word = p->args->operands[i];
        if (p->set ? !add_range(p, word) : !add_files(p, word))
            return false;
        if (p->count > MOST_INPUTS) {
            cr_error_set(CR_ERROR_ARGUMENT, "more than %d inputs at once", MOST_INPUTS);
            return false;
        }
    }
    return true;
}

/* True if the samples and classes of the data set are those of the model. */
static bool fits_model(const prediction *p)
{
    char has[CR_SHAPE_TEXT], wants[CR_SHAPE_TEXT];
    const cr_shape *shape = &p->classifier->input;
    cr_shape own = cr_dataset_sample_shape(p->set);
    int classes = cr_dataset_class_count(p->set);
    if (!cr_dataset_has_pictures(p->set) && !cr_shape_equal(&own, shape))
        cr_error_set(CR_ERROR_SHAPE, "the samples of %s are %s, and the model takes %s",
                     cr_dataset_name(p->set), format_sizes(has, sizeof has, &own, 0),
                     format_sizes(wants, sizeof wants, shape, 0));
    else if (classes > p->classifier->class_count)
        cr_error_set(CR_ERROR_SHAPE, "%s has %d classes, and the model knows %d",
                     cr_dataset_name(p->set), classes, p->classifier->class_count);
    return !cr_failed();
}

static bool read_inputs(prediction *p, model_view *view, const cr_transform_list *transforms)
{
    const cr_shape *shape = &view->model->input;
    int64_t numel = cr_shape_numel(shape);
    if (!split_transforms(transforms, shape, &view->pictures, &view->tensors))
        return false;
    view->samples = cr_alloc_array((size_t)p->count, (size_t)numel * sizeof(float));
    for (int64_t i = 0; view->samples && i < p->count; i++) {
        float *sample = view->samples + i * numel;
        input *one = &p->inputs[i];
        bool good = one->path ? read_file_sample(one->path, &view->pictures, shape, sample)
                              : read_set_sample(p->set, one->index, &view->pictures, shape, sample,
                                                &one->truth);
        if (!good)
            return false;
    }
    return view->samples != NULL;
}

/* --- The model ------------------------------------------------------------------------------ */

/* Adds a share of the probabilities of the samples from `first` on, at most a batch of them. */
static bool predict_batch(prediction *p, const model_view *view, int64_t first, float share)
{
    const cr_shape *shape = &view->model->input;
    int64_t numel = cr_shape_numel(shape), classes = view->model->class_count;
    int64_t count = p->count - first < BATCH ? p->count - first : BATCH;
    cr_tensor *samples =
        cr_from_buffer(view->samples + first * numel,
                       CR_SHAPE(count, shape->dim[0], shape->dim[1], shape->dim[2]), CR_F32);
    for (int64_t i = 0; samples && i < count; i++) {
        cr_sample sample = { (float *)cr_data(samples) + i * numel, shape->dim[0], shape->dim[1],
                             shape->dim[2] };
        cr_transform_apply(&view->tensors, &sample, 0, 0, first + i);
    }
    cr_tensor *logits = cr_to_dtype(cr_classifier_forward(view->model, samples), CR_F32);
    cr_tensor *found = cr_contiguous(p->classifier->has_several_labels ? cr_sigmoid(logits)
                                                                       : cr_softmax(logits, 1));
    const float *values = found ? cr_data(found) : NULL;
    for (int64_t i = 0; values && i < count * classes; i++)
        p->probabilities[first * classes + i] += share * values[i];
    return values != NULL;
}

static bool predict_view(prediction *p, const model_view *view, float share)
{
    bool good = true;
    for (int64_t first = 0; good && first < p->count; first += BATCH) {
        cr_frame frame = cr_frame_begin();
        good = predict_batch(p, view, first, share);
        cr_frame_end(frame);
        cr_profile_step();
    }
    return good;
}

/* Every model on every view; the samples of the first are kept, to be shown and explained. */
static bool predict(prediction *p)
{
    const predict_settings *settings = p->args->settings;
    p->probabilities =
        cr_alloc_zeroed((size_t)p->count, (size_t)p->classifier->class_count * sizeof(float));
    bool good = p->probabilities && profiling_begin(&settings->profile, p->count > BATCH);
    cr_set_grad_enabled(false);
    for (int m = 0; good && m < p->models.count; m++) {
        cr_transform_list lists[CR_MOST_VIEWS];
        model_view view = { .model = p->models.items[m] };
        int views = cr_transform_views(&view.model->transforms, views_of(settings->views), lists);
        cr_model_train(view.model->model, false);
        good = views > 0;
        for (int v = 0; good && v < views; v++) {
            good = read_inputs(p, &view, &lists[v]) &&
                   predict_view(p, &view, 1.0F / (float)(views * p->models.count));
            if (good && m == 0 && v == 0) {
                p->samples = view.samples;
                p->pictures = view.pictures;
                p->tensors = view.tensors;
            } else {
                cr_free(view.samples);
            }
            view.samples = NULL;
        }
    }
    cr_profile_pause(true);
    return good;
}

/* The class of rank `rank` (0: the most probable) for one input, by repeated search: ranks are
 * few. `above` is the class of the rank before, -1 for none. */
static int next_class(const prediction *p, int64_t which, int above)
{
    int classes = p->classifier->class_count, best = -1;
    const float *row = p->probabilities + which * classes;
    for (int i = 0; i < classes; i++) {
        bool later = above < 0 || row[i] < row[above] || (row[i] == row[above] && i > above);
        if (later && (best < 0 || row[i] > row[best]))
            best = i;
    }
    return best;
}

/* --- Answers -------------------------------------------------------------------------------- */

static const char *input_name(char buffer[NUMBER_SIZE], const input *one)
{
    if (one->path)
        return one->path;
    snprintf(buffer, NUMBER_SIZE, "%lld", (long long)one->index);
    return buffer;
}

static json_t *ranks_to_json(const prediction *p, int64_t which, int64_t top)
{
    const float *row = p->probabilities + which * p->classifier->class_count;
    json_t *ranks = json_array();
    for (int class = next_class(p, which, -1); class >= 0 && top > 0; top--) {
        json_array_append_new(ranks, json_pack("{s:i, s:s, s:o}", "class", class, "name",
                                               p->classifier->class_names[class], "probability",
                                               json_finite((double)row[class])));
        class = next_class(p, which, class);
    }
    return ranks;
}

/* The names of the labels that reach their thresholds. */
static json_t *labels_of_input(const prediction *p, int64_t which)
{
    json_t *labels = json_array();
    int classes = p->classifier->class_count;
    for (int c = 0; c < classes; c++)
        if (p->probabilities[which * classes + c] >= p->thresholds[c])
            json_array_append_new(labels, json_string(p->classifier->class_names[c]));
    return labels;
}

static int print_as_json(const prediction *p, int64_t top)
{
    const predict_settings *settings = p->args->settings;
    json_t *answers = json_array();
    for (int64_t i = 0; i < p->count; i++) {
        const input *one = &p->inputs[i];
        json_t *answer = one->path ? json_pack("{s:s}", "input", one->path)
                                   : json_pack("{s:I}", "input", (json_int_t)one->index);
        if (one->truth >= 0)
            json_object_set_new(answer, "truth",
                                json_string(p->classifier->class_names[one->truth]));
        if (p->classifier->has_several_labels)
            json_object_set_new(answer, "labels", labels_of_input(p, i));
        json_object_set_new(answer, "predictions", ranks_to_json(p, i, top));
        json_array_append_new(answers, answer);
    }
    json_t *profile;
    if (!profiling_end(&settings->profile, NULL, stdout, &profile)) {
        json_decref(answers);
        return library_failure(p->args->command);
    }
    if (profile)
        answers = json_pack("{s:o, s:o}", "answers", answers, "profile", profile);
    return print_json(p->args->command, answers);
}

/* A line for each input: what it is, its class where that is known, the most probable class, and
 * the probabilities of all. */
static int print_as_csv(const prediction *p)
{
    char name[NUMBER_SIZE];
    cr_text text = { 0 };
    cr_text_append(&text, p->set ? "sample,truth,prediction" : "input,prediction");
    for (int c = 0; c < p->classifier->class_count; c++) {
        cr_text_append(&text, ",");
        append_csv_field(&text, p->classifier->class_names[c]);
    }
    for (int64_t i = 0; i < p->count; i++) {
        const float *row = p->probabilities + i * p->classifier->class_count;
        cr_text_append(&text, "\n");
        append_csv_field(&text, input_name(name, &p->inputs[i]));
        cr_text_append(&text, ",");
        if (p->set) {
            int64_t truth = p->inputs[i].truth;
            append_csv_field(&text, truth >= 0 ? p->classifier->class_names[truth] : "");
            cr_text_append(&text, ",");
        }
        append_csv_field(&text, p->classifier->class_names[next_class(p, i, -1)]);
        for (int c = 0; c < p->classifier->class_count; c++)
            cr_text_printf(&text, ",%.6f", (double)row[c]);
    }
    bool good = !cr_failed() && puts(text.data) >= 0;
    cr_text_free(&text);
    return good ? STATUS_DONE : library_failure(p->args->command);
}

/* The labels of an input that reach their thresholds, the most probable first; how many. */
static int append_labels(const prediction *p, int64_t which, cr_text *text)
{
    const float *row = p->probabilities + which * p->classifier->class_count;
    int count = 0;
    for (int class = next_class(p, which, -1); class >= 0; class = next_class(p, which, class)) {
        if (row[class] < p->thresholds[class])
            continue;
        cr_text_printf(text, "%s%s %.1f %%", count ? ", " : "", p->classifier->class_names[class],
                       100 * (double)row[class]);
        count++;
    }
    return count;
}

/* Of several labels: those that are there. */
static void print_label_table(const prediction *p)
{
    char name[NUMBER_SIZE];
    cli_table table;
    table_begin(&table, "ll");
    table_row(&table, p->set ? "sample" : "file", "labels");
    table_rule(&table);
    for (int64_t i = 0; i < p->count; i++) {
        cr_text labels = { 0 };
        int count = append_labels(p, i, &labels);
        table_cell(&table, "%s", input_name(name, &p->inputs[i]));
        table_cell(&table, "%s", count && labels.data ? labels.data : "-");
        cr_text_free(&labels);
    }
    table_print(&table, stdout);
}

static void print_table(const prediction *p, int64_t top)
{
    char name[NUMBER_SIZE], ranks[256];
    cli_table table;
    table_begin(&table, p->set ? "lll" : "ll");
    table_cell(&table, p->set ? "sample" : "file");
    if (p->set)
        table_cell(&table, "truth");
    table_cell(&table, "prediction");
    table_rule(&table);
    for (int64_t i = 0; i < p->count; i++) {
        const input *one = &p->inputs[i];
        const float *row = p->probabilities + i * p->classifier->class_count;
        int class = next_class(p, i, -1), length = 0;
        table_cell(&table, "%s", input_name(name, one));
        if (p->set)
            table_cell(&table, "%s%s",
                       one->truth >= 0 ? p->classifier->class_names[one->truth] : "-",
                       one->truth >= 0 && one->truth != class ? " *" : "");
        for (int64_t rank = 0; class >= 0 && rank < top && length < (int)sizeof ranks; rank++) {
            length += snprintf(ranks + length, sizeof ranks - (size_t)length, "%s%s %.1f %%",
                               rank ? ", " : "", p->classifier->class_names[class],
                               100 * (double)row[class]);
            class = next_class(p, i, class);
        }
        table_cell(&table, "%s", ranks);
    }
    table_print(&table, stdout);
}

/* Draws what the model sees, before its normalization. */
static bool show_inputs(const prediction *p)
{
    const cr_shape *shape = &p->classifier->input;
    int64_t numel = cr_shape_numel(shape), plane = shape->dim[1] * shape->dim[2];
    cli_picture *pictures = cr_alloc_zeroed((size_t)p->count, sizeof *pictures);
    bool good = pictures != NULL;
    for (int64_t i = 0; good && i < p->count; i++) {
        int class = next_class(p, i, -1);
        const float *sample = p->samples + i * numel;
        uint8_t *pixels = cr_alloc((size_t)numel);
        for (int64_t j = 0; pixels && j < numel; j++)
            pixels[j % plane * shape->dim[0] + j / plane] = (uint8_t)(sample[j] * 255 + 0.5F);
        pictures[i] = (cli_picture){
            pixels, (int)shape->dim[1], (int)shape->dim[2], (int)shape->dim[0], { "" }
        };
        snprintf(pictures[i].captions[0], sizeof pictures[i].captions[0], "%s %.1f %%",
                 p->classifier->class_names[class],
                 100 * (double)p->probabilities[i * p->classifier->class_count + class]);
        if (p->inputs[i].truth >= 0 && p->inputs[i].truth != class)
            snprintf(pictures[i].captions[1], sizeof pictures[i].captions[1], "truly %s",
                     p->classifier->class_names[p->inputs[i].truth]);
        good = pixels != NULL;
    }
    if (good) {
        show_pictures(stdout, pictures, (int)p->count);
        printf("\n");
    }
    free_pictures(pictures, (int)p->count);
    return good;
}

/* DIR/0007-boot.png of input 7, boot.png; DIR/0007-sample-42.png of a sample. */
static char *explanation_path(const char *folder, int64_t index, const input *one)
{
    if (!one->path)
        return cr_string_format("%s/%04lld-sample-%lld.png", folder, (long long)index,
                                (long long)one->index);
    const char *slash = strrchr(one->path, '/'), *name = slash ? slash + 1 : one->path;
    const char *dot = strrchr(name, '.');
    size_t length = dot && dot > name ? (size_t)(dot - name) : strlen(name);
    return cr_string_format("%s/%04lld-%.*s.png", folder, (long long)index, (int)length, name);
}

static bool write_explanation(const prediction *p, const char *folder, int64_t index,
                              const cr_plot_picture *painted)
{
    cr_text png = { 0 };
    char *path = explanation_path(folder, index, &p->inputs[index]);
    bool good = path && cr_plot_picture_png(painted, &png) == CR_OK &&
                cr_file_replace(path, png.data, png.length) == CR_OK;
    cr_free(path);
    cr_text_free(&png);
    return good;
}

static bool write_explanations(const prediction *p, const char *folder)
{
    int64_t numel = cr_shape_numel(&p->classifier->input);
    bool good = cr_folder_make(folder) == CR_OK;
    for (int64_t i = 0; good && i < p->count; i++) {
        int64_t class = next_class(p, i, -1);
        cr_plot_picture painted = { 0 };
        good = explain_samples(p->classifier, &p->tensors, p->samples + i * numel, 1, &class,
                               &painted) &&
               write_explanation(p, folder, i, &painted);
        cr_free((void *)painted.pixels);
    }
    return good;
}

static bool work(prediction *p)
{
    const predict_settings *settings = p->args->settings;
    bool good = models_load(&p->models, p->args->operands[0], settings->ensemble);
    p->classifier = p->models.items[0];
    if (!good)
        return false;
    p->thresholds =
        thresholds_of(&p->models, isnan(settings->threshold) ? -1 : settings->threshold);
    if (!p->thresholds)
        return false;
    if (settings->data) {
        p->set = open_data(settings->data, split_of(settings->split), p->classifier);
        if (!p->set)
            return false;
    }
    return (!p->set || fits_model(p)) && list_inputs(p) && predict(p) &&
           (!settings->explain || write_explanations(p, settings->explain));
}

static int save_array(const prediction *p, const char *path)
{
    cr_shape shape = CR_SHAPE(p->count, p->classifier->class_count);
    if (cr_npy_save(path, cr_from_buffer(p->probabilities, shape, CR_F32)) != CR_OK)
        return library_failure(p->args->command);
    return STATUS_DONE;
}

static int answer(const prediction *p)
{
    const predict_settings *settings = p->args->settings;
    int status = STATUS_DONE;
    if (settings->json || settings->format == format_names[1])
        return print_as_json(p, settings->top);
    if (settings->format == format_names[2]) {
        status = save_array(p, settings->output);
    } else if (settings->format == format_names[3]) {
        status = print_as_csv(p);
    } else {
        if (settings->show && !show_inputs(p))
            return library_failure(p->args->command);
        if (p->classifier->has_several_labels)
            print_label_table(p);
        else
            print_table(p, settings->top);
        print_inference_precision(precision_dtype(settings->precision));
    }
    if (status == STATUS_DONE && !profiling_end(&settings->profile, NULL, stdout, NULL))
        return library_failure(p->args->command);
    return status;
}

static int run(const arguments *args)
{
    const predict_settings *settings = args->settings;
    prediction p = { .args = args };
    if ((settings->format == format_names[2]) != (settings->output != NULL))
        return usage_error(args->command, "--format npy and --output FILE go together");
    cr_set_num_threads((int)settings->threads);
    cr_set_autocast(cr_autocast_for_inference(precision_dtype(settings->precision)));
    int status = work(&p) ? answer(&p) : library_failure(args->command);
    cr_free(p.samples);
    cr_free(p.probabilities);
    for (int64_t i = 0; i < p.count; i++)
        cr_free(p.inputs[i].path);
    cr_free(p.inputs);
    cr_dataset_free(p.set);
    cr_free(p.thresholds);
    models_free(&p.models);
    cr_frame_end_all();
    return status;
}

const cli_command predict_command = {
    .name = "predict",
    .summary = "Say what a trained model sees in pictures",
    .operands = "MODEL INPUT...",
    .description =
        "Shows the most probable classes of each input. INPUT is a picture (JPEG, PNG, WebP, "
        "TIFF, BMP or PNM), which is prepared as in the evaluation of the model, a folder of which "
        "all pictures are taken, also those below it, or - for a path in each line of standard "
        "input; with --data it is the number of a sample, or a range such as "
        "0-5.\n\nMODEL is a run directory, of which the best weights are taken, or a file of "
        "weights that cresset train wrote.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = predict_options,
    .option_count = COUNT_OF(predict_options),
    .settings_size = sizeof(predict_settings),
    .operand_minimum = 2,
    .operand_maximum = MOST_INPUTS,
    .run = run,
};
