/* `cresset models`: the architectures, and what one of them is made of. Both come from running the
 * model on shapes alone, so that the largest is described in milliseconds. */
#include "cli.h"
#include "cresset/models.h"

typedef struct models_settings {
    cr_model_settings model;
    number_list input;
    bool json;
} models_settings;

static const cli_option options[] = {
    { "input", 0, "Model", NUMBERS(models_settings, input, 1, 1 << 20), "SHAPE", NULL,
      "shape of one input [the usual one of the model]" },
    CLASSES_OPTION(models_settings, model, "Model"),
    MODEL_OPTIONS(models_settings, model, "Model"),
    { "json", 0, "Output", FLAG(models_settings, json), NULL, NULL, "answer in JSON" },
};

static const cli_example examples[] = {
    { "cresset models", "All models with their sizes:" },
    { "cresset models resnet18 --input 1x28x28 --small-stem --classes 10",
      "Every layer of one, as it would be for Fashion-MNIST:" },
    { "cresset models resnet50 --json", "The same for a program:" },
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

static cr_status summarize(const cr_architecture *architecture, const models_settings *settings,
                           cr_shape input, cr_summary *summary)
{
    cr_bound_architecture bound = { architecture, settings->model };
    cr_model *model = cr_model_new(.meta = true);
    cr_status status = model ? cr_model_build(model, cr_run_architecture, &bound, input,
                                              cr_architecture_dtype(architecture), summary)
                             : cr_error_status();
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

static int show_one(const arguments *args, const cr_architecture *architecture)
{
    const models_settings *settings = args->settings;
    cr_summary summary = { 0 };
    if (!input_fits(args->command, architecture, &settings->input))
        return STATUS_USAGE;
    cr_shape input = sample_shape(architecture, &settings->input, 1);
    if (summarize(architecture, settings, input, &summary) != CR_OK)
        return library_failure(args->command);
    int status = STATUS_DONE;
    if (settings->json) {
        status = print_json(args->command, summary_to_json(architecture, &input, &summary));
    } else {
        char shape[CR_SHAPE_TEXT], weights[NUMBER_SIZE], outputs[NUMBER_SIZE];
        printf("%s, %s, on %s\n\n", architecture->name, architecture->summary,
               format_sizes(shape, sizeof shape, &input, 1));
        print_layers(&summary);
        printf("\nin memory: %s of weights, %s of outputs a sample\n",
               format_bytes(weights, (double)summary.parameters * 4),
               format_bytes(outputs, (double)summary.activation_bytes));
    }
    cr_summary_free(&summary);
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
    if (summarize(architecture, settings, input, &summary) != CR_OK)
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
        return show_all(args);
    }
    const cr_architecture *architecture = cr_architecture_find(args->operands[0]);
    if (architecture)
        return show_one(args, architecture);
    library_failure(args->command);
    return STATUS_USAGE;
}

const cli_command models_command = {
    .name = "models",
    .summary = "List the models, or show the layers of one",
    .operands = "[MODEL]",
    .description = "Without a word, lists the models that can be trained, with the size of each on "
                   "its usual input. With the name of one, shows every layer with the shape of its "
                   "output, its parameters and its multiply-adds for one sample.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = options,
    .option_count = COUNT_OF(options),
    .settings_size = sizeof(models_settings),
    .operand_maximum = 1,
    .operand_words = architecture_words,
    .run = run,
};
