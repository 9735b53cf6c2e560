/* `cresset export`: a trained model as a file for other programs. The formats are a table, each
 * with a function that writes one (export_onnx.c, export_c.c, and those below). */
#include <string.h>

#include "cli.h"
#include "cresset/autograd.h"
#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/onnx.h"
#include "cresset/state_dict.h"
#include "cresset/thread.h"

static bool write_safetensors(export_job *job);
static bool write_torch(export_job *job);

/* By the ending of the file, unless --format says another. */
static const struct export_format {
    const char *name;
    const char *ending;
    bool (*write)(export_job *job);
} formats[] = {
    { "onnx", ".onnx", export_onnx },
    { "c", "_c", export_c },
    { "safetensors", ".safetensors", write_safetensors },
    { "pth", ".pth", write_torch },
};

static const char *format_words(int index)
{
    return index < COUNT_OF(formats) ? formats[index].name : NULL;
}

static const cli_option options[] = {
    { "format", 'f', "Output", CHOICE(export_settings, format, format_words), "WORD", NULL,
      "what to write [by the ending of --output, else onnx]" },
    { "output", 'o', "Output", FILE_PATH(export_settings, output), "FILE", NULL,
      "where it goes, for c a folder [the model's name with the ending of the format]" },
    { "json", 0, "Output", FLAG(export_settings, json), NULL, NULL, "answer in JSON" },
    { "weights", 'w', "Model", FILE_PATH(export_settings, weights), "FILE", NULL,
      "the weights of an architecture: safetensors, or a PyTorch checkpoint (.pth, .pt)" },
    { "input", 0, "Model", NUMBERS(export_settings, input, 1, 1 << 20), "SHAPE", NULL,
      "shape of one sample [that of the classifier, or the usual one of the architecture]" },
    CLASSES_OPTION(export_settings, model, "Model"),
    MODEL_OPTIONS(export_settings, model, "Model"),
    { "dynamic-size", 0, "ONNX", FLAG(export_settings, dynamic_size), NULL, NULL,
      "leave height and width (of sequences, the length) free as well" },
    { "no-fold", 0, "ONNX", FLAG(export_settings, no_fold), NULL, NULL,
      "keep batch norm as an operator and every parameter as the model has it" },
    { "external-data", 0, "ONNX", FLAG(export_settings, external_data), NULL, NULL,
      "put the weights into a file beside, FILE.data, as happens anyway over 2 GB" },
    { "c-weights", 0, "C", CHOICE(export_settings, c_weights, c_weights_words), "WORD", "auto",
      "compile the weights as an array, or keep them in a file that is mapped or read; auto: an "
      "array of up to a million" },
    { "lanes", 0, "C", INTEGER(export_settings, lanes, 1, 64), "N", "32",
      "output channels that are computed together; weights are padded to a multiple, so small "
      "processors take 4" },
    { "threads", 't', "Check", INTEGER(export_settings, threads, 0, 1024), "N", "0",
      "threads to compute with when the file is compared with the model, 0 for all" },
};

static const cli_example examples[] = {
    { "cresset export runs/convnet-001 -o clothes.onnx", "The best weights of a run, for ONNX:" },
    { "cresset export resnet50 --weights resnet50.pth -o resnet50.onnx",
      "An architecture with the weights of a PyTorch checkpoint:" },
    { "cresset export runs/convnet-001 --format c -o net",
      "A folder with the model as C source, which needs nothing but a compiler:" },
    { "make -C net && net/net picture.ppm", "What it says about a picture:" },
    { "cresset export runs/convnet-001 -o clothes.pth", "For torch.load:" },
};

/* ---- the model ---- */

static bool ends_with(const char *path, const char *ending)
{
    size_t length = strlen(path), tail = strlen(ending);
    return length > tail && strcmp(path + length - tail, ending) == 0;
}

static bool adopt_classifier(export_job *job)
{
    const arguments *args = job->args;
    if (arguments_given(args, "weights") || arguments_given(args, "classes")) {
        usage_error(args->command,
                    "%s has weights and classes of its own; --weights and --classes "
                    "are for the name of an architecture",
                    args->operands[0]);
        return false;
    }
    job->classifier = cr_classifier_load(args->operands[0]);
    if (!job->classifier)
        return false;
    job->model = job->classifier->model;
    job->bound = job->classifier->bound;
    job->sample = job->classifier->input;
    job->input_dtype = CR_F32;
    return true;
}

