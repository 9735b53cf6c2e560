/* `cresset pretrain`: an encoder that learns from pictures without labels. A run is one of
 * cr_train, with the files and the view of `cresset train`, and gives weights for its --weights. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/thread.h"

#define DATA      "Data"
#define MODEL     "Model"
#define METHOD    "Method"
#define TRAINING  "Training"
#define RUN       "Run"
#define LARGE     "random_resized_crop:%lld:%lld:min=0.2,flip,"
#define IN_COLOUR LARGE "jitter:0.4:0.4:0.4:0.1,random_grayscale:0.2"
#define IN_GREY   LARGE "jitter:0.4:0.4"

typedef struct pretrain_options {
    train_options train; /* first: what is shared with train reads it */
    const char *method;
} pretrain_options;

static const char *const method_names[] = { "moco", "simclr" };

static const char *method_words(int index)
{
    return index < COUNT_OF(method_names) ? method_names[index] : NULL;
}

static const char *schedule_words(int index)
{
    return index < (int)CR_TRAIN_SCHEDULE_COUNT ? cr_train_schedule_name((cr_train_schedule)index)
                                                : NULL;
}

#define OF(field) train.field

static const cli_option options[] = {
    { "data", 'd', DATA, FOLDER_PATH(pretrain_options, OF(data)), "DATA", NULL,
      "the pictures: a data set, or a folder that has any at whatever depth" },
    { "validation", 0, DATA, REAL(pretrain_options, OF(validation), 0, 0.9), "X", "0.05",
      "share of the samples held out to judge by nearest neighbours, where there are classes and "
      "no "
      "part to validate" },
    { "resize", 0, DATA, INTEGER(pretrain_options, OF(resize), 1, CR_IMAGE_MAX_SIDE), "N", NULL,
      "first the shorter side of each picture becomes N pixels" },
    { "crop", 0, DATA, TEXT(pretrain_options, OF(crop)), "center:N", NULL,
      "then the middle N x N pixels are cut out, or center:HEIGHT:WIDTH" },
    { "preprocess", 0, DATA, TEXT(pretrain_options, OF(preprocess)), "LIST", NULL,
      "then these transforms; cresset train --transforms lists all" },
    { "normalize", 0, DATA, CHOICE(pretrain_options, OF(normalize), normalize_words), "WORD",
      "auto", "the channels' means and deviations: auto measures the samples" },
    { "augment", 'a', DATA, TEXT(pretrain_options, OF(augment)), "LIST", NULL,
      "the random changes that make a view [MoCo v2's: a random crop, resized, flips, colours]" },
    { "samples-per-epoch", 0, DATA,
      INTEGER(pretrain_options, OF(train.samples_per_epoch), 0, INT32_MAX), "N", "0",
      "samples in an epoch; 0 is all" },
    { "workers", 'j', DATA, INTEGER(pretrain_options, OF(workers), 0, 256), "N", "2",
      "threads that prepare batches; results do not depend on it" },

    { "model", 'm', MODEL, CHOICE(pretrain_options, OF(architecture), architecture_words), "NAME",
      "resnet18", "the model, whose last layer is left out" },
    MODEL_OPTIONS(pretrain_options, OF(model), MODEL),

    { "method", 0, METHOD, CHOICE(pretrain_options, method, method_words), "NAME", "moco",
      "moco: MoCo v2, with a queue and a momentum encoder; simclr: NT-Xent within the batch" },
    { "temperature", 0, METHOD, REAL(pretrain_options, OF(train.contrast.temperature), 0, 1000),
      "X", "0", "what products are divided by; 0 is 0.2 for moco, 0.5 for simclr" },
    { "queue", 0, METHOD, INTEGER(pretrain_options, OF(train.contrast.queue), 1, 1 << 24), "N",
      "4096", "moco: vectors that each sample is told apart from" },
    { "key-momentum", 0, METHOD, REAL(pretrain_options, OF(train.contrast.momentum), 0, 0.999999),
      "X", "0.999", "moco: how slowly the key encoder follows" },
    { "projection", 0, METHOD, INTEGER(pretrain_options, OF(train.contrast.dim), 1, 1 << 16), "N",
      "128", "numbers of a vector" },
    { "projection-hidden", 0, METHOD,
      INTEGER(pretrain_options, OF(train.contrast.hidden), 0, 1 << 16), "N", "0",
      "units of the layer between features and vectors; 0 is as many as features" },

    { "epochs", 'e', TRAINING, INTEGER(pretrain_options, OF(train.epochs), 1, 1000000), "N", "100",
      "passes over the samples" },
    { "batch-size", 'b', TRAINING, INTEGER(pretrain_options, OF(train.batch_size), 2, 1 << 20), "N",
      "256", "samples in a batch, each seen in two views" },
    { "optimizer", 'o', TRAINING, CHOICE(pretrain_options, OF(optimizer), optimizer_words), "NAME",
      "sgd", "what takes the steps" },
    { "lr", 'l', TRAINING, REAL(pretrain_options, OF(train.optimizer.lr), 0, 1e6), "X", "0.06",
      "learning rate" },
    { "momentum", 0, TRAINING, REAL(pretrain_options, OF(train.optimizer.momentum), 0, 1), "X",
      "0.9", "sgd, rmsprop: momentum" },
    { "weight-decay", 'w', TRAINING,
      REAL(pretrain_options, OF(train.optimizer.weight_decay), 0, 1e6), "X", "0.0005",
      "weight decay" },
    { "schedule", 0, TRAINING, CHOICE(pretrain_options, OF(schedule), schedule_words), "NAME",
      "cosine", "how the learning rate changes" },
    { "warmup-epochs", 0, TRAINING, REAL(pretrain_options, OF(train.warmup_epochs), 0, 1e6), "X",
      "0", "epochs in which the rate rises to its full height first" },
    { "clip-norm", 0, TRAINING, REAL(pretrain_options, OF(train.clip_norm), 0, 1e6), "X", "0",
      "largest norm of the gradients; 0 is no limit" },
    { "seed", 's', TRAINING, INTEGER(pretrain_options, OF(seed), 0, 1e18), "N", "0",
      "where random numbers begin; the same seed gives the same weights" },
    { "threads", 't', TRAINING, INTEGER(pretrain_options, OF(threads), 0, 1024), "N", "0",
      "threads to compute with, 0 for all; results do not depend on it" },
    PRECISION_OPTION(pretrain_options, OF(precision), TRAINING),

    { "out", 0, RUN, FOLDER_PATH(pretrain_options, OF(out)), "DIR", NULL,
      "the run directory [runs/MODEL-METHOD-001 and counting up]" },
    { "resume", 'r', RUN, FOLDER_PATH(pretrain_options, OF(resume)), "RUN", NULL,
      "go on with a run that was stopped, with its settings, as if it had not been" },
    { "save-seconds", 0, RUN, REAL(pretrain_options, OF(save_seconds), 0, 1e6), "X", "60",
      "save at least this often; 0 is after each epoch only" },
    { "events", 0, RUN, FLAG(pretrain_options, OF(events)), NULL, "true",
      "write no events for TensorBoard" },
    { "quiet", 'q', RUN, FLAG(pretrain_options, OF(quiet)), NULL, NULL, "print errors only" },
    { "json", 0, RUN, FLAG(pretrain_options, OF(json)), NULL, NULL,
      "print nothing but the result, in JSON" },
};

