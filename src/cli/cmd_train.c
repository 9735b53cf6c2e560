/* `cresset train`: its options, how they become the settings of the training interface, and the
 * steps of a run. What is shown meanwhile stands in training.c, the report in run_report.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/state_dict.h"
#include "cresset/thread.h"
#include "cresset/train.h"

#define DATA       "Data"
#define MODEL      "Model"
#define TRAINING   "Training"
#define OPTIMIZER  "Optimiser"
#define SCHEDULE   "Learning-rate schedule"
#define REGULARITY "Regularisation"
#define RUN        "Run"

typedef struct train_options {
    const char *data, *augment;
    double validation;
    const char *architecture, *weights, *from, *freeze, *preprocess, *crop, *normalize, *rates;
    int64_t resize;
    cr_model_settings model;
    cr_train_settings train;
    const char *optimizer, *schedule, *sampler;
    number_list milestones;
    int64_t plateau_patience, workers, threads, seed;
    const char *precision;
    const char *out, *name, *resume;
    double save_seconds;
    bool report, events, dry_run, quiet, json, transforms;
    profile_options profile;
} train_options;

static const char *schedule_words(int index)
{
    return index < (int)CR_TRAIN_SCHEDULE_COUNT ? cr_train_schedule_name((cr_train_schedule)index)
                                                : NULL;
}

static const char *normalize_words(int index)
{
    static const char *const words[] = {
        [CR_NORMALIZE_MEASURED] = "auto",
        [CR_NORMALIZE_IMAGENET] = "imagenet",
        [CR_NORMALIZE_NONE] = "none",
    };
    return index < COUNT_OF(words) ? words[index] : NULL;
}

static cr_normalization normalization_of(const char *word)
{
    int index = 0;
    while (strcmp(normalize_words(index), word) != 0)
        index++;
    return (cr_normalization)index;
}

static const char *sampler_words(int index)
{
    static const char *const words[] = { "random", "balanced" };
    return index < COUNT_OF(words) ? words[index] : NULL;
}

static const cli_option options[] = {
    { "data", 'd', DATA, FOLDER_PATH(train_options, data), "DATA", NULL,
      "the data set: a folder of idx files, or the name of one in /usr/share/datasets" },
    { "validation", 0, DATA, REAL(train_options, validation, 0, 0.9), "X", "0.05",
      "share of the training samples held out to choose the best epoch; 0 chooses by the test "
      "samples" },
    { "resize", 0, DATA, INTEGER(train_options, resize, 1, CR_IMAGE_MAX_SIDE), "N", NULL,
      "first the shorter side of each picture becomes N pixels" },
    { "crop", 0, DATA, TEXT(train_options, crop), "center:N", NULL,
      "then the middle N x N pixels are cut out, or center:HEIGHT:WIDTH" },
    { "preprocess", 0, DATA, TEXT(train_options, preprocess), "LIST", NULL,
      "then these transforms, in training, evaluation and prediction; cresset train --transforms "
      "lists all" },
    { "normalize", 0, DATA, CHOICE(train_options, normalize, normalize_words), "WORD", "auto",
      "the channels' means and deviations: auto measures the training samples" },
    { "augment", 'a', DATA, TEXT(train_options, augment), "LIST", NULL,
      "random changes of the training pictures, such as flip,rotate:10,jitter:0.2,erase:0.25" },
    { "transforms", 0, DATA, FLAG(train_options, transforms), NULL, NULL,
      "list the transforms of --augment and --preprocess with their parameters, and end" },
    { "sampler", 0, DATA, CHOICE(train_options, sampler, sampler_words), "WORD", "random",
      "which samples an epoch has: balanced draws all classes equally often" },
    { "samples-per-epoch", 0, DATA, INTEGER(train_options, train.samples_per_epoch, 0, INT32_MAX),
      "N", "0", "samples in an epoch; 0 is all" },
    { "workers", 'j', DATA, INTEGER(train_options, workers, 0, 256), "N", "2",
      "threads that prepare batches; results do not depend on it" },

    { "model", 'm', MODEL, CHOICE(train_options, architecture, architecture_words), "NAME",
      "convnet", "the model" },
    MODEL_OPTIONS(train_options, model, MODEL),
    { "weights", 0, MODEL, FILE_PATH(train_options, weights), "FILE", NULL,
      "begin with the weights of a file (PyTorch's .pth, safetensors) as far as they fit: another "
      "last layer begins anew" },
    { "from", 'f', MODEL, FILE_PATH(train_options, from), "MODEL", NULL,
      "begin with the weights of a run or file (fine-tuning) instead of --model" },
    { "head", 0, MODEL, INTEGER(train_options, model.head, 1, 1 << 16), "N", NULL,
      "in place of the last layer a perceptron of N hidden units, with --dropout in it" },
    { "freeze", 0, MODEL, TEXT(train_options, freeze), "PATTERN", NULL,
      "leave the parameters of these names as they are, such as layer1.*" },

    { "epochs", 'e', TRAINING, INTEGER(train_options, train.epochs, 1, 1000000), "N", "10",
      "passes over the training samples" },
    { "batch-size", 'b', TRAINING, INTEGER(train_options, train.batch_size, 1, 1 << 20), "N", "128",
      "samples in a batch" },
    { "accumulate", 0, TRAINING, INTEGER(train_options, train.accumulate, 1, 1 << 20), "N", "1",
      "batches whose gradients make one step" },
    { "checkpoint-activations", 0, TRAINING, FLAG(train_options, train.checkpoint_activations),
      NULL, NULL,
      "keep the inputs of blocks only and run them again in backward: less memory, a "
      "third more time, the same weights" },
    { "early-stopping", 0, TRAINING, INTEGER(train_options, train.early_stopping, 0, 1000000), "N",
      "0", "stop after N epochs without a better validation accuracy; 0 is never" },
    { "seed", 's', TRAINING, INTEGER(train_options, seed, 0, 1e18), "N", "0",
      "where random numbers begin; the same seed gives the same weights" },
    { "threads", 't', TRAINING, INTEGER(train_options, threads, 0, 1024), "N", "0",
      "threads to compute with, 0 for all; results do not depend on it" },
    PRECISION_OPTION(train_options, precision, TRAINING),

    { "optimizer", 'o', OPTIMIZER, CHOICE(train_options, optimizer, optimizer_words), "NAME",
      "adamw", "what takes the steps" },
    { "lr", 'l', OPTIMIZER, REAL(train_options, train.optimizer.lr, 0, 1e6), "X", NULL,
      "learning rate [PyTorch's default for the optimiser, 0.001 for adamw]" },
    { "lr-scale", 0, OPTIMIZER, TEXT(train_options, rates), "NAME=X,...", NULL,
      "multiples of the learning rate for parts of the model, such as layer4=0.4,layer1=0.01" },
    { "weight-decay", 'w', OPTIMIZER, REAL(train_options, train.optimizer.weight_decay, 0, 1e6),
      "X", NULL, "weight decay [PyTorch's default, 0.01 for adamw]" },
    { "momentum", 0, OPTIMIZER, REAL(train_options, train.optimizer.momentum, 0, 1), "X", NULL,
      "sgd, rmsprop: momentum [0]" },
    { "nesterov", 0, OPTIMIZER, FLAG(train_options, train.optimizer.nesterov), NULL, NULL,
      "sgd: Nesterov momentum" },
    { "dampening", 0, OPTIMIZER, REAL(train_options, train.optimizer.dampening, 0, 1), "X", NULL,
      "sgd: dampening of the momentum [0]" },
    { "beta1", 0, OPTIMIZER, REAL(train_options, train.optimizer.beta1, 0, 1), "X", NULL,
      "adam and its kin: decay of the mean of gradients [0.9]" },
    { "beta2", 0, OPTIMIZER, REAL(train_options, train.optimizer.beta2, 0, 1), "X", NULL,
      "adam and its kin: decay of the mean of their squares [0.999]" },
    { "eps", 0, OPTIMIZER, REAL(train_options, train.optimizer.eps, 0, 1), "X", NULL,
      "what is added to denominators [PyTorch's default]" },
    { "amsgrad", 0, OPTIMIZER, FLAG(train_options, train.optimizer.amsgrad), NULL, NULL,
      "adam, adamw: the variant of Reddi et al., 2018" },
    { "alpha", 0, OPTIMIZER, REAL(train_options, train.optimizer.alpha, 0, 1), "X", NULL,
      "rmsprop: smoothing [0.99]" },
    { "centered", 0, OPTIMIZER, FLAG(train_options, train.optimizer.centered), NULL, NULL,
      "rmsprop: divide by the deviation instead of the mean square" },
    { "lr-decay", 0, OPTIMIZER, REAL(train_options, train.optimizer.lr_decay, 0, 1e6), "X", NULL,
      "adagrad: decay of the learning rate [0]" },
    { "rho", 0, OPTIMIZER, REAL(train_options, train.optimizer.rho, 0, 1), "X", NULL,
      "adadelta: smoothing [0.9]" },
    { "momentum-decay", 0, OPTIMIZER, REAL(train_options, train.optimizer.momentum_decay, 0, 1),
      "X", NULL, "nadam: decay of the momentum [0.004]" },

    { "schedule", 0, SCHEDULE, CHOICE(train_options, schedule, schedule_words), "NAME", "cosine",
      "how the learning rate changes" },
    { "warmup-epochs", 0, SCHEDULE, REAL(train_options, train.warmup_epochs, 0, 1e6), "X", "0",
      "epochs in which the rate rises to its full height first" },
    { "lr-min", 0, SCHEDULE, REAL(train_options, train.lr_min, 0, 1e6), "X", "0",
      "cosine: the rate at the end" },
    { "gamma", 0, SCHEDULE, REAL(train_options, train.gamma, 0, 1), "X", "0.1",
      "step, multistep, exponential, plateau: what the rate is multiplied by" },
    { "step-epochs", 0, SCHEDULE, REAL(train_options, train.step_epochs, 0, 1e6), "X", "0",
      "step, cosine-restarts: epochs between changes; 0 is a third of all" },
    { "milestones", 0, SCHEDULE, NUMBERS(train_options, milestones, 1, 1000000), "N,N", NULL,
      "multistep: the epochs after which the rate changes" },
    { "power", 0, SCHEDULE, REAL(train_options, train.power, 0, 100), "X", "1",
      "polynomial: its power" },
    { "patience", 0, SCHEDULE, INTEGER(train_options, plateau_patience, 1, 1000000), "N", "10",
      "plateau: epochs without a lower validation loss before the rate changes" },

    { "label-smoothing", 0, REGULARITY, REAL(train_options, train.label_smoothing, 0, 1), "X", "0",
      "share of the target that is spread over all classes" },
    { "mixup", 0, REGULARITY, REAL(train_options, train.mixup, 0, 100), "ALPHA", "0",
      "mix samples and targets in pairs, by shares from Beta(ALPHA, ALPHA); 0 is not" },
    { "cutmix", 0, REGULARITY, REAL(train_options, train.cutmix, 0, 100), "ALPHA", "0",
      "paste a box of another sample; with --mixup one of the two a batch" },
    { "class-weights", 0, REGULARITY, FLAG(train_options, train.weighted_classes), NULL, NULL,
      "weigh the loss so that rare classes count as much as common ones" },
    { "clip-norm", 0, REGULARITY, REAL(train_options, train.clip_norm, 0, 1e6), "X", "0",
      "largest norm of the gradients; 0 is no limit" },
    { "clip-value", 0, REGULARITY, REAL(train_options, train.clip_value, 0, 1e6), "X", "0",
      "largest value in the gradients; 0 is no limit" },
    { "ema", 0, REGULARITY, REAL(train_options, train.ema_decay, 0, 0.999999), "X", "0",
      "evaluate and keep the moving average of the weights with this decay; 0 is none" },

    { "out", 0, RUN, FOLDER_PATH(train_options, out), "DIR", NULL,
      "the run directory [runs/NAME-001 and counting up]" },
    { "name", 'n', RUN, TEXT(train_options, name), "NAME", NULL,
      "the run's name in runs/ [the model's]" },
    { "resume", 'r', RUN, FOLDER_PATH(train_options, resume), "RUN", NULL,
      "go on with a run that was stopped, with its settings, as if it had not been" },
    { "save-seconds", 0, RUN, REAL(train_options, save_seconds, 0, 1e6), "X", "60",
      "save at least this often; 0 is after each epoch only" },
    { "report", 0, RUN, FLAG(train_options, report), NULL, "true",
      "write no report.html and no plots" },
    { "events", 0, RUN, FLAG(train_options, events), NULL, "true",
      "write no events for TensorBoard" },
    { "dry-run", 0, RUN, FLAG(train_options, dry_run), NULL, NULL,
      "check everything, say what would be done, and end" },
    PROFILE_OPTIONS(train_options, profile, RUN),
    { "quiet", 'q', RUN, FLAG(train_options, quiet), NULL, NULL, "print errors only" },
    { "json", 0, RUN, FLAG(train_options, json), NULL, NULL,
      "print nothing but the result, in JSON" },
};

static const cli_example examples[] = {
    { "cresset train --data fashion-mnist --epochs 5",
      "A classifier for Debian's package dataset-fashion-mnist:" },
    { "cresset train -d ./mnist -m resnet18 --small-stem -e 15 -a flip,crop:2",
      "A residual network for small images, with augmentation:" },
    { "cresset train --resume runs/convnet-001", "Go on after Ctrl-C or a power cut:" },
    { "cresset train --config runs/convnet-001/args.json --seed 2",
      "The same again with another seed:" },
};

/* Settings that do not change what a resumed run computes. */
static const char *const free_on_resume[] = { "resume",        "threads",      "workers",
                                              "report",        "events",       "quiet",
                                              "json",          "save-seconds", "profile",
                                              "profile-steps", "profile-trace" };

