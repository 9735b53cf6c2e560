/* The report of a training run: one HTML page that needs nothing else, and the charts as files.
 *
 * The caller fills a cr_report with what it knows; sections without data are left out. The page
 * asks for nothing over the network (charts are inline SVG, pictures are embedded PNG), follows the
 * reader's light or dark setting, and fits a phone. Every string is shown as text, whatever it
 * contains.
 *
 *     cr_report report = { .title = "fashion-001", .model = "resnet18", .epochs = 15,
 *                          .train_loss = train_loss, .validation_loss = validation_loss };
 *     cr_report_write(&report, "runs/fashion-001");
 *
 * In the component cresset_plot. Nothing of what the record points to is kept or freed. */
#ifndef CRESSET_REPORT_H
#define CRESSET_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "cresset/plot.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The most mistakes that a page shows; further ones are left out. */
#define CR_REPORT_MAX_MISTAKES 120

/* A setting or fact, e.g. { "lr", "0.004" }. */
typedef struct cr_report_entry {
    const char *name;
    const char *value;
} cr_report_entry;

/* A sample that was classified wrongly, most confident first. */
typedef struct cr_report_mistake {
    cr_plot_picture picture;   /* its caption and `wrong` are not used */
    cr_plot_picture explained; /* what the model looked at, shown below it; no pixels: nothing */
    int64_t truth;             /* class numbers, named by class_names */
    int64_t predicted;
    double probability; /* of the predicted class, 0 to 1 */
    int64_t index;      /* of the sample in its set, shown as a tool tip */
} cr_report_mistake;

/* What an analysis found: a question, its answer with the number, and what to do about it. */
typedef enum cr_report_verdict { CR_REPORT_GOOD, CR_REPORT_WATCH, CR_REPORT_BAD } cr_report_verdict;

typedef struct cr_report_finding {
    const char *question; /* "Is the data enough?" */
    const char *answer;   /* one sentence, with its number */
    const char *advice;   /* one sentence; NULL: nothing need be done */
    cr_report_verdict verdict;
    const cr_plot_panel *panel; /* a chart; NULL: none */
    const char *const *bar_names;
    const double *bars; /* (bar_count), drawn as bars; NULL: none */
    int64_t bar_count;
    bool bars_are_fractions;
    const cr_report_mistake *pictures; /* examples; NULL: none */
    int64_t picture_count;
} cr_report_finding;

typedef struct cr_report {
    /* The summary; what is NULL or 0 is left out. */
    const char *title; /* NULL: "Training run" */
    const char *model;
    const char *data;
    const char *command;
    const char *version;
    const char *machine; /* e.g. processor, threads, instruction set */
    const char *status;  /* e.g. "interrupted at epoch 3"; NULL: none shown */
    int64_t parameters;
    int64_t peak_memory; /* bytes */
    double seconds;      /* of training */
    uint64_t seed;
    bool no_seed;                  /* leaves the seed out, which is shown otherwise, 0 too */
    int64_t best_epoch;            /* counted from 1; marked in the curves */
    double best_accuracy;          /* fraction, on the validation set at the best epoch */
    double test_accuracy;          /* fraction */
    double test_average_precision; /* macro, of several labels (mAP) */
    const cr_report_entry *facts;  /* further lines of the summary */
    int64_t fact_count;

    /* By epoch, (epochs) each, counted from 1; NULL is left out, NaN is a gap. Accuracies are
     * fractions. */
    int64_t epochs;
    const double *train_loss;
    const double *validation_loss;
    const double *train_accuracy;
    const double *validation_accuracy;
    const double *learning_rate;

    /* The evaluation: the confusion matrix (classes, classes) from cr_confusion_matrix_add, and the
     * names of the classes (NULL: numbers). */
    const int64_t *confusion;
    int64_t classes;
    const char *const *class_names;
    const char *evaluated_on; /* e.g. "10,000 test images"; NULL: not said */

    /* Every score with its interval; NULL: left out. Curves of ranking are drawn from the samples'
     * classes and probabilities (samples, classes); NULL: left out. */
    const cr_classifier_scores *scores;
    const int64_t *truth;
    const float *probabilities;
    int64_t samples;

    /* In place of the confusion matrix and truth, for several labels a sample: marks of 0 and 1
     * (samples, classes), true and predicted, and the thresholds (classes; NULL: not shown) from
     * which a label was said to be there. */
    const int64_t *marks;
    const int64_t *predicted_marks;
    const float *thresholds;

    /* The analysis of errors, in the order shown; 0: left out. */
    const cr_report_finding *findings;
    int64_t finding_count;

    const cr_report_mistake *mistakes;
    int64_t mistake_count;

    const cr_report_entry *settings;
    int64_t setting_count;
} cr_report;

/* Appends the page to html. CR_ERROR_ARGUMENT if a count is negative, a list of a counted length is
 * NULL, or a class number is out of range. */
cr_status cr_report_html(const cr_report *report, cr_text *html);

/* Writes folder/report.html and in folder/plots, as .png and .svg, curves, confusion_matrix,
 * confusion_matrix_normalized (by true class), roc, precision_recall and reliability, each beside
 * and renamed; a chart without data is not written. Makes the folders where they are
 * missing. Thread-safe for different folders. */
cr_status cr_report_write(const cr_report *report, const char *folder);

#ifdef __cplusplus
}
#endif
#endif