typedef struct session {
    const arguments *args;
    const pretrain_options *chosen;
    cr_train_settings settings;
    cr_transform_list transforms;
    training_data data;
    cr_classifier *encoder;
    char *folder;
} session;

/* --- Setting up ----------------------------------------------------------------------------- */

/* Data with classes is judged meanwhile by a part of it; of others all samples train. */
static bool open_samples(session *s)
{
    const train_options *chosen = &s->chosen->train;
    data_plan plan = { .name = chosen->data,
                       .validation = chosen->validation,
                       .seed = (uint64_t)chosen->seed };
    if (training_data_open(&s->data, &plan, NULL))
        return true;
    training_data_close(&s->data);
    cr_error_clear();
    s->data.name = chosen->data;
    s->data.train = open_unlabeled(chosen->data);
    return s->data.train != NULL;
}

/* MoCo v2's changes for pictures of the size that the encoder takes. */
static bool default_augment(session *s)
{
    const cr_shape *input = &s->encoder->input;
    const char *form = input->dim[0] == 3 ? IN_COLOUR : IN_GREY;
    char *text = cr_string_format(form, (long long)input->dim[1], (long long)input->dim[2]);
    bool good = text && cr_transform_parse(text, &s->settings.augment) == CR_OK;
    cr_free(text);
    return good;
}