/* An ONNX file, which may be written anew: folded, of this opset, as a state dict. */
static bool adopt_onnx(export_job *job)
{
    const arguments *args = job->args;
    job->onnx = cr_onnx_open(args->operands[0]);
    job->owned = job->model = job->onnx ? cr_model_new() : NULL;
    if (!job->model)
        return false;
    cr_onnx_port port = cr_onnx_input(job->onnx, 0);
    if (cr_onnx_input_count(job->onnx) != 1 || !port.has_dtype || !port.has_shape ||
        port.shape.ndim < 1) {
        cr_error_set(CR_ERROR_UNSUPPORTED,
                     "%s has not one input that is a tensor, as a model needs "
                     "that is exported",
                     args->operands[0]);
        return false;
    }
    job->sample.ndim = port.shape.ndim - 1;
    for (int d = 0; d < job->sample.ndim; d++)
        job->sample.dim[d] = port.shape.dim[d + 1];
    job->input_dtype = port.dtype;
    return true;
}

static bool make_model(export_job *job, const cr_architecture *architecture)
{
    const export_settings *settings = job->args->settings;
    job->bound =
        (cr_bound_architecture){ .architecture = architecture, .settings = settings->model };
    job->input_dtype = cr_architecture_dtype(architecture);
    job->sample = architecture->input;
    job->owned = job->model = cr_model_new(.seed = 1, .uninitialized = settings->weights != NULL);
    cr_shape batch = sample_shape(architecture, &settings->input, 1);
    if (!job->model || cr_model_build(job->model, cr_run_architecture, &job->bound, batch,
                                      cr_architecture_dtype(architecture), NULL) != CR_OK)
        return false;
    return !settings->weights || cr_model_load(job->model, settings->weights, NULL, NULL) == CR_OK;
}

/* The sample that --input says, all of whose sizes must be known. */
static bool set_input(export_job *job)
{
    const number_list *given = &((const export_settings *)job->args->settings)->input;
    if (given->count && given->count != job->sample.ndim) {
        usage_error(job->args->command, "--input has %d sizes where a sample of %s has %d",
                    given->count, job->args->operands[0], job->sample.ndim);
        return false;
    }
    for (int d = 0; d < job->sample.ndim; d++) {
        if (given->count)
            job->sample.dim[d] = given->values[d];
        if (job->sample.dim[d] < 0) {
            usage_error(job->args->command,
                        "%s leaves sizes of its input free; give those of a "
                        "sample with --input, such as 3x224x224",
                        job->args->operands[0]);
            return false;
        }
    }
    return true;
}

/* False with a usage error reported, or an error set. */
static bool open_model(export_job *job)
{
    const arguments *args = job->args;
    const export_settings *settings = args->settings;
    const char *name = args->operands[0];
    const cr_architecture *architecture = NULL;
    if (cr_file_exists(name)) {
        if (ends_with(name, ".onnx") ? !adopt_onnx(job) : !adopt_classifier(job))
            return false;
    } else {
        architecture = cr_architecture_find(name);
        if (!architecture) {
            cr_error_prefix("there is no file %s, and as an architecture", name);
            return false;
        }
        if (!input_fits(args->command, architecture, &settings->input) ||
            !make_model(job, architecture))
            return false;
    }
    job->function = job->onnx ? cr_onnx_run : cr_run_architecture;
    job->function_settings = job->onnx ? (const void *)job->onnx : &job->bound;
    cr_model_train(job->model, false);
    return set_input(job);
}

cr_graph *export_trace(const export_job *job, cr_shape sample)
{
    static const char *const names[] = { "logits", "features" };
    const char *name = names[0];
    if (job->onnx)
        name = cr_onnx_output(job->onnx, 0).name;
    else if (!job->bound.architecture->classes && !job->bound.settings.classes)
        name = names[1];
    return cr_graph_trace(job->model, .function = job->function, .settings = job->function_settings,
                          .sample = sample, .dtype = job->input_dtype, .output_names = &name);
}

/* ---- the file ---- */

static const struct export_format *format_of(const export_settings *settings)
{
    for (int i = 0; i < COUNT_OF(formats); i++) {
        bool is_asked = settings->format && strcmp(settings->format, formats[i].name) == 0;
        if (is_asked || (!settings->format && settings->output &&
                         ends_with(settings->output, formats[i].ending)))
            return &formats[i];
    }
    return &formats[0];
}

/* "runs/oct-001" → "oct-001.onnx", to be freed. */
static char *default_path(const char *model, const struct export_format *format)
{
    size_t length = strlen(model);
    while (length > 1 && model[length - 1] == '/')
        length--;
    size_t begin = length;
    while (begin > 0 && model[begin - 1] != '/')
        begin--;
    for (int i = 0; i < COUNT_OF(formats); i++) {
        size_t tail = strlen(formats[i].ending);
        if (length - begin > tail && memcmp(model + length - tail, formats[i].ending, tail) == 0)
            length -= tail;
    }
    return cr_string_format("%.*s%s", (int)(length - begin), model + begin, format->ending);
}

