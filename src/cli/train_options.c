/* The options of `cresset train`: the table that parsing, the help, the settings file and the
 * manual are made from. What they mean for the training interface stands in training_settings.c. */
#include "cli.h"

#define DATA       "Data"
#define UNLABELED  "Pictures without labels"
#define MODEL      "Model"
#define TRAINING   "Training"
#define OPTIMIZER  "Optimiser"
#define SCHEDULE   "Learning-rate schedule"
#define REGULARITY "Regularisation"
#define RUN        "Run"

static const char *schedule_words(int index)
{
    return index < (int)CR_TRAIN_SCHEDULE_COUNT ? cr_train_schedule_name((cr_train_schedule)index)
                                                : NULL;
}

static const char *sampler_words(int index)
{
    static const char *const words[] = { "random", "balanced" };
    return index < COUNT_OF(words) ? words[index] : NULL;
}

static const char *broken_words(int index)
{
    static const char *const words[] = { "fatal", "skip" };
    return index < COUNT_OF(words) ? words[index] : NULL;
}

static const cli_option options[] = {
    { "data", 'd', DATA, FOLDER_PATH(train_options, data), "DATA", NULL,
      "the data set: a folder of idx files, or the name of one in /usr/share/datasets" },
    { "split", 0, DATA, TEXT(train_options, split), "A/B", NULL,
      "part all pictures anew: 0.75/0.25 to train and test, 0.7/0.15/0.15 with a part to validate; "
      "each class in this ratio" },
    { "group-by", 0, DATA, TEXT(train_options, group_by), "REGEX", NULL,
      "keep pictures together that belong together, such as a patient's: by what the first "
      "parenthesis finds in their paths; for --split, --validation and --folds" },
    { "label-by", 0, DATA, TEXT(train_options, label_by), "REGEX", NULL,
      "find the class in the path of a picture by the first parenthesis, instead of the "
      "subfolder" },
    { "broken", 0, DATA, CHOICE(train_options, broken, broken_words), "WORD", "fatal",
      "what a picture does that cannot be read: fatal ends the run and names it; skip reads all "
      "once at first and leaves it out, with a word in log and report" },
    { "validation", 0, DATA, REAL(train_options, validation, 0, 0.9), "X", "0.05",
      "share of the training samples held out to choose the best epoch; 0 chooses by the test "
      "samples" },
    { "folds", 0, DATA, INTEGER(train_options, folds, 0, 100), "K", "0",
      "cross-validation: part the training samples into K folds and train K models, each of which "
      "is validated on one fold; 0 is not" },
    { "fold", 0, DATA, INTEGER(train_options, fold, 0, 100), "N", "0",
      "train fold N of --folds alone; 0 is all, one after the other" },
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

    { "labels", 0, UNLABELED, INTEGER(train_options, labels, 0, INT32_MAX), "N", "0",
      "train on the labels of N samples only, of all classes equally many; 0 is all" },
    { "unlabeled", 0, UNLABELED, FOLDER_PATH(train_options, unlabeled), "DATA", NULL,
      "learn from these pictures, too, whose labels are not looked at (FixMatch): what the model "
      "is "
      "sure of when it sees one changed by --augment, it shall say of it changed strongly" },
    { "unlabeled-ratio", 0, UNLABELED, INTEGER(train_options, train.consistency.ratio, 1, 1000),
      "N", "7", "how many of them come with each sample of a batch" },
    { "unlabeled-weight", 0, UNLABELED, REAL(train_options, train.consistency.weight, 0, 1e6), "X",
      "1", "what their part of the loss is multiplied by" },
    { "confidence", 0, UNLABELED, REAL(train_options, train.consistency.threshold, 0, 1), "X",
      "0.95", "probability from which the model is sure" },
    { "strong-augment", 0, UNLABELED, TEXT(train_options, strong_augment), "LIST", NULL,
      "the strong changes [those of --augment, then randaugment:2:10]" },
    { "teacher", 0, UNLABELED, FLAG(train_options, train.consistency.teacher), NULL, NULL,
      "let the moving average of --ema say what they show, instead of the model" },

    { "model", 'm', MODEL,
      CHOICE_OR_FILE(train_options, architecture, architecture_words, IMPORTED_ENDING), "NAME",
      "convnet", "the model: an ONNX file (.onnx), or one" },
    MODEL_OPTIONS(train_options, model, MODEL),
    { "weights", 0, MODEL, FILE_PATH(train_options, weights), "FILE", NULL,
      "begin with the weights of a file (PyTorch's .pth, safetensors) as far as they fit: another "
      "last layer begins anew" },
    { "from", 'f', MODEL, FILE_PATH(train_options, from), "MODEL", NULL,
      "begin with the weights of a run or file (fine-tuning) instead of --model" },
    { "head", 0, MODEL, INTEGER(train_options, model.head, 1, 1 << 16), "N", NULL,
      "in place of the last layer a perceptron of N hidden units, with --dropout in it" },
    { "freeze", 0, MODEL, TEXT(train_options, freeze), "NAME,...", NULL,
      "leave the parameters of these names, and below them, as they are: layer1, or *.bn1.*" },
    { "finetune-depth", 0, MODEL, INTEGER(train_options, train.finetune_depth, 0, 100000), "N", "0",
      "train the last N parts of the model only, as --dry-run lists them; 0 is all" },
    { "unfreeze-every", 0, MODEL, INTEGER(train_options, train.unfreeze_every, 0, 1000000), "N",
      "0", "begin with the last part of the model and train one more every N epochs" },

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
    { "swa-start", 0, REGULARITY, INTEGER(train_options, train.swa_start, 0, 1000000), "N", "0",
      "average the weights at the ends of epochs N and later (SWA), renew batch norm's statistics "
      "and keep the average if it is the best; 0 is not" },
    { "swa-lr", 0, REGULARITY, REAL(train_options, train.swa_lr, 0, 1e6), "X", "0",
      "constant learning rate of the epochs that are averaged; 0 is the schedule's" },

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
    { "find-lr", 0, RUN, FLAG(train_options, find_lr), NULL, NULL,
      "instead of training, raise the learning rate step by step, draw the loss over it, and "
      "suggest one" },
    { "find-lr-steps", 0, RUN, INTEGER(train_options, find_lr_steps, 10, 100000), "N", "100",
      "steps of that" },
    { "show-batch", 0, RUN, FILE_PATH(train_options, show_batch), "FILE", NULL,
      "instead of training, draw the first batch with its random changes and labels to FILE.png" },
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
    .run = run_train,
};