static bool make_encoder(session *s)
{
    const train_options *chosen = &s->chosen->train;
    cr_model_settings model = chosen->model;
    model.no_head = true;
    s->encoder = cr_classifier_new(chosen->architecture, .data = s->data.train,
                                   .seed = (uint64_t)chosen->seed, .settings = model,
                                   .transforms = &s->transforms,
                                   .normalization = normalization_of(chosen->normalize));
    return s->encoder && (chosen->augment || default_augment(s));
}

static bool set_up(session *s)
{
    const train_options *chosen = &s->chosen->train;
    cr_set_num_threads((int)chosen->threads);
    if (!open_samples(s) || !make_encoder(s))
        return false;
    char *name = cr_string_format("%s-%s", chosen->architecture, s->chosen->method);
    if (chosen->resume)
        s->folder = cr_string_copy(chosen->resume);
    else if (name)
        s->folder = new_run_folder(chosen->out, name, false);
    cr_free(name);
    return s->folder != NULL;
}

static bool goes_on(const session *s)
{
    if (!s->chosen->train.resume)
        return false;
    char *saved = cr_path_join(s->folder, "weights/last.safetensors");
    bool found = saved && cr_file_exists(saved);
    cr_free(saved);
    return found;
}

static void tear_down(session *s)
{
    cr_classifier_free(s->encoder);
    training_data_close(&s->data);
    cr_free(s->folder);
    cr_frame_end_all();
}

/* --- The run -------------------------------------------------------------------------------- */

