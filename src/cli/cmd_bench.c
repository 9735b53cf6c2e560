/* `cresset bench`: how long a model takes for a training step and for inference, on random data. */
#include <stdlib.h>

#include "cli.h"
#include "cresset/autograd.h"
#include "cresset/graph.h"
#include "cresset/memory.h"
#include "cresset/models.h"
#include "cresset/ops.h"
#include "cresset/optim.h"
#include "cresset/state_dict.h"
#include "cresset/system.h"
#include "cresset/thread.h"

/* Names in a file of --load and --save beside those of the model. */
#define INPUT_NAME  "bench.input"
#define TARGET_NAME "bench.target"
#define RESULT_NAME "bench.result"

typedef struct bench_settings {
    cr_model_settings model;
    number_list input;
    int64_t batch_size, repeat, warm_up, threads;
    const char *mode, *optimizer, *precision, *load, *save;
    bool checkpoint, memory, json, eager;
    profile_options profile;
} bench_settings;

static const char *const mode_names[] = { "both", "train", "infer" };

static const char *mode_words(int index)
{
    return index < COUNT_OF(mode_names) ? mode_names[index] : NULL;
}

/* Those that take one step a batch, which the last one, L-BFGS, does not. */
const char *optimizer_words(int index)
{
    return index < (int)CR_OPTIM_LBFGS ? cr_optim_name((cr_optim_kind)index) : NULL;
}

static const cli_option options[] = {
    { "batch-size", 'b', "Work", INTEGER(bench_settings, batch_size, 1, 1 << 20), "N", "32",
      "samples in a batch" },
    { "input", 0, "Work", NUMBERS(bench_settings, input, 1, 1 << 20), "SHAPE", NULL,
      "shape of one sample [the usual one of the model]" },
    { "mode", 0, "Work", CHOICE(bench_settings, mode, mode_words), "WORD", "both", "what to time" },
    { "optimizer", 'o', "Work", CHOICE(bench_settings, optimizer, optimizer_words), "NAME", "sgd",
      "what takes the training step" },
    PRECISION_OPTION(bench_settings, precision, "Work"),
    { "eager", 0, "Work", FLAG(bench_settings, eager), NULL, NULL,
      "run inference op by op, not as a compiled graph" },
    { "checkpoint-activations", 0, "Work", FLAG(bench_settings, checkpoint), NULL, NULL,
      "keep the inputs of blocks only and run them again in backward" },
    CLASSES_OPTION(bench_settings, model, "Model"),
    MODEL_OPTIONS(bench_settings, model, "Model"),
    { "load", 0, "Work", FILE_PATH(bench_settings, load), "FILE", NULL,
      "begin with the weights of a safetensors file; its tensors " INPUT_NAME " and " TARGET_NAME
      ", if it has them, are the batch" },
    { "save", 0, "Work", FILE_PATH(bench_settings, save), "FILE", NULL,
      "write the weights as they are in the end, and the result of inference as " RESULT_NAME },
    { "repeat", 'r', "Measurement", INTEGER(bench_settings, repeat, 1, 100000), "N", "10",
      "how many times each work is timed" },
    { "warm-up", 0, "Measurement", INTEGER(bench_settings, warm_up, 0, 100000), "N", "2",
      "how many times each work is done before that" },
    { "threads", 't', "Measurement", INTEGER(bench_settings, threads, 0, 1024), "N", "0",
      "threads to compute with; 0 is the default of cresset info" },
    { "memory", 0, "Measurement", FLAG(bench_settings, memory), NULL, NULL,
      "show what memory held at its fullest: what is kept, by which operation and layer" },
    PROFILE_OPTIONS(bench_settings, profile, "Measurement"),
    { "json", 0, "Output", FLAG(bench_settings, json), NULL, NULL, "answer in JSON" },
};

static const cli_example examples[] = {
    { "cresset bench resnet18 --small-stem --input 1x28x28 --batch-size 128",
      "A training step and inference on images like Fashion-MNIST's:" },
    { "cresset bench resnet50 --mode infer --batch-size 1 --json",
      "The time of a single answer, for a program:" },
};

/* One model on one batch of random numbers. */
typedef struct workload {
    cr_bound_architecture bound;
    cr_model *model;
    cr_optim *optimizer;
    cr_tensor *input;  /* (N, …) */
    cr_tensor *target; /* labels (N), or for a model without classes what its result should be */
    cr_tensor *result; /* of inference */
    cr_compiled *compiled; /* NULL: inference is run op by op */
} workload;