/* What a run needs, and what it leaves behind. */
typedef struct session {
    const arguments *args;
    const train_options *chosen;
    cr_train_settings settings;
    cr_transform_list transforms; /* of evaluation */
    char *rates;                  /* the text that the names of settings.rates stand in */
    training_data data;
    cr_classifier *classifier;
    char *folder;
    bool goes_on; /* from saved weights */
} session;

/* --- Settings ------------------------------------------------------------------------------- */

/* The default of a number of the optimiser unless one was given. */
static void keep_given(double *target, double given)
{
    if (!isnan(given))
        *target = given;
}

static cr_optim_settings optimizer_settings(const train_options *chosen)
{
    const cr_optim_settings *given = &chosen->train.optimizer;
    cr_optim_settings settings = cr_optim_defaults(cr_optim_find(chosen->optimizer));
    keep_given(&settings.lr, given->lr);
    keep_given(&settings.weight_decay, given->weight_decay);
    keep_given(&settings.momentum, given->momentum);
    keep_given(&settings.dampening, given->dampening);
    keep_given(&settings.beta1, given->beta1);
    keep_given(&settings.beta2, given->beta2);
    keep_given(&settings.eps, given->eps);
    keep_given(&settings.alpha, given->alpha);
    keep_given(&settings.lr_decay, given->lr_decay);
    keep_given(&settings.rho, given->rho);
    keep_given(&settings.momentum_decay, given->momentum_decay);
    settings.nesterov = given->nesterov;
    settings.amsgrad = given->amsgrad;
    settings.centered = given->centered;
    return settings;
}

