/* Retinal OCT scans told apart by a ResNet-34 that knows ImageNet: the last layer becomes a
 * perceptron, the layers below learn the slower the deeper they lie, and classes are drawn equally
 * often. Scans stand in train, val and test with a folder for each class; `cresset data make oct`
 * draws some to try it on. Without weights (or with "-") the network begins untrained.
 *
 *     cc -O2 oct_transfer.c $(pkg-config --cflags --libs cresset cresset-images) -o oct_transfer
 *     ./oct_transfer oct2017 runs/oct resnet34.pth [SIDE [EPOCHS [SAMPLES]]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cresset/cresset.h>
#include <cresset/image_sets.h>

static void show_epoch(const cr_train_epoch *epoch, void *context)
{
    (void)context;
    printf("epoch %lld: loss %.4f, accuracy %.1f %%; validation %.4f, %.1f %%; rate %g\n",
           (long long)epoch->epoch, epoch->train_loss, 100 * epoch->train_accuracy,
           epoch->validation_loss, 100 * epoch->validation_accuracy, epoch->lr);
}

/* The best weights on the test scans: report and confusion matrix (rows are the truth). */
static void show_test(const char *run, cr_dataset *test)
{
    cr_evaluation made = { 0 };
    int64_t matrix[16] = { 0 };
    cr_classifier *best = cr_classifier_load(run);
    if (best && cr_evaluate(best, test, (cr_evaluate_args){ .batch_size = 30 }, &made) == CR_OK) {
        cr_confusion_matrix_add(matrix, 4, made.truth, made.predicted, made.count);
        const char *const *names = (const char *const *)best->class_names;
        char *report = cr_classification_report(matrix, 4, names, NULL);
        printf("\n%s\n", report ? report : "");
        for (int i = 0; i < 16; i++)
            printf("%6lld%s", (long long)matrix[i], i % 4 == 3 ? "\n" : "");
        cr_free(report);
    }
    cr_evaluation_free(&made);
    cr_classifier_free(best);
}

static cr_train_settings settings_of_recipe(void)
{
    cr_train_settings settings = cr_train_defaults();
    settings.optimizer = cr_optim_defaults(CR_OPTIM_ADAM);
    settings.optimizer.lr = 0.004;
    settings.optimizer.weight_decay = 1e-5;
    settings.rates[0] = (cr_train_rate){ "layer4", 1 / 2.5 };
    settings.rates[1] = (cr_train_rate){ "layer3", 1 / 5.0 };
    settings.rates[2] = (cr_train_rate){ "layer2", 1 / 10.0 };
    settings.rates[3] = (cr_train_rate){ "layer1", 1 / 100.0 };
    settings.rate_count = 4;
    settings.schedule = CR_TRAIN_PLATEAU;
    settings.plateau_patience = 3;
    settings.epochs = 15;
    settings.batch_size = 30;
    settings.balanced = true;
    settings.samples_per_epoch = 4000;
    return settings;
}

int main(int count, char **words)
{
    const char *data = count > 1 ? words[1] : "oct2017", *run = count > 2 ? words[2] : "runs/oct";
    const char *weights = count > 3 ? words[3] : "-", *side = count > 4 ? words[4] : "490";
    cr_train_settings settings = settings_of_recipe();
    if (count > 5)
        settings.epochs = atoll(words[5]);
    if (count > 6)
        settings.samples_per_epoch = atoll(words[6]);

    cr_image_parts parts = { 0 };
    cr_transform_list crop = { 0 };
    char text[64];
    snprintf(text, sizeof text, "center_crop:%s", side);
    cr_transform_parse(text, &crop);
    cr_image_parts_open(data, .channels = 3, .parts = &parts);
    cr_classifier *net =
        cr_classifier_new("resnet34", .data = parts.train, .seed = 1,
                          .settings = { .head = 128, .dropout = 0.5 }, .transforms = &crop);
    const cr_load_options as_it_fits = { .partial = true, .ignore_mismatched = true };
    if (net && strcmp(weights, "-") != 0)
        cr_model_load(net->model, weights, &as_it_fits, NULL);

    cr_train_result result = { 0 };
    cr_train_run where = { .folder = run, .on_epoch = show_epoch };
    if (cr_train(net, parts.train, parts.validation, settings, where, &result) == CR_OK)
        show_test(run, parts.test);
    if (cr_failed())
        fprintf(stderr, "oct_transfer: %s\n", cr_error_message());

    cr_train_result_free(&result);
    cr_classifier_free(net);
    cr_image_parts_free(&parts);
    cr_frame_end_all();
    return cr_failed() ? 1 : 0;
}