typedef struct timing {
    double median, fastest, slowest;
    double loss;           /* of the first training step, warm-up or not */
    int64_t memory;        /* bytes of tensors at the highest */
    cr_memory_report held; /* with --memory */
} timing;

/* Random numbers as the model takes them. */
static cr_tensor *random_input(const cr_architecture *architecture, cr_shape shape)
{
    if (architecture->kind == CR_INPUT_TOKENS)
        return cr_randint(0, architecture->vocabulary, shape);
    return cr_randn(shape);
}

/* Builds the model and what it should give, from the shape of its result. */
static bool build(workload *work, cr_shape shape)
{
    const cr_architecture *architecture = work->bound.architecture;
    int64_t given = work->bound.settings.classes;
    int64_t classes = given ? given : architecture->classes;
    cr_summary summary = { 0 };
    if (cr_model_build(work->model, cr_run_architecture, &work->bound, shape,
                       cr_architecture_dtype(architecture), &summary) != CR_OK)
        return false;
    work->target = cr_retain(classes ? cr_randint(0, classes, CR_SHAPE(shape.dim[0]))
                                     : cr_randn(summary.output));
    cr_memory_tag(work->target, CR_MEMORY_INPUT);
    cr_summary_free(&summary);
    return work->target != NULL;
}

/* The tensor of that name, if the file has it, in the place of a random one. */
static void adopt_tensor(cr_safetensors *file, const char *name, cr_tensor **tensor)
{
    cr_shape random = cr_shape_of(*tensor);
    if (cr_safetensors_find(file, name) < 0)
        return;
    cr_tensor *own = cr_retain(cr_safetensors_load(file, name));
    cr_shape shape = cr_shape_of(own);
    if (own && (!cr_shape_equal(&shape, &random) || cr_dtype_of(own) != cr_dtype_of(*tensor)))
        cr_error_set(CR_ERROR_SHAPE, "%s has another shape or dtype than the work has", name);
    cr_release(*tensor);
    *tensor = own;
}

/* Takes weights and batch from a file. */
static bool load(workload *work, const char *path)
{
    cr_safetensors *file = cr_safetensors_open(path);
    cr_load_options strict = { .ignore = "bench.*" };
    if (!file)
        return false;
    if (cr_model_load_from(work->model, file, &strict, NULL) == CR_OK) {
        adopt_tensor(file, INPUT_NAME, &work->input);
        adopt_tensor(file, TARGET_NAME, &work->target);
    }
    cr_safetensors_close(file);
    return !cr_failed();
}

static bool save(const workload *work, const char *path)
{
    int count = cr_model_tensor_count(work->model);
    cr_safetensors_item *items = cr_alloc_zeroed((size_t)count + 1, sizeof *items);
    if (!items)
        return false;
    for (int i = 0; i < count; i++) {
        cr_named_tensor named = cr_model_tensor_at(work->model, i);
        items[i] = (cr_safetensors_item){ named.name, named.tensor };
    }
    if (work->result)
        items[count++] = (cr_safetensors_item){ RESULT_NAME, work->result };
    cr_safetensors_save(path, items, count, NULL, 0);
    cr_free(items);
    return !cr_failed();
}

static bool prepare(workload *work, const cr_architecture *architecture,
                    const bench_settings *settings)
{
    cr_shape shape = sample_shape(architecture, &settings->input, settings->batch_size);
    work->bound =
        (cr_bound_architecture){ .architecture = architecture, .settings = settings->model };
    work->model = cr_model_new(.seed = 1, .uninitialized = settings->load != NULL);
    work->input = cr_retain(random_input(architecture, shape));
    cr_memory_tag(work->input, CR_MEMORY_INPUT);
    if (cr_failed() || !build(work, shape) || (settings->load && !load(work, settings->load)))
        return false;
    cr_model_checkpoint(work->model, settings->checkpoint);
    cr_optim_settings step = cr_optim_defaults(cr_optim_find(settings->optimizer));
    step.lr = 1e-3;
    step.momentum = step.kind == CR_OPTIM_SGD ? 0.9 : step.momentum;
    work->optimizer = cr_optim_new(work->model, step);
    return work->optimizer != NULL;
}

static void release(workload *work)
{
    cr_optim_free(work->optimizer);
    cr_compiled_free(work->compiled);
    cr_model_free(work->model);
    cr_release(work->input);
    cr_release(work->target);
    cr_release(work->result);
    cr_frame_end_all();
}

