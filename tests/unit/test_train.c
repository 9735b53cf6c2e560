/* The training loop on a small made-up set: it learns, it resumes bit for bit, the number of
 * threads and workers does not matter, and when memory runs out it fails cleanly. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cresset/cresset.h"

#define SAMPLES 96
#define SIDE    8
#define CLASSES 3

static char folder[] = "/tmp/cresset-train-XXXXXX";

static bool several_labels; /* of a sample: also the class before its own */

/* Class c has a bright row c among noise. */
static cr_dataset *make_data(uint64_t seed)
{
    static uint8_t pixels[SAMPLES * SIDE * SIDE];
    static int64_t labels[SAMPLES];
    static float marks[SAMPLES * CLASSES];
    cr_generator generator = cr_generator_make(seed, 0);
    for (int i = 0; i < SAMPLES; i++) {
        labels[i] = i % CLASSES;
        for (int c = 0; c < CLASSES; c++)
            marks[i * CLASSES + c] = c == labels[i] || c + 1 == labels[i];
        for (int p = 0; p < SIDE * SIDE; p++) {
            uint8_t noise = (uint8_t)cr_random_below(&generator, 100);
            pixels[i * SIDE * SIDE + p] = (uint8_t)(noise + (p / SIDE == labels[i] * 2 ? 120 : 0));
        }
    }
    cr_frame frame = cr_frame_begin();
    cr_tensor *samples = cr_from_buffer(pixels, CR_SHAPE(SAMPLES, 1, SIDE, SIDE), CR_U8);
    cr_dataset *set =
        several_labels
            ? cr_dataset_from_tensors(
                  samples, .targets = cr_from_buffer(marks, CR_SHAPE(SAMPLES, CLASSES), CR_F32))
            : cr_dataset_from_tensors(samples,
                                      .labels = cr_from_buffer(labels, CR_SHAPE(SAMPLES), CR_I64),
                                      .class_count = CLASSES);
    cr_frame_end(frame);
    return set;
}

static cr_train_settings make_settings(void)
{
    cr_train_settings settings = cr_train_defaults();
    settings.epochs = 3;
    settings.batch_size = 10; /* the last batch of an epoch is not full */
    settings.optimizer.lr = 0.01;
    settings.seed = 5;
    settings.workers = 1;
    settings.ema_decay = 0.9;
    settings.clip_norm = 5;
    settings.accumulate = 3;
    settings.warmup_epochs = 0.5;
    settings.schedule = CR_TRAIN_ONE_CYCLE;
    cr_transform_parse("flip:0.3,shift:0.1", &settings.augment);
    return settings;
}

static cr_classifier *make_net(cr_dataset *data)
{
    return cr_classifier_new("convnet", .data = data, .seed = 3,
                             .settings = { .width = 4, .dropout = 0.2 });
}

/* All weights, one after the other. */
static float *weights_of(const cr_classifier *net, size_t *count)
{
    float *all = NULL;
    *count = 0;
    for (int i = 0; i < cr_model_tensor_count(net->model); i++) {
        cr_named_tensor named = cr_model_tensor_at(net->model, i);
        size_t more = (size_t)cr_numel(named.tensor);
        if (cr_dtype_of(named.tensor) != CR_F32)
            continue;
        all = realloc(all, (*count + more) * sizeof *all);
        assert_non_null(all);
        assert_int_equal(cr_to_buffer(named.tensor, all + *count, more * sizeof *all), CR_OK);
        *count += more;
    }
    return all;
}

static int stop_at;
static cr_dtype autocast = CR_F32;
static bool checkpoints;
static bool mixes;
static bool averages; /* over epochs, and parts of the model that join one after the other */

/* Samples mixed in both ways, weighted classes, and parts with rates of their own. */
static void make_mixed(cr_train_settings *settings)
{
    settings->mixup = 0.2;
    settings->cutmix = 1;
    settings->weighted_classes = true;
    settings->rates[0] = (cr_train_rate){ "stage1", 0 };
    settings->rates[1] = (cr_train_rate){ "stage2.*", 0.5 };
    settings->rate_count = 2;
}

static bool stops(void *context)
{
    int *steps = context;
    return ++*steps == stop_at;
}

struct outcome {
    float *weights;
    size_t count;
    double accuracy;
    int64_t epochs;
};