static int say_result(const session *s, const cr_train_result *result)
{
    const train_options *chosen = &s->chosen->train;
    const cr_train_epoch *best = NULL;
    for (int64_t i = 0; i < result->count; i++)
        if (result->epochs[i].epoch == result->best_epoch)
            best = &result->epochs[i];
    char *weights = cr_path_join(s->folder, "weights/best.safetensors");
    double loss = best ? best->train_loss : NAN;
    double accuracy = best ? best->validation_accuracy : NAN;
    if (chosen->json) {
        json_t *object = json_pack(
            "{s:s, s:s, s:I, s:o, s:o, s:f}", "run", s->folder, "weights", weights ? weights : "",
            "best_epoch", (json_int_t)result->best_epoch, "loss",
            isnan(loss) ? json_null() : json_real(loss), "neighbour_accuracy",
            isnan(accuracy) ? json_null() : json_real(accuracy), "seconds", result->seconds);
        json_dumpf(object, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(object);
    } else if (!chosen->quiet) {
        printf("\n");
        if (!isnan(accuracy))
            printf("nearest neighbours find the class of %.2f %% in epoch %lld, the best\n",
                   100 * accuracy, (long long)result->best_epoch);
        printf("go on with: cresset train --data DATA --model %s --weights %s\n",
               s->encoder->bound.architecture->name, weights ? weights : "");
    }
    cr_free(weights);
    return STATUS_DONE;
}

static int stopped(const session *s)
{
    if (cr_error_status() != CR_ERROR_INTERRUPTED) {
        rmdir(s->folder); /* only if nothing was written to it */
        return library_failure(s->args->command);
    }
    cr_error_clear();
    failure(s->args->command, "interrupted and saved; go on with: cresset pretrain --resume %s",
            s->folder);
    return STATUS_INTERRUPTED;
}

static int run_session(session *s)
{
    const train_options *chosen = &s->chosen->train;
    training_view view;
    cr_train_result result = { 0 };
    bool resumes = goes_on(s);
    char *text = run_arguments(s->args);
    training_view_begin(&view, s->encoder, &s->settings, &s->data, s->folder, resumes,
                        chosen->quiet || chosen->json);
    cr_train_run run = { .folder = s->folder,
                         .arguments = text,
                         .resume = resumes,
                         .save_seconds = chosen->save_seconds > 0 ? chosen->save_seconds : -1 };
    cr_status status = CR_ERROR_IO;
    if (training_view_connect(&view, &run, chosen->events))
        status = cr_train(s->encoder, s->data.train, s->data.validation, s->settings, run, &result);
    training_view_end(&view);
    int exit_status = status == CR_OK ? say_result(s, &result) : stopped(s);
    cr_train_result_free(&result);
    free(text);
    return exit_status;
}

/* What pretrain has no option for is as train has it without. */
static bool translate(session *s)
{
    train_options chosen = s->chosen->train;
    cr_optim_settings *optimizer = &chosen.train.optimizer;
    chosen.sampler = "random";
    optimizer->dampening = optimizer->beta1 = optimizer->beta2 = optimizer->eps = NAN;
    optimizer->alpha = optimizer->lr_decay = optimizer->rho = optimizer->momentum_decay = NAN;
    bool is_moco = strcmp(s->chosen->method, "moco") == 0;
    chosen.train.contrast.method = is_moco ? CR_CONTRAST_MOCO : CR_CONTRAST_SIMCLR;
    return train_options_translate(&chosen, NULL, &s->transforms, &s->settings);
}

static int run_with(const arguments *args)
{
    session s = { .args = args, .chosen = args->settings };
    if (!s.chosen->train.data)
        return usage_error(args->command, "--data is missing: cresset pretrain --data DATA");
    if (!translate(&s)) {
        library_failure(args->command);
        return STATUS_USAGE;
    }
    interrupt_watch();
    int status = set_up(&s) ? run_session(&s) : library_failure(args->command);
    tear_down(&s);
    return status;
}

static int run_pretrain(const arguments *args)
{
    const pretrain_options *chosen = args->settings;
    return chosen->train.resume ? resume_run(args, run_with) : run_with(args);
}

static const cli_example examples[] = {
    { "cresset pretrain --data fashion-mnist --model convnet --epochs 20",
      "MoCo v2 on the pictures of Debian's package dataset-fashion-mnist:" },
    { "cresset train --data fashion-mnist --labels 100 --model convnet --weights "
      "runs/convnet-moco-001/weights/best.safetensors",
      "Then a classifier with a hundred labels:" },
    { "cresset pretrain --data ./scans --model resnet18 --method simclr --resize 256 --crop "
      "center:224",
      "SimCLR on a folder of pictures of many sizes:" },
};

const cli_command pretrain_command = {
    .name = "pretrain",
    .summary = "Learn features from pictures without labels",
    .operands = "--data DATA",
    .description =
        "Trains a model to tell pictures apart, each seen in two randomly changed views, without "
        "looking at labels: by MoCo v2 or SimCLR. The weights are a start for cresset train "
        "--weights where labels are few; its last layer is new then, and the projection that "
        "pretraining adds is left out.\n\nThe columns of accuracy say how often a view finds its "
        "other among the rest and, where the data has classes, how often nearest neighbours (20 "
        "of up to 5,000 samples) find the class of those held out; the best epoch is the one of "
        "the most. The run directory is that of cresset train.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = options,
    .option_count = COUNT_OF(options),
    .settings_size = sizeof(pretrain_options),
    .takes_config = true,
    .run = run_pretrain,
};