static cr_tensor *loss_of(const workload *work)
{
    cr_tensor *y = cr_run_architecture(cr_root(work->model), work->input, &work->bound);
    if (cr_dtype_of(work->target) == CR_I64)
        return cr_cross_entropy(y, work->target);
    return cr_mse_loss(y, work->target);
}

/* The loss goes to *value, unless that is NULL. */
static void train_step(workload *work, double *value)
{
    cr_tensor *loss = loss_of(work);
    cr_model_zero_grad(work->model);
    cr_backward(loss);
    cr_optim_step(work->optimizer);
    if (value)
        *value = cr_item(loss);
}

static void infer(workload *work)
{
    cr_release(work->result);
    cr_tensor *y = NULL;
    if (work->compiled)
        cr_compiled_run(work->compiled, &work->input, &y);
    else
        y = cr_run_architecture(cr_root(work->model), work->input, &work->bound);
    work->result = cr_retain(y);
}

/* Graphs compute in float32. */
static bool compile(workload *work)
{
    cr_shape batch = cr_shape_of(work->input), sample = { .ndim = batch.ndim - 1 };
    for (int d = 0; d < sample.ndim; d++)
        sample.dim[d] = batch.dim[d + 1];
    cr_graph *graph =
        cr_graph_trace(work->model, .function = cr_run_architecture, .settings = &work->bound,
                       .sample = sample, .dtype = cr_dtype_of(work->input));
    work->compiled = graph ? cr_graph_compile(graph) : NULL;
    cr_graph_free(graph);
    return work->compiled != NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Times runs of a work after a few that are not counted. False with an error set. */
static bool measure(workload *work, bool training, const bench_settings *settings, timing *result)
{
    int64_t repeat = settings->repeat, first = -settings->warm_up;
    double loss = 0;
    double *seconds = cr_alloc_zeroed((size_t)repeat, sizeof *seconds);
    if (!seconds)
        return false;
    cr_model_train(work->model, training);
    cr_set_grad_enabled(training);
    cr_memory_reset_peak();
    if (settings->memory)
        cr_memory_trace_reset();
    for (int64_t i = first; i < repeat && !cr_failed(); i++) {
        cr_frame frame = cr_frame_begin();
        double began = cr_clock_seconds();
        if (training)
            train_step(work, i == first ? &loss : NULL);
        else
            infer(work);
        cr_frame_end(frame);
        if (i >= 0)
            seconds[i] = cr_clock_seconds() - began;
        cr_profile_step();
    }
    qsort(seconds, (size_t)repeat, sizeof *seconds, by_value);
    *result = (timing){ (seconds[(repeat - 1) / 2] + seconds[repeat / 2]) / 2,
                        seconds[0],
                        seconds[repeat - 1],
                        loss,
                        (int64_t)cr_memory_get_stats().peak,
                        { 0 } };
    cr_free(seconds);
    return !cr_failed() && (!settings->memory || cr_memory_trace_report(&result->held) == CR_OK);
}

static json_t *timing_to_json(const char *mode, const timing *result, int64_t batch)
{
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:I}", "mode", mode, "seconds", result->median,
                     "fastest_seconds", result->fastest, "slowest_seconds", result->slowest,
                     "samples_per_second", (double)batch / result->median, "tensor_bytes",
                     (json_int_t)result->memory);
}

static void add_timing(cli_table *table, const char *what, const timing *result, int64_t batch)
{
    char number[NUMBER_SIZE];
    table_cell(table, "%s", what);
    table_cell(table, "%s", format_seconds(number, result->median));
    table_cell(table, "%s", format_seconds(number, result->fastest));
    table_cell(table, "%s", format_seconds(number, result->slowest));
    table_cell(table, "%s", format_scaled(number, (double)batch / result->median));
    table_cell(table, "%s", format_bytes(number, (double)result->memory));
}