/* Trains in a folder, stopping every `stop` steps and going on from there. */
static struct outcome train(const char *name, int stop, int threads, int workers)
{
    struct outcome outcome = { 0 };
    cr_dataset *data = make_data(1);
    cr_dataset *test = make_data(2);
    cr_train_settings settings = make_settings();
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    settings.workers = workers;
    settings.autocast = autocast;
    settings.checkpoint_activations = checkpoints;
    if (mixes)
        make_mixed(&settings);
    if (averages) {
        settings.ema_decay = 0;
        settings.swa_start = 2;
        settings.swa_lr = 0.02;
        settings.unfreeze_every = 1;
    }
    cr_set_num_threads(threads);
    cr_status status = CR_ERROR_INTERRUPTED;
    for (int round = 0; status == CR_ERROR_INTERRUPTED; round++) {
        int steps = 0;
        stop_at = stop;
        cr_classifier *net = make_net(data);
        cr_train_result result;
        cr_train_run run = { .folder = path,
                             .resume = round > 0,
                             .context = &steps,
                             .should_stop = stop ? stops : NULL };
        status = cr_train(net, data, test, settings, run, &result);
        if (status == CR_ERROR_INTERRUPTED)
            cr_error_clear();
        assert_string_equal(cr_error_message(), "");
        free(outcome.weights);
        outcome.weights = weights_of(net, &outcome.count);
        outcome.epochs = result.count;
        if (result.count)
            outcome.accuracy = result.epochs[result.count - 1].validation_accuracy;
        if (status == CR_OK)
            assert_int_equal(result.averaged, averages);
        cr_train_result_free(&result);
        cr_classifier_free(net);
        assert_true(round < 100);
    }
    cr_set_num_threads(0);
    cr_dataset_free(data);
    cr_dataset_free(test);
    return outcome;
}

static void assert_same(const struct outcome *a, const struct outcome *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->weights, b->weights, a->count * sizeof(float));
    assert_int_equal(a->epochs, b->epochs);
}

static void test_same_bits(void **state)
{
    (void)state;
    struct outcome plain = train("plain", 0, 1, 0);
    struct outcome threads = train("threads", 0, 2, 3);
    struct outcome stopped = train("stopped", 2, 2, 1);
    checkpoints = true;
    struct outcome again = train("checkpoints", 2, 2, 1);
    checkpoints = false;
    assert_int_equal(plain.epochs, 3);
    assert_true(plain.accuracy > 0.6);
    assert_same(&plain, &threads);
    assert_same(&plain, &stopped);
    assert_same(&plain, &again);
    free(again.weights);
    free(plain.weights);
    free(threads.weights);
    free(stopped.weights);
}

/* In bfloat16, and in float16 with its scaler, which is saved too. */
static void test_same_bits_in_halves(void **state)
{
    (void)state;
    static const cr_dtype halves[] = { CR_BF16, CR_F16 };
    for (int i = 0; i < 2; i++) {
        char path[200];
        autocast = halves[i];
        snprintf(path, sizeof path, "half-%d-plain", i);
        struct outcome plain = train(path, 0, 1, 0);
        snprintf(path, sizeof path, "half-%d-stopped", i);
        struct outcome stopped = train(path, 2, 2, 1);
        assert_true(plain.accuracy > 0.6);
        assert_same(&plain, &stopped);
        free(plain.weights);
        free(stopped.weights);
    }
    autocast = CR_F32;
}

static void test_files(void **state)
{
    (void)state;
    char path[200];
    struct outcome outcome = train("files", 0, 1, 1);
    free(outcome.weights);
    snprintf(path, sizeof path, "%s/files", folder);
    cr_classifier *net = cr_classifier_load(path);
    assert_non_null(net);
    assert_string_equal(net->bound.architecture->name, "convnet");
    assert_int_equal(net->class_count, CLASSES);
    cr_dataset *test = make_data(2);
    cr_evaluation evaluation;
    assert_int_equal(cr_evaluate(net, test, (cr_evaluate_args){ 0 }, &evaluation), CR_OK);
    assert_int_equal(evaluation.count, SAMPLES);
    assert_true(evaluation.accuracy > 0.6);
    cr_evaluation_free(&evaluation);
    cr_dataset_free(test);
    cr_classifier_free(net);
    snprintf(path, sizeof path, "%s/files/metrics.csv", folder);
    char *table = cr_file_read(path, 0, NULL);
    assert_non_null(table);
    assert_non_null(strstr(table, "\n3,"));
    cr_free(table);
    snprintf(path, sizeof path, "%s/files/args.json", folder);
    assert_true(cr_file_exists(path));
}

