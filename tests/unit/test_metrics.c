/* Classification metrics against values that scikit-learn gives, and degenerate inputs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "cresset/memory.h"
#include "cresset/metrics.h"

enum { SAMPLES = 10, CLASSES = 4 };

static const int64_t truth[SAMPLES] = { 0, 0, 0, 1, 1, 2, 2, 2, 2, 3 };
static const int64_t predicted[SAMPLES] = { 0, 0, 1, 1, 2, 2, 2, 0, 2, 2 };
static const char *const names[] = { "cat", "dog", "a very long class name", "bird", "never" };

#define assert_near(actual, expected)                                                              \
    do {                                                                                           \
        double near_actual = (actual);                                                             \
        double near_expected = (expected);                                                         \
        if (!(fabs(near_actual - near_expected) < 1e-12))                                          \
            fail_msg("%s is %.17g, not %.17g", #actual, near_actual, near_expected);               \
    } while (0)

static void count(int64_t *matrix, int64_t classes)
{
    memset(matrix, 0, (size_t)(classes * classes) * sizeof(*matrix));
    assert_int_equal(cr_confusion_matrix_add(matrix, classes, truth, predicted, 6), CR_OK);
    assert_int_equal(
        cr_confusion_matrix_add(matrix, classes, truth + 6, predicted + 6, SAMPLES - 6), CR_OK);
}

static void assert_error(const char *part)
{
    assert_true(cr_failed());
    if (strstr(cr_error_message(), part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", cr_error_message(), part);
    cr_error_clear();
}

static void matrix_adds_up_over_batches(void **state)
{
    (void)state;
    static const int64_t expected[CLASSES * CLASSES] = { 2, 1, 0, 0, 0, 1, 1, 0,
                                                         1, 0, 3, 0, 0, 0, 1, 0 };
    int64_t matrix[CLASSES * CLASSES];
    count(matrix, CLASSES);
    assert_memory_equal(matrix, expected, sizeof(expected));
}

static void matrix_refuses_labels_outside_and_keeps_its_counts(void **state)
{
    (void)state;
    int64_t matrix[CLASSES * CLASSES];
    int64_t before[CLASSES * CLASSES];
    const int64_t bad[2] = { 1, 4 };
    const int64_t good[2] = { 1, 3 };
    count(matrix, CLASSES);
    memcpy(before, matrix, sizeof(before));
    assert_int_equal(cr_confusion_matrix_add(matrix, CLASSES, bad, good, 2), CR_ERROR_ARGUMENT);
    assert_error("true label 4 of sample 1 is outside 0 to 3");
    assert_int_equal(cr_confusion_matrix_add(matrix, CLASSES, good, bad, 2), CR_ERROR_ARGUMENT);
    assert_error("predicted label 4");
    assert_int_equal(cr_confusion_matrix_add(matrix, 0, good, good, 2), CR_ERROR_ARGUMENT);
    assert_error("0 classes");
    assert_memory_equal(matrix, before, sizeof(before));
}

static void matrix_is_normalised_by_line_or_whole(void **state)
{
    (void)state;
    int64_t matrix[25];
    double out[25];
    count(matrix, 5); /* class 4 never occurs: its row and column stay 0 */
    assert_int_equal(cr_confusion_matrix_normalize(matrix, 5, CR_CONFUSION_BY_TRUE, out), CR_OK);
    assert_near(out[0], 2.0 / 3);
    assert_near(out[12], 0.75);
    assert_near(out[17], 1.0);
    assert_near(out[24], 0.0);
    assert_int_equal(cr_confusion_matrix_normalize(matrix, 5, CR_CONFUSION_BY_PRED, out), CR_OK);
    assert_near(out[1], 0.5);
    assert_near(out[7], 0.2);
    assert_near(out[24], 0.0);
    assert_int_equal(cr_confusion_matrix_normalize(matrix, 5, CR_CONFUSION_BY_ALL, out), CR_OK);
    assert_near(out[0], 0.2);
    assert_near(out[12], 0.3);
    assert_int_equal(cr_confusion_matrix_normalize(matrix, 5, CR_CONFUSION_COUNTS, out), CR_OK);
    assert_near(out[12], 3.0);
}

static void scores_equal_scikit_learn(void **state)
{
    (void)state;
    int64_t matrix[25];
    count(matrix, 5);
    assert_near(cr_accuracy_score(matrix, 5), 0.6);
    assert_near(cr_balanced_accuracy_score(matrix, 5), 0.47916666666666663);
    assert_near(cr_cohen_kappa_score(matrix, 5, CR_KAPPA_UNWEIGHTED), 0.4029850746268656);
    assert_near(cr_cohen_kappa_score(matrix, 5, CR_KAPPA_LINEAR), 0.5098039215686274);
    assert_near(cr_cohen_kappa_score(matrix, 5, CR_KAPPA_QUADRATIC), 0.6067415730337079);
    assert_near(cr_matthews_corrcoef(matrix, 5), 0.4098442999852685);
}