static int report_timings(const arguments *args, const workload *work, const timing *results,
                          json_t *profile)
{
    const bench_settings *settings = args->settings;
    bool wanted[] = { settings->mode != mode_names[2], settings->mode != mode_names[1] };
    static const char *const modes[] = { "train", "infer" };
    static const char *const words[] = { "training step", "inference" };
    const char *name = work->bound.architecture->name;
    char shape[CR_SHAPE_TEXT], memory[NUMBER_SIZE];
    cr_shape input = cr_shape_of(work->input);
    cli_table table;
    table_begin(&table, "lrrrrr");
    table_row(&table, "work", "median", "fastest", "slowest", "samples/s", "tensors");
    table_rule(&table);
    json_t *rows = json_array();
    for (int i = 0; i < COUNT_OF(modes); i++) {
        if (!wanted[i])
            continue;
        add_timing(&table, words[i], &results[i], settings->batch_size);
        json_t *row = timing_to_json(modes[i], &results[i], settings->batch_size);
        if (i == 0)
            json_object_set_new(row, "loss", json_finite(results[i].loss));
        if (settings->memory)
            json_object_set_new(row, "memory", memory_to_json(&results[i].held));
        json_array_append_new(rows, row);
    }
    if (settings->json) {
        table_free(&table);
        json_t *answer =
            json_pack("{s:s, s:I, s:i, s:s, s:s, s:I, s:o}", "model", name, "batch_size",
                      (json_int_t)settings->batch_size, "threads", cr_num_threads(), "isa",
                      cr_isa_name(cr_cpu_isa()), "precision", settings->precision,
                      "process_peak_bytes", (json_int_t)cr_process_memory_peak(), "timings", rows);
        if (profile)
            json_object_set(answer, "profile", profile);
        return print_json(args->command, answer);
    }
    json_decref(rows);
    const char *caveat = precision_caveat(precision_dtype(settings->precision));
    printf("%s on a batch of %s, %d threads, %s, %s, %lld runs\n", name,
           format_sizes(shape, sizeof shape, &input, 0), cr_num_threads(),
           cr_isa_name(cr_cpu_isa()), settings->precision, (long long)settings->repeat);
    if (caveat)
        printf("%s is %s\n", settings->precision, caveat);
    printf("\n");
    table_print(&table, stdout);
    for (int i = 0; i < COUNT_OF(modes) && settings->memory; i++)
        if (wanted[i])
            print_memory(i == 0 ? "a training step" : "inference", &results[i].held);
    printf("\nmemory of the process at its highest: %s\n",
           format_bytes(memory, (double)cr_process_memory_peak()));
    return STATUS_DONE;
}

static int run(const arguments *args)
{
    const bench_settings *settings = args->settings;
    workload work = { 0 };
    timing results[2] = { 0 };
    const cr_architecture *architecture = cr_architecture_find(args->operands[0]);
    if (!architecture) {
        library_failure(args->command);
        return STATUS_USAGE;
    }
    if (!input_fits(args->command, architecture, &settings->input))
        return STATUS_USAGE;
    cr_set_num_threads((int)settings->threads);
    cr_set_autocast(precision_dtype(settings->precision));
    bool trains = settings->mode != mode_names[2], infers = settings->mode != mode_names[1];
    bool good = !settings->memory || cr_memory_trace_start() == CR_OK;
    json_t *profile = NULL;
    good = good && prepare(&work, architecture, settings) &&
           profiling_begin(&settings->profile, (int)settings->warm_up);
    if (good && trains)
        good = measure(&work, true, settings, &results[0]);
    cr_profile_pause(trains); /* one work is profiled */
    if (good && infers) {     /* which needs neither gradients nor the state of the optimiser */
        cr_model_zero_grad(work.model);
        cr_optim_free(work.optimizer);
        work.optimizer = NULL;
    }
    cr_set_autocast(cr_autocast_for_inference(precision_dtype(settings->precision)));
    if (good && infers && !settings->eager && cr_autocast_dtype() == CR_F32)
        good = compile(&work);
    if (good && infers)
        good = measure(&work, false, settings, &results[1]);
    if (good && settings->save)
        good = save(&work, settings->save);
    if (good && settings->json)
        good = profiling_end(&settings->profile, NULL, stdout, &profile);
    int status =
        good ? report_timings(args, &work, results, profile) : library_failure(args->command);
    if (good && !settings->json && !profiling_end(&settings->profile, NULL, stdout, NULL))
        status = library_failure(args->command);
    json_decref(profile);
    for (int i = 0; i < COUNT_OF(results); i++)
        cr_memory_report_free(&results[i].held);
    cr_memory_trace_stop();
    release(&work);
    return status;
}

const cli_command bench_command = {
    .name = "bench",
    .summary = "Time training and inference of a model on random data",
    .operands = "MODEL",
    .description =
        "Runs a training step (forward, backward and the step of the optimiser) and inference of "
        "a model on a batch of random numbers, a few times each, and shows the median, the "
        "samples a second that it makes, and the memory that tensors took at the highest.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = options,
    .option_count = COUNT_OF(options),
    .settings_size = sizeof(bench_settings),
    .operand_minimum = 1,
    .operand_maximum = 1,
    .operand_words = architecture_words,
    .takes_config = true,
    .run = run,
};