/* "layer4=0.4,layer1=0.01". The names stay in `room`, a copy of the text. */
static bool read_rates(char *room, cr_train_settings *settings)
{
    settings->rate_count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(room, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        char *value = strchr(word, '=');
        cr_train_rate rate = { .pattern = word };
        if (value)
            *value++ = '\0';
        if (!value || !*word || !cr_parse_double(value, &rate.scale) || rate.scale < 0) {
            cr_error_set(CR_ERROR_ARGUMENT,
                         "--lr-scale takes names with multiples, such as layer4=0.4,layer1=0.01; "
                         "\"%s\" is none",
                         word);
            return false;
        }
        if (settings->rate_count == CR_TRAIN_MAX_RATES) {
            cr_error_set(CR_ERROR_ARGUMENT, "--lr-scale takes at most %d names",
                         CR_TRAIN_MAX_RATES);
            return false;
        }
        settings->rates[settings->rate_count++] = rate;
    }
    return true;
}

/* What evaluation does with pictures: --resize, --crop, then --preprocess. */
static bool read_transforms(const train_options *chosen, cr_transform_list *list)
{
    cr_text text = { 0 };
    *list = (cr_transform_list){ 0 };
    if (chosen->resize > 0)
        cr_text_printf(&text, "resize:%lld", (long long)chosen->resize);
    if (chosen->crop && strncmp(chosen->crop, "center:", 7) != 0) {
        cr_error_set(CR_ERROR_ARGUMENT,
                     "--crop is center:N or center:HEIGHT:WIDTH, not \"%s\"; a random crop is "
                     "--augment random_crop:N",
                     chosen->crop);
        return false;
    }
    if (chosen->crop)
        cr_text_printf(&text, "%scenter_crop:%s", text.length ? "," : "", chosen->crop + 7);
    if (chosen->preprocess)
        cr_text_printf(&text, "%s%s", text.length ? "," : "", chosen->preprocess);
    bool good = cr_transform_parse(text.data ? text.data : "", list) == CR_OK;
    cr_text_free(&text);
    return good;
}

