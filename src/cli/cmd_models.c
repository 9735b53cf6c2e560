/* `cresset models`: the architectures, and what one of them is made of. Both come from running the
 * model on shapes alone, so that the largest is described in milliseconds. */
#include "cli.h"
#include "cresset/memory.h"
#include "cresset/models.h"
#include "cresset/state_dict.h"

typedef struct models_settings {
    cr_model_settings model;
    number_list input;
    const char *weights;
    bool json;
} models_settings;

static const cli_option options[] = {
    { "input", 0, "Model", NUMBERS(models_settings, input, 1, 1 << 20), "SHAPE", NULL,
      "shape of one input [the usual one of the model]" },
    CLASSES_OPTION(models_settings, model, "Model"),
    MODEL_OPTIONS(models_settings, model, "Model"),
    { "weights", 'w', "Model", FILE_PATH(models_settings, weights), "FILE", NULL,
      "say which tensors of a file fit the model: safetensors, a PyTorch checkpoint (.pth, .pt), "
      "or "
      "the index of several files" },
    { "json", 0, "Output", FLAG(models_settings, json), NULL, NULL, "answer in JSON" },
};

static const cli_example examples[] = {
    { "cresset models", "All models with their sizes:" },
    { "cresset models resnet18 --input 1x28x28 --small-stem --classes 10",
      "Every layer of one, as it would be for Fashion-MNIST:" },
    { "cresset models resnet50 --json", "The same for a program:" },
    { "cresset models net.onnx", "Every layer with weights of an imported model:" },
    { "cresset models resnet34 --classes 4 --weights resnet34.pth",
      "Whether a checkpoint fits a model:" },
};

const char *architecture_words(int index)
{
    return index < cr_architecture_count() ? cr_architecture_at(index)->name : NULL;
}

bool input_fits(const cli_command *command, const cr_architecture *architecture,
                const number_list *given)
{
    char usual[CR_SHAPE_TEXT];
    if (given->count == 0 || given->count == architecture->input.ndim)
        return true;
    usage_error(command, "--input of %s must be like %s", architecture->name,
                format_sizes(usual, sizeof usual, &architecture->input, 0));
    return false;
}

cr_shape sample_shape(const cr_architecture *architecture, const number_list *given, int64_t batch)
{
    cr_shape shape = { .ndim = architecture->input.ndim + 1, .dim = { batch } };
    for (int i = 0; i < architecture->input.ndim; i++)
        shape.dim[i + 1] = given->count ? given->values[i] : architecture->input.dim[i];
    return shape;
}

/* How the tensors of a file fit; the format says that there is one. */
typedef struct weights_fit {
    const char *format;
    cr_load_report report;
} weights_fit;

/* With a report that is not NULL and a file in the settings, compares them as well. */
static cr_status summarize(const cr_architecture *architecture, const cr_onnx *onnx,
                           const models_settings *settings, cr_shape input, cr_summary *summary,
                           weights_fit *fit)
{
    static const cr_load_options compare_only = { .partial = true,
                                                  .ignore_mismatched = true,
                                                  .dry_run = true };
    cr_bound_architecture bound = { .architecture = architecture,
                                    .settings = settings->model,
                                    .onnx = onnx };
    cr_model *model = cr_model_new(.meta = true);
    cr_status status = model ? cr_model_build(model, cr_run_architecture, &bound, input,
                                              cr_architecture_dtype(architecture), summary)
                             : cr_error_status();
    if (status == CR_OK && fit && settings->weights) {
        cr_weights *weights = cr_weights_open(settings->weights);
        fit->format = cr_weights_format(weights);
        status = weights ? cr_model_load_weights(model, weights, &compare_only, &fit->report)
                         : cr_error_status();
        cr_weights_close(weights);
    }
    cr_model_free(model);
    cr_frame_end_all();
    return status;
}

/* --- One model ------------------------------------------------------------------------------ */

static json_t *shape_to_json(const cr_shape *shape)
{
    json_t *array = json_array();
    for (int i = 1; i < shape->ndim; i++)
        json_array_append_new(array, json_integer(shape->dim[i]));
    return array;
}

static json_t *summary_to_json(const cr_architecture *architecture, const cr_shape *input,
                               const cr_summary *summary)
{
    json_t *layers = json_array();
    for (int i = 0; i < summary->count; i++) {
        const cr_layer_row *row = &summary->rows[i];
        json_array_append_new(layers,
                              json_pack("{s:s, s:s, s:o, s:o, s:I, s:I}", "name", row->name, "kind",
                                        row->kind, "input", shape_to_json(&row->input), "output",
                                        shape_to_json(&row->output), "parameters",
                                        (json_int_t)row->parameters, "multiply_adds",
                                        (json_int_t)row->multiply_adds));
    }
    return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:o}", "name", architecture->name,
                     "summary", architecture->summary, "input", shape_to_json(input), "output",
                     shape_to_json(&summary->output), "parameters", (json_int_t)summary->parameters,
                     "multiply_adds", (json_int_t)summary->multiply_adds, "activation_bytes",
                     (json_int_t)summary->activation_bytes, "layers", layers);
}