static void test_refusals(void **state)
{
    (void)state;
    cr_dataset *data = make_data(1);
    cr_classifier *net = make_net(data);
    cr_train_settings settings = make_settings();
    cr_train_result result;
    settings.epochs = 0;
    assert_int_equal(cr_train(net, data, NULL, settings, (cr_train_run){ 0 }, &result),
                     CR_ERROR_ARGUMENT);
    assert_non_null(strstr(cr_error_message(), "epochs"));
    cr_error_clear();
    cr_train_result_free(&result);
    settings = make_settings();
    settings.optimizer = cr_optim_defaults(CR_OPTIM_SGD);
    settings.optimizer.lr = 1e30;
    settings.clip_norm = 0;
    settings.ema_decay = 0;
    assert_int_equal(cr_train(net, data, NULL, settings, (cr_train_run){ 0 }, &result),
                     CR_ERROR_NUMERIC);
    assert_non_null(strstr(cr_error_message(), "learning rate"));
    cr_error_clear();
    cr_train_result_free(&result);
    cr_classifier_free(net);
    assert_null(cr_classifier_load("/nonexistent"));
    assert_non_null(strstr(cr_error_message(), "/nonexistent"));
    cr_error_clear();
    assert_null(cr_classifier_new("convnett", .data = data));
    assert_non_null(strstr(cr_error_message(), "did you mean \"convnet\""));
    cr_error_clear();
    cr_dataset_free(data);
}

/* One epoch and an evaluation, with everything freed afterwards; true if it all went well. */
static bool small_run(const char *path)
{
    cr_dataset *data = make_data(1);
    cr_classifier *net = data ? make_net(data) : NULL;
    cr_train_settings settings = make_settings();
    cr_train_result result = { 0 };
    settings.epochs = 1;
    settings.workers = 0;
    settings.batch_size = 48;
    if (net)
        cr_train(net, data, data, settings, (cr_train_run){ .folder = path }, &result);
    cr_train_result_free(&result);
    cr_classifier_free(net);
    cr_dataset_free(data);
    cr_frame_end_all();
    return !cr_failed();
}

static void test_every_allocation(void **state)
{
    (void)state;
    char path[200];
    snprintf(path, sizeof path, "%s/memory", folder);
    cr_set_num_threads(1);
    assert_true(small_run(path)); /* whatever is kept for good is made here */
    cr_memory_fail_after(-1);
    assert_true(small_run(path));
    uint64_t all = cr_memory_fail_after(-1);
    assert_true(all > 500);
    cr_memory_stats before = cr_memory_get_stats();
    for (uint64_t i = 0; i < all; i++) {
        cr_memory_fail_after((int64_t)i);
        bool went_well = small_run(path);
        cr_memory_fail_after(-1);
        /* The log is written as far as it goes, and so its failures pass. */
        if (!went_well)
            assert_int_equal(cr_error_status(), CR_ERROR_MEMORY);
        cr_error_clear();
        cr_memory_stats after = cr_memory_get_stats();
        if (after.small != before.small || after.in_use != before.in_use)
            fail_msg("allocation %llu of %llu: %llu blocks and %zu bytes are left",
                     (unsigned long long)i, (unsigned long long)all,
                     (unsigned long long)(after.small - before.small),
                     after.in_use - before.in_use);
    }
    print_message("failed each of %llu allocations in turn\n", (unsigned long long)all);
    cr_set_num_threads(0);
}

static void test_same_bits_when_mixed(void **state)
{
    (void)state;
    mixes = true;
    struct outcome once = train("mixed", 0, 1, 0);
    struct outcome stopped = train("mixed_in_parts", 2, 2, 2);
    mixes = false;
    struct outcome plain = train("not_mixed", 0, 2, 1);
    assert_int_equal(once.count, stopped.count);
    assert_memory_equal(once.weights, stopped.weights, once.count * sizeof *once.weights);
    assert_memory_not_equal(once.weights, plain.weights, once.count * sizeof *once.weights);
    assert_true(once.accuracy > 0.5);
    free(once.weights);
    free(stopped.weights);
    free(plain.weights);
}