static bool translate(const train_options *chosen, char *rates, cr_transform_list *transforms,
                      cr_train_settings *settings)
{
    *settings = chosen->train;
    settings->optimizer = optimizer_settings(chosen);
    settings->schedule = cr_train_schedule_find(chosen->schedule);
    settings->plateau_patience = (int)chosen->plateau_patience;
    settings->workers = (int)chosen->workers;
    settings->seed = (uint64_t)chosen->seed;
    settings->autocast = precision_dtype(chosen->precision);
    settings->milestone_count = chosen->milestones.count;
    for (int i = 0; i < chosen->milestones.count; i++)
        settings->milestones[i] = (double)chosen->milestones.values[i];
    settings->balanced = strcmp(chosen->sampler, "balanced") == 0;
    return read_transforms(chosen, transforms) && (!rates || read_rates(rates, settings)) &&
           (!chosen->augment || cr_transform_parse(chosen->augment, &settings->augment) == CR_OK);
}

/* What makes no sense together, found before anything is opened. */
static bool check_options(const arguments *args)
{
    const train_options *chosen = args->settings;
    if (!chosen->data && !chosen->transforms) {
        usage_error(args->command, "--data is missing: cresset train --data DATA");
        return false;
    }
    if (chosen->from && arguments_given(args, "model")) {
        usage_error(args->command, "--from brings its own model: leave --model out");
        return false;
    }
    if (chosen->from && chosen->weights) {
        usage_error(args->command, "--from and --weights exclude each other");
        return false;
    }
    if (strcmp(chosen->schedule, "multistep") == 0 && chosen->milestones.count == 0) {
        usage_error(args->command, "--schedule multistep needs --milestones N,N");
        return false;
    }
    if (chosen->name && strchr(chosen->name, '/')) {
        usage_error(args->command, "--name is a name without a /; for a whole path give --out");
        return false;
    }
    return true;
}