static json_t *names_to_json(char *const *names, int count)
{
    json_t *array = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(array, json_string(names[i]));
    return array;
}

static json_t *fit_to_json(const weights_fit *fit)
{
    const cr_load_report *report = &fit->report;
    json_t *mismatched = json_array();
    for (int i = 0; i < report->mismatched_count; i++) {
        const cr_load_mismatch *own = &report->mismatched[i];
        json_t *in_file = json_array(), *in_model = json_array();
        for (int d = 0; d < own->in_file.ndim; d++)
            json_array_append_new(in_file, json_integer(own->in_file.dim[d]));
        for (int d = 0; d < own->in_model.ndim; d++)
            json_array_append_new(in_model, json_integer(own->in_model.dim[d]));
        json_array_append_new(mismatched, json_pack("{s:s, s:o, s:o}", "name", own->name, "in_file",
                                                    in_file, "in_model", in_model));
    }
    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "format", fit->format, "matched",
                     names_to_json(report->matched, report->matched_count), "missing",
                     names_to_json(report->missing, report->missing_count), "unexpected",
                     names_to_json(report->unexpected, report->unexpected_count), "mismatched",
                     mismatched);
}

static void print_fit(const models_settings *settings, const weights_fit *fit)
{
    cr_text text = { 0 };
    cr_load_report_print(&fit->report, &text);
    printf("\n%s, %s: %s", settings->weights, fit->format, text.data ? text.data : "");
    cr_text_free(&text);
}

static void print_layers(const cr_summary *summary)
{
    char shape[CR_SHAPE_TEXT], number[NUMBER_SIZE];
    cli_table table;
    table_begin(&table, "lllrr");
    table_row(&table, "layer", "kind", "output", "parameters", "mult-adds");
    table_rule(&table);
    for (int i = 0; i < summary->count; i++) {
        const cr_layer_row *row = &summary->rows[i];
        table_cell(&table, "%s", row->name);
        table_cell(&table, "%s", row->kind);
        table_cell(&table, "%s", format_sizes(shape, sizeof shape, &row->output, 1));
        table_cell(&table, "%s", format_count(number, row->parameters));
        table_cell(&table, "%s", format_scaled(number, (double)row->multiply_adds));
    }
    table_rule(&table);
    table_cell(&table, "total");
    table_cell(&table, "%s", "");
    table_cell(&table, "%s", format_sizes(shape, sizeof shape, &summary->output, 1));
    table_cell(&table, "%s", format_count(number, summary->parameters));
    table_cell(&table, "%s", format_scaled(number, (double)summary->multiply_adds));
    table_print(&table, stdout);
}

static int show_one(const arguments *args, const cr_architecture *architecture, const cr_onnx *onnx)
{
    const models_settings *settings = args->settings;
    cr_summary summary = { 0 };
    weights_fit fit = { 0 };
    if (!input_fits(args->command, architecture, &settings->input))
        return STATUS_USAGE;
    cr_shape input = sample_shape(architecture, &settings->input, 1);
    if (summarize(architecture, onnx, settings, input, &summary, &fit) != CR_OK) {
        cr_summary_free(&summary);
        cr_load_report_free(&fit.report);
        return library_failure(args->command);
    }
    int status = STATUS_DONE;
    if (settings->json) {
        json_t *answer = summary_to_json(architecture, &input, &summary);
        if (fit.format)
            json_object_set_new(answer, "weights", fit_to_json(&fit));
        status = print_json(args->command, answer);
    } else {
        char shape[CR_SHAPE_TEXT], weights[NUMBER_SIZE], outputs[NUMBER_SIZE];
        printf("%s, %s, on %s\n\n", architecture->name, architecture->summary,
               format_sizes(shape, sizeof shape, &input, 1));
        print_layers(&summary);
        printf("\nin memory: %s of weights, %s of outputs a sample\n",
               format_bytes(weights, (double)summary.parameters * 4),
               format_bytes(outputs, (double)summary.activation_bytes));
        if (fit.format)
            print_fit(settings, &fit);
    }
    cr_load_report_free(&fit.report);
    cr_summary_free(&summary);
    return status;
}

