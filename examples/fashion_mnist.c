/* Trains a small convolutional net on Fashion-MNIST and reports how good it is: the job of
 * `cresset train`, written with the library.
 *
 *     cc -O2 fashion_mnist.c $(pkg-config --cflags --libs cresset) -o fashion_mnist
 *     ./fashion_mnist /usr/share/datasets/fashion-mnist runs/example 3 */
#include <stdio.h>
#include <stdlib.h>

#include <cresset/cresset.h>

static void show_epoch(const cr_train_epoch *epoch, void *context)
{
    (void)context;
    printf("epoch %lld: loss %.4f, test accuracy %.2f %%, %.0f s\n", (long long)epoch->epoch,
           epoch->train_loss, 100 * epoch->validation_accuracy, epoch->seconds);
}

static void show_report(cr_classifier *net, cr_dataset *test)
{
    cr_evaluation made;
    if (cr_evaluate(net, test, (cr_evaluate_args){ .workers = 1 }, &made) != CR_OK)
        return;
    int64_t matrix[100] = { 0 };
    cr_confusion_matrix_add(matrix, 10, made.truth, made.predicted, made.count);
    const char *const *names = (const char *const *)net->class_names;
    char *report = cr_classification_report(matrix, 10, names, NULL);
    printf("%s", report ? report : "");
    cr_free(report);
    cr_evaluation_free(&made);
}

int main(int count, char **words)
{
    const char *folder = count > 1 ? words[1] : "/usr/share/datasets/fashion-mnist";
    cr_dataset *train = cr_dataset_open_idx(folder, CR_SPLIT_TRAIN);
    cr_dataset *test = cr_dataset_open_idx(folder, CR_SPLIT_TEST);
    cr_classifier *net =
        cr_classifier_new("convnet", .data = train, .seed = 1, .settings.dropout = 0.1);

    cr_train_settings settings = cr_train_defaults();
    settings.epochs = count > 3 ? atoi(words[3]) : 3;
    settings.optimizer.lr = 0.01;
    settings.schedule = CR_TRAIN_ONE_CYCLE;
    settings.seed = 1;
    cr_transform_parse("flip", &settings.augment);

    cr_train_result result = { 0 };
    cr_train_run run = { .folder = count > 2 ? words[2] : NULL, .on_epoch = show_epoch };
    if (cr_train(net, train, test, settings, run, &result) == CR_OK)
        show_report(net, test);
    if (cr_failed())
        fprintf(stderr, "fashion_mnist: %s\n", cr_error_message());

    cr_train_result_free(&result);
    cr_classifier_free(net);
    cr_dataset_free(train);
    cr_dataset_free(test);
    cr_frame_end_all();
    return cr_failed() ? 1 : 0;
}