/* --- Setting up ----------------------------------------------------------------------------- */

/* Loads what fits of --weights, and says what did not. A file of another model is refused. */
static bool load_weights(const session *s)
{
    static const cr_load_options as_far_as_it_fits = { .partial = true, .ignore_mismatched = true };
    const train_options *chosen = s->chosen;
    cr_model *model = s->classifier->model;
    cr_load_report report;
    cr_text words = { 0 };
    bool good = cr_model_load(model, chosen->weights, &as_far_as_it_fits, &report) == CR_OK;
    if (good && 4 * report.matched_count < cr_model_tensor_count(model)) {
        cr_error_set(CR_ERROR_ARGUMENT,
                     "%s has only %d of the %d tensors of %s: it is of another model; see cresset "
                     "models %s --weights %s",
                     chosen->weights, report.matched_count, cr_model_tensor_count(model),
                     s->classifier->bound.architecture->name,
                     s->classifier->bound.architecture->name, chosen->weights);
        good = false;
    }
    cr_load_report_print(&report, &words);
    if (good && !chosen->quiet && !chosen->json)
        printf("weights   %s: %s", chosen->weights, words.data ? words.data : "");
    cr_text_free(&words);
    cr_load_report_free(&report);
    return good;
}

static bool make_classifier(session *s)
{
    const train_options *chosen = s->chosen;
    char *saved = chosen->resume ? cr_path_join(s->folder, "weights/last.safetensors") : NULL;
    s->goes_on = saved && cr_file_exists(saved);
    if (s->goes_on)
        s->classifier = cr_classifier_load(saved);
    else if (chosen->from)
        s->classifier = cr_classifier_load(chosen->from);
    else
        s->classifier = cr_classifier_new(chosen->architecture, .data = s->data.train,
                                          .seed = (uint64_t)chosen->seed, .settings = chosen->model,
                                          .transforms = &s->transforms,
                                          .normalization = normalization_of(chosen->normalize));
    cr_free(saved);
    if (!s->classifier || (chosen->weights && !s->goes_on && !load_weights(s)))
        return false;
    if (chosen->freeze && cr_model_freeze(s->classifier->model, chosen->freeze, true) == 0) {
        cr_error_set(CR_ERROR_ARGUMENT, "--freeze %s matches no parameter; see cresset models %s",
                     chosen->freeze, s->classifier->bound.architecture->name);
        return false;
    }
    return true;
}