static void test_same_bits_when_averaged(void **state)
{
    (void)state;
    averages = true;
    struct outcome once = train("averaged", 0, 1, 0);
    struct outcome stopped = train("averaged_in_parts", 2, 2, 2);
    struct outcome again = train("averaged_again", 5, 2, 1);
    averages = false;
    assert_same(&once, &stopped);
    assert_same(&once, &again);
    free(once.weights);
    free(stopped.weights);
    free(again.weights);
}

/* Labels by themselves, mixed and weighted; the thresholds are saved with the weights. */
static void test_same_bits_of_several_labels(void **state)
{
    (void)state;
    several_labels = mixes = true;
    struct outcome once = train("several", 0, 1, 0);
    struct outcome stopped = train("several_in_parts", 2, 2, 2);
    several_labels = mixes = false;
    assert_same(&once, &stopped);
    assert_true(once.accuracy > 0.6);
    char path[200];
    snprintf(path, sizeof path, "%s/several", folder);
    cr_classifier *net = cr_classifier_load(path);
    assert_non_null(net);
    assert_true(net->has_several_labels);
    assert_non_null(net->thresholds);
    for (int c = 0; c < CLASSES; c++)
        assert_true(net->thresholds[c] > 0 && net->thresholds[c] < 1);
    cr_classifier_free(net);
    free(once.weights);
    free(stopped.weights);
}

/* Of what finetune_depth leaves out nothing changes, not even by weight decay. */
static void test_finetune_depth(void **state)
{
    (void)state;
    cr_dataset *data = make_data(1);
    cr_classifier *net = make_net(data), *before = make_net(data);
    char *parts = cr_train_parts(net->model);
    assert_non_null(parts);
    const char *last = strrchr(parts, ' ') + 1;
    size_t length = strlen(last);
    cr_train_settings settings = make_settings();
    settings.finetune_depth = 1;
    settings.ema_decay = 0;
    cr_train_result result;
    assert_int_equal(cr_train(net, data, NULL, settings, (cr_train_run){ 0 }, &result), CR_OK);
    cr_train_result_free(&result);
    int same = 0, other = 0;
    for (int i = 0; i < cr_model_tensor_count(net->model); i++) {
        cr_named_tensor a = cr_model_tensor_at(net->model, i);
        cr_named_tensor b = cr_model_tensor_at(before->model, i);
        if (a.is_buffer)
            continue;
        assert_true(cr_requires_grad(a.tensor));
        bool equal = memcmp(cr_data(a.tensor), cr_data(b.tensor),
                            (size_t)cr_numel(a.tensor) * sizeof(float)) == 0;
        assert_int_equal(!equal, strncmp(a.name, last, length) == 0 && a.name[length] == '.');
        same += equal;
        other += !equal;
    }
    assert_true(same > 0 && other > 0);
    cr_free(parts);
    cr_classifier_free(net);
    cr_classifier_free(before);
    cr_dataset_free(data);
}

/* The parts of larger models: blocks, where one name holds most of the parameters. */
static void test_parts(void **state)
{
    (void)state;
    static const char *const wanted[][2] = {
        { "resnet18", "conv1 bn1 layer1 layer2 layer3 layer4 fc" },
        { "squeezenet1_1", "features.0 features.3 features.4 features.6 features.7 features.9 "
                           "features.10 features.11 features.12 classifier" },
    };
    cr_dataset *data = make_data(1);
    for (int i = 0; i < 2; i++) {
        cr_transform_list resize = { 0 };
        cr_transform_parse("resize:64:64", &resize);
        cr_classifier *net = cr_classifier_new(wanted[i][0], .data = data, .transforms = &resize);
        assert_non_null(net);
        char *parts = cr_train_parts(net->model);
        assert_string_equal(parts, wanted[i][1]);
        cr_free(parts);
        cr_classifier_free(net);
    }
    cr_dataset_free(data);
}