/* An imported one, on the input that its file asks for, or on --input where sizes vary. */
static int show_imported(const arguments *args, const char *path)
{
    const models_settings *settings = args->settings;
    cr_onnx *onnx = cr_onnx_open(path);
    if (!onnx)
        return library_failure(args->command);
    cr_onnx_port port = cr_onnx_input_count(onnx) ? cr_onnx_input(onnx, 0) : (cr_onnx_port){ 0 };
    cr_architecture imported = { .name = path,
                                 .kind = port.dtype == CR_I64 ? CR_INPUT_TOKENS : CR_INPUT_IMAGE };
    imported.input.ndim = port.shape.ndim > 0 ? port.shape.ndim - 1 : settings->input.count;
    bool known = port.has_shape;
    for (int d = 0; d < imported.input.ndim; d++) {
        imported.input.dim[d] = port.shape.dim[d + 1];
        known &= port.shape.dim[d + 1] > 0;
    }
    int status;
    char *summary = cr_string_format("ONNX opset %d by %s, %lld nodes", cr_onnx_opset(onnx),
                                     *cr_onnx_producer(onnx) ? cr_onnx_producer(onnx) : "unknown",
                                     (long long)cr_onnx_node_count(onnx));
    imported.summary = summary;
    if (!summary)
        status = library_failure(args->command);
    else if (!known && settings->input.count == 0)
        status = usage_error(args->command,
                             "%s leaves the size of its input open; give it, as --input 3x224x224",
                             path);
    else
        status = show_one(args, &imported, onnx);
    cr_free(summary);
    cr_onnx_close(onnx);
    return status;
}

/* --- All models ----------------------------------------------------------------------------- */

static void add_to_table(cli_table *table, const cr_architecture *architecture,
                         const cr_shape *input, const cr_summary *summary)
{
    char shape[CR_SHAPE_TEXT], number[NUMBER_SIZE];
    table_cell(table, "%s", architecture->name);
    table_cell(table, "%s", format_sizes(shape, sizeof shape, input, 1));
    table_cell(table, "%s", format_scaled(number, (double)summary->parameters));
    table_cell(table, "%s", format_scaled(number, (double)summary->multiply_adds));
    table_cell(table, "%s", architecture->summary);
}

/* Adds one model to both forms of the list. */
static bool add_model(const models_settings *settings, const cr_architecture *architecture,
                      cli_table *table, json_t *list)
{
    cr_summary summary = { 0 };
    cr_shape input = sample_shape(architecture, &(number_list){ 0 }, 1);
    if (summarize(architecture, NULL, settings, input, &summary, NULL) != CR_OK)
        return false;
    add_to_table(table, architecture, &input, &summary);
    json_t *entry = summary_to_json(architecture, &input, &summary);
    json_object_del(entry, "layers");
    json_array_append_new(list, entry);
    cr_summary_free(&summary);
    return true;
}

static int show_all(const arguments *args)
{
    const models_settings *settings = args->settings;
    bool good = true;
    json_t *list = json_array();
    cli_table table;
    table_begin(&table, "llrrl");
    table_row(&table, "model", "input", "parameters", "mult-adds", "what it is");
    table_rule(&table);
    for (int i = 0; good && i < cr_architecture_count(); i++)
        good = add_model(settings, cr_architecture_at(i), &table, list);
    if (good && !settings->json)
        table_print(&table, stdout);
    table_free(&table);
    if (good && settings->json)
        return print_json(args->command, list);
    json_decref(list);
    return good ? STATUS_DONE : library_failure(args->command);
}

static int run(const arguments *args)
{
    if (args->operand_count == 0) {
        if (arguments_given(args, "input"))
            return usage_error(args->command, "--input needs a model: cresset models MODEL");
        if (arguments_given(args, "weights"))
            return usage_error(args->command, "--weights needs a model: cresset models MODEL");
        return show_all(args);
    }
    if (has_ending(args->operands[0], IMPORTED_ENDING))
        return show_imported(args, args->operands[0]);
    const cr_architecture *architecture = cr_architecture_find(args->operands[0]);
    if (architecture)
        return show_one(args, architecture, NULL);
    library_failure(args->command);
    return STATUS_USAGE;
}

const cli_command models_command = {
    .name = "models",
    .summary = "List the models, or show the layers of one",
    .operands = "[MODEL]",
    .description =
        "Without a word, lists the models that can be trained, with the size of each on "
        "its usual input. With the name of one, or an ONNX file, shows every layer with the shape "
        "of its "
        "output, its parameters and its multiply-adds for one sample; and with --weights "
        "which tensors of a file fit it, by name and shape, and which do not.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = options,
    .option_count = COUNT_OF(options),
    .settings_size = sizeof(models_settings),
    .operand_maximum = 1,
    .operand_words = architecture_words,
    .run = run,
};