/* The run directory: the one given, which must not hold a run yet, or the next one in runs/. */
static bool make_folder(session *s)
{
    const train_options *chosen = s->chosen;
    const char *name = chosen->name ? chosen->name : s->classifier->bound.architecture->name;
    if (!chosen->out) {
        s->folder =
            chosen->dry_run ? cr_string_format("runs/%s-...", name) : make_run_folder("runs", name);
        return s->folder != NULL;
    }
    if (is_run_folder(chosen->out)) {
        cr_error_set(CR_ERROR_STATE,
                     "%s already holds a run; go on with --resume %s, or choose "
                     "another --out",
                     chosen->out, chosen->out);
        return false;
    }
    s->folder = cr_string_copy(chosen->out);
    return s->folder && (chosen->dry_run || cr_folder_make(s->folder) == CR_OK);
}

static bool set_up(session *s)
{
    const train_options *chosen = s->chosen;
    cr_set_num_threads((int)chosen->threads);
    if (!training_data_open(&s->data, chosen->data, chosen->validation, (uint64_t)chosen->seed))
        return false;
    if (chosen->resume) {
        s->folder = cr_string_copy(chosen->resume);
        return s->folder && make_classifier(s);
    }
    return make_classifier(s) && make_folder(s);
}

static void tear_down(session *s)
{
    cr_classifier_free(s->classifier);
    training_data_close(&s->data);
    cr_free(s->folder);
    cr_free(s->rates);
    cr_frame_end_all();
}

/* --- The run -------------------------------------------------------------------------------- */

/* The settings as args.json keeps them, without those that belong to this call alone: given back to
 * --config they start the same run anew. NULL if out of memory. */
static char *lasting_arguments(const session *s)
{
    static const char *const passing[] = { "resume", "out",     "dry-run",       "quiet",
                                           "json",   "profile", "profile-steps", "profile-trace" };
    json_t *object = arguments_to_json(s->args);
    for (int i = 0; i < COUNT_OF(passing); i++)
        json_object_del(object, passing[i]);
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(object);
    return text;
}

static cr_status train(session *s, training_view *view, cr_train_result *result)
{
    const train_options *chosen = s->chosen;
    char *text = lasting_arguments(s);
    cr_train_run run = {
        .folder = s->folder,
        .arguments = text,
        .resume = s->goes_on,
        .save_seconds = chosen->save_seconds > 0 ? chosen->save_seconds : -1,
    };
    cr_status status = CR_ERROR_IO;
    if (training_view_connect(view, &run, chosen->events) && profiling_begin(&chosen->profile, 1))
        status =
            cr_train(s->classifier, s->data.train, s->data.validation, s->settings, run, result);
    training_view_end(view);
    free(text);
    return status;
}

/* Ends a run that did not come to its end. */
static int stopped(const session *s)
{
    if (cr_error_status() != CR_ERROR_INTERRUPTED) {
        rmdir(s->folder); /* only if nothing was written to it */
        return library_failure(s->args->command);
    }
    cr_error_clear();
    failure(s->args->command, "interrupted and saved; go on with: cresset train --resume %s",
            s->folder);
    return STATUS_INTERRUPTED;
}