/* The file holds what the model does: all names, and nothing else. */
static bool finish_state_dict(export_job *job, const char *what)
{
    static const cr_load_options compare_only = { .dry_run = true };
    cr_load_report report = { 0 };
    if (cr_model_load(job->model, job->path, &compare_only, &report) != CR_OK) {
        cr_load_report_free(&report);
        return false;
    }
    char bytes[NUMBER_SIZE];
    int64_t size = export_file_bytes(job->path);
    json_object_set_new(job->answer, "tensors", json_integer(report.matched_count));
    json_object_set_new(job->answer, "bytes", json_integer((json_int_t)size));
    if (!((const export_settings *)job->args->settings)->json)
        printf("%s: %s of %d tensors, %s\n", job->path, what, report.matched_count,
               format_bytes(bytes, (double)size));
    cr_load_report_free(&report);
    return true;
}

/* Runs an imported model for its shapes, which gives it its parameters. */
static bool build_imported(export_job *job)
{
    cr_shape batch = { .ndim = job->sample.ndim + 1, .dim = { 1 } };
    memcpy(batch.dim + 1, job->sample.dim, sizeof *batch.dim * (size_t)job->sample.ndim);
    return !job->onnx || cr_model_build(job->model, job->function, job->function_settings, batch,
                                        job->input_dtype, NULL) == CR_OK;
}

static bool write_safetensors(export_job *job)
{
    if (!build_imported(job))
        return false;
    cr_status status = job->classifier ? cr_classifier_save(job->classifier, job->path)
                                       : cr_model_save(job->model, job->path, NULL, 0);
    return status == CR_OK && finish_state_dict(job, "safetensors");
}

static bool write_torch(export_job *job)
{
    return build_imported(job) && cr_model_save_torch(job->model, job->path) == CR_OK &&
           finish_state_dict(job, "a PyTorch checkpoint");
}

int64_t export_file_bytes(const char *path)
{
    FILE *file = fopen(path, "rb");
    int64_t size = 0;
    if (file && fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    if (file)
        fclose(file);
    return size;
}

static int run(const arguments *args)
{
    const export_settings *settings = args->settings;
    const struct export_format *format = format_of(settings);
    export_job job = { .args = args };
    job.path = settings->output ? cr_string_copy(settings->output)
                                : default_path(args->operands[0], format);
    job.answer = json_pack("{s:s, s:s, s:s}", "model", args->operands[0], "format", format->name,
                           "file", job.path ? job.path : "");
    cr_set_num_threads((int)settings->threads);
    cr_set_grad_enabled(false);
    bool good = job.path && open_model(&job) && format->write(&job);
    int status = STATUS_DONE;
    if (!good)
        status = cr_failed() ? library_failure(args->command) : STATUS_USAGE;
    else if (settings->json)
        status = print_json(args->command, json_incref(job.answer));
    if (good && !settings->weights && !job.classifier && !job.onnx)
        fprintf(stderr, "the weights are the first, random ones of %s; --weights takes others\n",
                args->operands[0]);
    json_decref(job.answer);
    cr_free(job.path);
    cr_classifier_free(job.classifier);
    cr_model_free(job.owned);
    if (job.onnx)
        cr_onnx_close(job.onnx);
    cr_frame_end_all();
    return status;
}

const cli_command export_command = {
    .name = "export",
    .summary = "Write a trained model as a file for other programs",
    .operands = "MODEL",
    .description =
        "MODEL is a run directory, a file of cresset train, an ONNX file, or the name of an "
        "architecture, which gets its weights by --weights. ONNX files have opset 17 and take "
        "batches of any size as "
        "\"input\"; batch norm is folded into convolutions; classes and transforms stand in their "
        "metadata. Every file is read again and, for ONNX, run: the largest difference to the "
        "model's own results is shown.\n\n"
        "--format c writes a folder with net.h, net.c, the weights, a program that classifies "
        "pictures and a Makefile: C99 without allocation, which needs a compiler and libm only and "
        "runs on small devices, too.\n\n"
        "safetensors and pth hold the state dict of PyTorch; a safetensors file of a classifier is "
        "one that every command takes as MODEL.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = options,
    .option_count = COUNT_OF(options),
    .settings_size = sizeof(export_settings),
    .operand_minimum = 1,
    .operand_maximum = 1,
    .operand_words = architecture_words,
    .run = run,
};