static void top_k_ranks_ties_by_falling_class(void **state)
{
    (void)state;
    static const float scores[] = { .5f, .2f, .2f,  .1f,  .2f,  .2f,  .5f, .1f, .1f, .4f,
                                    .4f, .1f, .25f, .25f, .25f, .25f, 0,   0,   0,   1 };
    static const int64_t labels[] = { 0, 1, 2, 0, 2 };
    assert_near(cr_top_k_accuracy_score(labels, scores, 5, 4, 1), 0.4);
    assert_near(cr_top_k_accuracy_score(labels, scores, 5, 4, 2), 0.8);
    assert_near(cr_top_k_accuracy_score(labels, scores, 5, 4, 3), 0.8);
    assert_near(cr_top_k_accuracy_score(labels, scores, 5, 4, 4), 1.0);
    assert_near(cr_top_k_accuracy_score(labels, scores, 5, 4, 9), 1.0);
}

static void top_k_with_nan_none_and_bad_arguments(void **state)
{
    (void)state;
    static const float scores[] = { .9f, NAN, .1f };
    const int64_t first = 0;
    const int64_t outside = 3;
    assert_near(cr_top_k_accuracy_score(&first, scores, 1, 3, 1), 0.0);
    assert_near(cr_top_k_accuracy_score(&first, scores, 1, 3, 2), 1.0);
    assert_true(isnan(cr_top_k_accuracy_score(&first, scores, 0, 3, 1)));
    assert_false(cr_failed());
    assert_true(isnan(cr_top_k_accuracy_score(&first, scores, 1, 3, 0)));
    assert_error("k = 0");
    assert_true(isnan(cr_top_k_accuracy_score(&outside, scores, 1, 3, 1)));
    assert_error("true label 3");
}

static void classes_and_averages(void **state)
{
    (void)state;
    int64_t matrix[25];
    cr_class_scores scores[5];
    cr_classification_averages averages;
    count(matrix, 5);
    assert_int_equal(cr_precision_recall_f1(matrix, 5, NULL, scores, &averages), CR_OK);
    assert_near(scores[2].precision, 0.6);
    assert_near(scores[2].recall, 0.75);
    assert_near(scores[2].f1, 2.0 / 3);
    assert_int_equal(scores[2].support, 4);
    assert_near(scores[3].precision, 0.0); /* never predicted */
    assert_near(scores[4].f1, 0.0);        /* never anything */
    assert_near(averages.macro.recall, (2.0 / 3 + 0.5 + 0.75) / 5);
    assert_near(averages.weighted.recall, 0.6);
    assert_near(averages.micro.f1, 0.6);
    assert_true(averages.micro_is_accuracy);
}

static void zero_division_fills_and_nan_is_left_out(void **state)
{
    (void)state;
    int64_t matrix[25];
    cr_class_scores scores[5];
    cr_classification_averages averages;
    cr_classification_options options = { .zero_division = 1 };
    count(matrix, 5);
    assert_int_equal(cr_precision_recall_f1(matrix, 5, &options, scores, &averages), CR_OK);
    assert_near(scores[3].precision, 1.0);
    assert_near(scores[3].f1, 0.0);
    assert_near(scores[4].f1, 1.0);
    assert_near(averages.macro.f1, (2.0 / 3 + 0.5 + 2.0 / 3 + 0 + 1) / 5);
    options.zero_division = NAN;
    assert_int_equal(cr_precision_recall_f1(matrix, 5, &options, scores, &averages), CR_OK);
    assert_true(isnan(scores[3].precision));
    assert_near(averages.macro.precision, (2.0 / 3 + 0.5 + 0.6) / 3);
    assert_near(averages.weighted.precision, (2.0 / 3 * 3 + 0.5 * 2 + 0.6 * 4) / 9);
}

static void text_equals(const int64_t *matrix, int64_t classes, const char *const *class_names,
                        const cr_classification_options *options, const char *expected)
{
    char *text = cr_classification_report(matrix, classes, class_names, options);
    assert_non_null(text);
    assert_string_equal(text, expected);
    cr_free(text);
}