static int run_session(session *s)
{
    const train_options *chosen = s->chosen;
    training_view view;
    cr_train_result result = { 0 };
    training_view_begin(&view, s->classifier, &s->settings, &s->data, s->folder, s->goes_on,
                        chosen->quiet || chosen->json);
    if (chosen->dry_run)
        return STATUS_DONE;
    int status = STATUS_DONE;
    json_t *profile = NULL;
    if (train(s, &view, &result) != CR_OK) {
        status = stopped(s);
    } else if (!profiling_end(&chosen->profile, s->folder, stdout,
                              chosen->json ? &profile : NULL)) {
        status = library_failure(s->args->command);
    } else {
        run_outcome outcome = { .args = s->args,
                                .folder = s->folder,
                                .data = &s->data,
                                .result = &result,
                                .seed = (uint64_t)chosen->seed,
                                .precision = s->settings.autocast,
                                .report = chosen->report,
                                .quiet = chosen->quiet,
                                .json = chosen->json,
                                .profile = profile };
        status = finish_run(&outcome);
    }
    cr_train_result_free(&result);
    return status;
}

static int run_with(const arguments *args)
{
    session s = { .args = args, .chosen = args->settings };
    if (!check_options(args))
        return STATUS_USAGE;
    if (s.chosen->rates)
        s.rates = cr_string_copy(s.chosen->rates);
    if (!translate(s.chosen, s.rates, &s.transforms, &s.settings)) {
        library_failure(args->command);
        cr_free(s.rates);
        return STATUS_USAGE;
    }
    interrupt_watch();
    int status = set_up(&s) ? run_session(&s) : library_failure(args->command);
    tear_down(&s);
    return status;
}

/* --- Resuming ------------------------------------------------------------------------------- */

static bool is_free_on_resume(const char *name)
{
    for (int i = 0; i < COUNT_OF(free_on_resume); i++)
        if (strcmp(free_on_resume[i], name) == 0)
            return true;
    return false;
}

/* The settings of the run, with what may differ taken from the command line. */
static int resume(const arguments *args)
{
    const char *folder = ((const train_options *)args->settings)->resume;
    for (int i = 0; i < args->command->option_count; i++) {
        const char *name = args->command->options[i].name;
        if (args->sources[i] != FROM_DEFAULT && !is_free_on_resume(name))
            return usage_error(args->command,
                               "--resume goes on with the run's own settings: leave "
                               "--%s out",
                               name);
    }
    char *path = cr_path_join(folder, "args.json");
    if (!path)
        return library_failure(args->command);
    if (!cr_file_exists(path)) {
        cr_free(path);
        return failure(args->command, "%s is not a run directory: it has no args.json", folder);
    }
    arguments settled;
    int status = STATUS_USAGE;
    if (arguments_parse_over(&settled, args->command, args->word_count, args->words, path))
        status = run_with(&settled);
    arguments_free(&settled);
    cr_free(path);
    return status;
}

static int list_transforms(void)
{
    cr_text text = { 0 };
    for (int i = 0; cr_transform_type_at(i); i++) {
        const cr_transform_type *type = cr_transform_type_at(i);
        append_transform(&text, type);
        cr_text_printf(&text, "\n    %s\n", type->about);
    }
    printf("%s", text.data ? text.data : "");
    cr_text_free(&text);
    return STATUS_DONE;
}

static int run(const arguments *args)
{
    const train_options *chosen = args->settings;
    if (chosen->transforms)
        return list_transforms();
    return chosen->resume ? resume(args) : run_with(args);
}

const cli_command train_command = {
    .name = "train",
    .summary = "Train or fine-tune a classifier of images",
    .operands = "--data DATA",
    .description =
        "Trains a model on a data set, keeps the weights of the epoch with the best validation "
        "accuracy, evaluates them on the test samples and writes a report.\n\nEverything about a "
        "run stands in its run directory, by default runs/MODEL-001 and counting up: args.json, "
        "metrics.csv, log.txt, weights/best.safetensors, weights/last.safetensors, report.html, "
        "plots/ and events for TensorBoard. Ctrl-C saves and says how to go on.\n\nThe changes of "
        "--augment are joined by commas; their parameters stand after colons, by position or by "
        "name, and may be left out: flip,rotate:10,jitter:0.2:hue=0.1. Those of --preprocess are "
        "kept with the model, so that prediction prepares pictures as evaluation did.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = options,
    .option_count = COUNT_OF(options),
    .settings_size = sizeof(train_options),
    .takes_config = true,
    .run = run,
};
