/* `cresset export`: a trained model as files for other programs, one function for each format. */
#include <string.h>

#include "cli.h"
#include "cresset/autograd.h"
#include "cresset/classifier.h"
#include "cresset/plain_c.h"

typedef struct export_settings {
    const char *format, *output, *weights;
    int64_t lanes;
    bool json;
} export_settings;

/* What a format writes is added to `report`. */
typedef struct export_job {
    const export_settings *settings;
    const cr_classifier *classifier;
    json_t *report;
} export_job;

typedef struct export_format {
    const char *name;
    cr_status (*write)(export_job *job);
} export_format;

/* --- Formats -------------------------------------------------------------------------------- */

static cr_graph *trace(const cr_classifier *classifier)
{
    return cr_graph_trace(classifier->model, .function = cr_run_architecture,
                          .settings = &classifier->bound, .sample = classifier->input);
}

static cr_status write_c(export_job *job)
{
    static const cr_c_weights kinds[] = { CR_C_WEIGHTS_AUTO, CR_C_WEIGHTS_ARRAY,
                                          CR_C_WEIGHTS_FILE };
    const cr_classifier *classifier = job->classifier;
    const char *weights = job->settings->weights;
    int kind = strcmp(weights, "array") == 0 ? 1 : strcmp(weights, "file") == 0 ? 2 : 0;
    cr_c_report report = { 0 };
    cr_graph *graph = trace(classifier);
    if (graph)
        cr_graph_save_c(graph, job->settings->output,
                        (cr_c_args){ .name = classifier->bound.architecture->name,
                                     .weights = kinds[kind],
                                     .lanes = (int)job->settings->lanes,
                                     .transforms = &classifier->transforms,
                                     .class_names = classifier->class_names,
                                     .class_count = classifier->class_count },
                        &report);
    cr_graph_free(graph);
    json_object_set_new(job->report, "arena_bytes", json_integer((json_int_t)report.arena_bytes));
    json_object_set_new(job->report, "weight_bytes", json_integer((json_int_t)report.weight_bytes));
    json_object_set_new(job->report, "calls", json_integer((json_int_t)report.steps));
    return cr_error_status();
}

static cr_status write_safetensors(export_job *job)
{
    return cr_classifier_save(job->classifier, job->settings->output);
}

static const export_format formats[] = {
    { "c", write_c },
    { "safetensors", write_safetensors },
};

static const char *format_words(int index)
{
    return index < COUNT_OF(formats) ? formats[index].name : NULL;
}

static const char *weights_words(int index)
{
    static const char *const words[] = { "auto", "array", "file" };
    return index < COUNT_OF(words) ? words[index] : NULL;
}

/* --- The command ---------------------------------------------------------------------------- */

static const cli_option options[] = {
    { "format", 'f', "Output", CHOICE(export_settings, format, format_words), "FORMAT", NULL,
      "what to write" },
    { "output", 'o', "Output", FILE_PATH(export_settings, output), "PATH", NULL,
      "the file, or for c the folder, to write" },
    { "json", 0, "Output", FLAG(export_settings, json), NULL, NULL, "report in JSON" },
    { "weights", 0, "C", CHOICE(export_settings, weights, weights_words), "WORD", "auto",
      "c: compile the weights as an array, or keep them in a file that is mapped or read; auto: an "
      "array of up to a million" },
    { "lanes", 0, "C", INTEGER(export_settings, lanes, 1, 64), "N", "32",
      "c: output channels that are computed together; weights are padded to a multiple, so small "
      "processors take 4" },
};

static const cli_example examples[] = {
    { "cresset export runs/convnet-001 --format c -o net",
      "A folder with the model as C source, which needs nothing but a compiler:" },
    { "make -C net && net/net picture.ppm", "What it says about a picture:" },
    { "cresset export runs/convnet-001 --format safetensors -o model.safetensors",
      "The best weights of a run as one file:" },
};

static void print_report(const export_job *job)
{
    char number[NUMBER_SIZE];
    printf("wrote %s\n", job->settings->output);
    json_t *arena = json_object_get(job->report, "arena_bytes");
    json_t *weights = json_object_get(job->report, "weight_bytes");
    if (weights)
        printf("weights %s\n", format_bytes(number, (double)json_integer_value(weights)));
    if (arena)
        printf("arena   %s, all the memory that a run needs besides input and output\n",
               format_bytes(number, (double)json_integer_value(arena)));
}

static int export_model(export_job *job, const arguments *args)
{
    const export_format *format = formats;
    while (strcmp(format->name, job->settings->format) != 0)
        format++;
    if (format->write(job) != CR_OK)
        return library_failure(args->command);
    if (job->settings->json)
        return print_json(args->command, json_incref(job->report));
    print_report(job);
    return STATUS_DONE;
}

static int run(const arguments *args)
{
    const export_settings *settings = args->settings;
    if (!settings->format || !settings->output)
        return usage_error(args->command, "both --format and --output are needed");
    cr_classifier *classifier = cr_classifier_load(args->operands[0]);
    if (!classifier)
        return library_failure(args->command);
    export_job job = { .settings = settings,
                       .classifier = classifier,
                       .report = json_pack("{s:s, s:s}", "format", settings->format, "path",
                                           settings->output) };
    int status = export_model(&job, args);
    json_decref(job.report);
    cr_classifier_free(classifier);
    cr_frame_end_all();
    return status;
}

const cli_command export_command = {
    .name = "export",
    .summary = "Write a trained model for other programs",
    .operands = "MODEL",
    .description =
        "Writes a trained model in a format of other programs.\n\n--format c writes a folder with "
        "net.h, net.c, the weights, a program that classifies pictures and a Makefile: C99 without "
        "allocation, which needs a compiler and libm only and runs on small devices, too.\n\n"
        "--format safetensors writes one file with the best weights of a run and what describes "
        "it, which every command takes as MODEL.\n\nMODEL is a run directory, of which the best "
        "weights are taken, or a file of weights that cresset train wrote.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = options,
    .option_count = COUNT_OF(options),
    .settings_size = sizeof(export_settings),
    .operand_minimum = 1,
    .operand_maximum = 1,
    .run = run,
};