static void report_reads_like_scikit_learn(void **state)
{
    (void)state;
    int64_t matrix[CLASSES * CLASSES];
    count(matrix, CLASSES);
    text_equals(matrix, CLASSES, names, NULL,
                "                        precision    recall  f1-score   support\n\n"
                "                   cat       0.67      0.67      0.67         3\n"
                "                   dog       0.50      0.50      0.50         2\n"
                "a very long class name       0.60      0.75      0.67         4\n"
                "                  bird       0.00      0.00      0.00         1\n\n"
                "              accuracy                           0.60        10\n"
                "             macro avg       0.44      0.48      0.46        10\n"
                "          weighted avg       0.54      0.60      0.57        10\n");
}

static void report_of_some_labels_has_a_micro_row(void **state)
{
    (void)state;
    static const int64_t labels[] = { 2, 0 };
    const cr_classification_options options = { .labels = labels, .label_count = 2 };
    int64_t matrix[CLASSES * CLASSES];
    count(matrix, CLASSES);
    text_equals(matrix, CLASSES, NULL, &options,
                "              precision    recall  f1-score   support\n\n"
                "           2       0.60      0.75      0.67         4\n"
                "           0       0.67      0.67      0.67         3\n\n"
                "   micro avg       0.62      0.71      0.67         7\n"
                "   macro avg       0.63      0.71      0.67         7\n"
                "weighted avg       0.63      0.71      0.67         7\n");
}

static void report_with_digits_and_zero_division(void **state)
{
    (void)state;
    const cr_classification_options options = { .zero_division = 1, .digits = 4 };
    int64_t matrix[CLASSES * CLASSES];
    count(matrix, CLASSES);
    text_equals(matrix, CLASSES, names, &options,
                "                        precision    recall  f1-score   support\n\n"
                "                   cat     0.6667    0.6667    0.6667         3\n"
                "                   dog     0.5000    0.5000    0.5000         2\n"
                "a very long class name     0.6000    0.7500    0.6667         4\n"
                "                  bird     1.0000    0.0000    0.0000         1\n\n"
                "              accuracy                         0.6000        10\n"
                "             macro avg     0.6917    0.4792    0.4583        10\n"
                "          weighted avg     0.6400    0.6000    0.5667        10\n");
}

static void one_class_pads_by_characters(void **state)
{
    (void)state;
    static const char *const name[] = { "\xC3\xA9t\xC3\xA9" };
    const int64_t matrix[1] = { 2 };
    text_equals(matrix, 1, name, NULL,
                "              precision    recall  f1-score   support\n\n"
                "         \xC3\xA9t\xC3\xA9       1.00      1.00      1.00         2\n\n"
                "    accuracy                           1.00         2\n"
                "   macro avg       1.00      1.00      1.00         2\n"
                "weighted avg       1.00      1.00      1.00         2\n");
    assert_true(isnan(cr_cohen_kappa_score(matrix, 1, CR_KAPPA_UNWEIGHTED)));
    assert_near(cr_matthews_corrcoef(matrix, 1), 0.0);
}

static void no_samples(void **state)
{
    (void)state;
    const int64_t matrix[4] = { 0 };
    cr_classification_averages averages;
    assert_true(isnan(cr_accuracy_score(matrix, 2)));
    assert_true(isnan(cr_balanced_accuracy_score(matrix, 2)));
    assert_near(cr_matthews_corrcoef(matrix, 2), 0.0);
    assert_int_equal(cr_precision_recall_f1(matrix, 2, NULL, NULL, &averages), CR_OK);
    assert_near(averages.weighted.f1, 0.0);
    char *text = cr_classification_report(matrix, 2, NULL, NULL);
    assert_non_null(strstr(text, "    accuracy                           0.00         0\n"));
    cr_free(text);
}

static void json_parses_and_holds_the_scores(void **state)
{
    (void)state;
    static const char *const odd[] = { "quote \" and \\", "\xFF broken", "c", "d" };
    int64_t matrix[CLASSES * CLASSES];
    count(matrix, CLASSES);
    char *text = cr_classification_report_json(matrix, CLASSES, odd, NULL);
    assert_non_null(text);
    json_t *object = json_loads(text, 0, NULL);
    cr_free(text);
    assert_non_null(object);
    json_t *classes = json_object_get(object, "classes");
    assert_int_equal(json_array_size(classes), CLASSES);
    json_t *second = json_array_get(classes, 1);
    assert_string_equal(json_string_value(json_object_get(second, "name")), "? broken");
    assert_int_equal(json_integer_value(json_object_get(second, "support")), 2);
    assert_near(json_real_value(json_object_get(object, "accuracy")), 0.6);
    json_t *rows = json_object_get(object, "confusion_matrix");
    assert_int_equal(json_integer_value(json_array_get(json_array_get(rows, 2), 0)), 1);
    json_decref(object);
}