static void test_find_lr(void **state)
{
    (void)state;
    cr_dataset *data = make_data(1);
    cr_classifier *net = make_net(data);
    cr_lr_curve curve;
    assert_int_equal(cr_find_lr(net, data, make_settings(),
                                (cr_find_lr_args){ .lowest = 1e-4, .highest = 100, .steps = 40 },
                                &curve),
                     CR_OK);
    assert_true(curve.count > 10 && curve.count <= 40);
    double factor = pow(1e6, 1 / 39.0);
    for (int64_t i = 0; i < curve.count; i++)
        assert_true(fabs(curve.rate[i] / (1e-4 * pow(factor, (double)i)) - 1) < 1e-6);
    assert_true(curve.smoothed[curve.count - 1] > curve.smoothed[0]); /* it diverges */
    assert_true(curve.lowest > 1e-3 && curve.lowest < 10);
    assert_true(fabs(curve.suggested - curve.lowest / 10) < 1e-12);
    cr_lr_curve_free(&curve);
    assert_int_equal(
        cr_find_lr(net, data, make_settings(), (cr_find_lr_args){ .steps = 1 }, &curve),
        CR_ERROR_ARGUMENT);
    cr_error_clear();
    cr_classifier_free(net);
    cr_dataset_free(data);
}

/* A part whose rate is 0 stays as it was; a name that nothing has is an error. */
static void test_rates(void **state)
{
    (void)state;
    cr_dataset *data = make_data(1);
    cr_classifier *net = make_net(data), *before = make_net(data);
    cr_train_settings settings = make_settings();
    settings.ema_decay = 0;
    make_mixed(&settings);
    cr_train_result result;
    assert_int_equal(cr_train(net, data, NULL, settings, (cr_train_run){ 0 }, &result), CR_OK);
    cr_train_result_free(&result);
    int same = 0, other = 0;
    for (int i = 0; i < cr_model_tensor_count(net->model); i++) {
        cr_named_tensor a = cr_model_tensor_at(net->model, i);
        cr_named_tensor b = cr_model_tensor_at(before->model, i);
        if (a.is_buffer)
            continue;
        bool equal = memcmp(cr_data(a.tensor), cr_data(b.tensor),
                            (size_t)cr_numel(a.tensor) * sizeof(float)) == 0;
        assert_int_equal(equal, strncmp(a.name, "stage1.", 7) == 0);
        same += equal;
        other += !equal;
    }
    assert_true(same > 0 && other > 0);
    settings.rates[0].pattern = "stage9";
    assert_int_equal(cr_train(net, data, NULL, settings, (cr_train_run){ 0 }, &result),
                     CR_ERROR_ARGUMENT);
    assert_non_null(strstr(cr_error_message(), "stage9, which no parameter is called"));
    cr_error_clear();
    cr_train_result_free(&result);
    cr_classifier_free(net);
    cr_classifier_free(before);
    cr_dataset_free(data);
}

static void test_head(void **state)
{
    (void)state;
    cr_dataset *data = make_data(1);
    cr_classifier *net = cr_classifier_new(
        "resnet18", .data = data, .settings = { .head = 12, .dropout = 0.5, .small_stem = true },
        .normalization = CR_NORMALIZE_NONE);
    assert_int_equal(net->transforms.count, 0);
    cr_shape hidden = cr_shape_of(cr_model_find(net->model, "fc.0.weight"));
    cr_shape last = cr_shape_of(cr_model_find(net->model, "fc.3.weight"));
    const cr_shape wanted[] = { CR_SHAPE(12, 512), CR_SHAPE(CLASSES, 12) };
    assert_true(cr_shape_equal(&hidden, &wanted[0]) && cr_shape_equal(&last, &wanted[1]));
    char path[200];
    snprintf(path, sizeof path, "%s/head.safetensors", folder);
    assert_int_equal(cr_classifier_save(net, path), CR_OK);
    cr_classifier_free(net);
    net = cr_classifier_load(path);
    assert_non_null(net);
    assert_int_equal(net->bound.settings.head, 12);
    cr_classifier_free(net);
    assert_null(
        cr_classifier_new("resnet18", .data = data, .normalization = CR_NORMALIZE_IMAGENET));
    assert_non_null(strstr(cr_error_message(), "of 3 channels"));
    cr_error_clear();
    cr_dataset_free(data);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_same_bits_in_halves),
        cmocka_unit_test(test_same_bits_when_mixed),
        cmocka_unit_test(test_same_bits_when_averaged),
        cmocka_unit_test(test_same_bits_of_several_labels),
        cmocka_unit_test(test_finetune_depth),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_find_lr),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_every_allocation),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