static void json_of_no_samples_has_nulls(void **state)
{
    (void)state;
    const int64_t matrix[1] = { 0 };
    char *text = cr_classification_report_json(matrix, 1, NULL, NULL);
    assert_non_null(text);
    assert_non_null(strstr(text, "\"accuracy\": null"));
    cr_free(text);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    static const int64_t labels[] = { 0, 9 };
    const int64_t matrix[4] = { 1, 2, 3, 4 };
    cr_classification_options options = { .labels = labels, .label_count = 2 };
    assert_null(cr_classification_report(matrix, 2, NULL, &options));
    assert_error("label 9");
    options.label_count = 0;
    assert_null(cr_classification_report_json(matrix, 2, NULL, &options));
    assert_error("empty");
    assert_null(cr_classification_report(NULL, 2, NULL, NULL));
    assert_error("no matrix");
    assert_null(cr_classification_report(matrix, CR_MAX_CLASSES + 1, NULL, NULL));
    assert_error("classes");
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    const int64_t matrix[4] = { 1, 2, 3, 4 };
    uint64_t before = cr_memory_get_stats().small;
    for (int64_t successes = 0;; successes++) {
        cr_memory_fail_after(successes);
        char *text = cr_classification_report(matrix, 2, NULL, NULL);
        char *json = text == NULL ? NULL : cr_classification_report_json(matrix, 2, NULL, NULL);
        cr_memory_fail_after(-1);
        bool done = text != NULL && json != NULL;
        cr_free(text);
        cr_free(json);
        assert_int_equal(cr_failed(), !done);
        assert_int_equal(cr_memory_get_stats().small, before);
        cr_error_clear();
        if (done)
            break;
        assert_true(successes < 1000);
    }
}

static void every_failed_allocation_of_scores_is_reported(void **state)
{
    (void)state;
    static const float p[] = { .7f, .2f, .1f, .1f, .5f, .4f, .3f, .3f, .4f, .2f, .6f, .2f };
    static const int64_t labels[] = { 0, 1, 2, 0 };
    const cr_binary_task task = { .truth = labels, .scores = p, .score_stride = 3, .count = 4 };
    cr_score_args args = { .truth = labels,
                           .probabilities = p,
                           .count = 4,
                           .classes = 3,
                           .bootstrap = { .replicates = 8 } };
    uint64_t before = cr_memory_get_stats().small;
    for (int64_t successes = 0;; successes++) {
        cr_classifier_scores scores;
        cr_curve roc = { 0 }, precision = { 0 };
        char *csv = NULL;
        cr_memory_fail_after(successes);
        bool done = cr_score_classifier(args, &scores) == CR_OK &&
                    cr_roc_curve(&task, false, &roc) == CR_OK &&
                    cr_precision_recall_curve(&task, &precision) == CR_OK &&
                    !isnan(cr_roc_auc_one_vs_rest(labels, p, 4, 3, CR_AVERAGE_MACRO)) &&
                    (csv = cr_multilabel_report(labels + 2, labels + 3, 0, 1, NULL, NULL)) != NULL;
        cr_memory_fail_after(-1);
        cr_classifier_scores_free(&scores);
        cr_curve_free(&roc);
        cr_curve_free(&precision);
        cr_free(csv);
        assert_int_equal(cr_failed(), !done);
        assert_int_equal(cr_memory_get_stats().small, before);
        cr_error_clear();
        if (done)
            break;
        assert_true(successes < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrix_adds_up_over_batches),
        cmocka_unit_test(matrix_refuses_labels_outside_and_keeps_its_counts),
        cmocka_unit_test(matrix_is_normalised_by_line_or_whole),
        cmocka_unit_test(scores_equal_scikit_learn),
        cmocka_unit_test(top_k_ranks_ties_by_falling_class),
        cmocka_unit_test(top_k_with_nan_none_and_bad_arguments),
        cmocka_unit_test(classes_and_averages),
        cmocka_unit_test(zero_division_fills_and_nan_is_left_out),
        cmocka_unit_test(report_reads_like_scikit_learn),
        cmocka_unit_test(report_of_some_labels_has_a_micro_row),
        cmocka_unit_test(report_with_digits_and_zero_division),
        cmocka_unit_test(one_class_pads_by_characters),
        cmocka_unit_test(no_samples),
        cmocka_unit_test(json_parses_and_holds_the_scores),
        cmocka_unit_test(json_of_no_samples_has_nulls),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
        cmocka_unit_test(every_failed_allocation_of_scores_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
