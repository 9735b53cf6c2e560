/* A model's parameters and buffers to and from files, with a report of what did not fit. The file
 * is PyTorch's state dict, as safetensors, as a checkpoint (.pth) or in several files with an index
 * (weights.h): the same names, so either side reads the other's.
 *
 *     cr_load_report report;
 *     cr_status status = cr_model_load(model, "resnet18.pth",
 *                                      &(cr_load_options){ .leave_out = "fc.*" }, &report);
 *     cr_text text = { 0 };
 *     cr_load_report_print(&report, &text); */
#ifndef CRESSET_STATE_DICT_H
#define CRESSET_STATE_DICT_H

#include "cresset/nn.h"
#include "cresset/safetensors.h"
#include "cresset/text.h"
#include "cresset/weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Writes all parameters and buffers, and metadata (may be NULL if there is none), as safetensors.
 */
cr_status cr_model_save(const cr_model *model, const char *path, const cr_string_pair *metadata,
                        int metadata_count);

/* The same as a checkpoint that torch.load reads: a dict of tensors, without metadata. */
cr_status cr_model_save_torch(const cr_model *model, const char *path);

typedef struct cr_load_options {
    bool partial;             /* missing and unexpected names are fine: strict=False */
    bool dry_run;             /* report and judge only; nothing is copied */
    bool ignore_mismatched;   /* so are tensors of another shape, which keep their values */
    const char *strip_prefix; /* taken off the names in the file that begin with it; NULL: of those
                                 that wrappers add ("module.", "model." …) the one that fits best */
    const char *only;         /* load what matches this pattern of full names: "layer4.*" */
    const char *ignore;       /* pass over names in the file (as written) that match: "optim.*" */
    const char *leave_out;    /* names of the model, patterns between commas, that keep their values
                                 whatever the file has: "fc.*", where the head is another one */
} cr_load_options;

typedef struct cr_load_mismatch {
    char *name;
    cr_shape in_file;
    cr_shape in_model;
} cr_load_mismatch;

/* What became of each name, the model's names where both have one. */
typedef struct cr_load_report {
    char **matched;
    char **missing;    /* in the model and not in the file */
    char **unexpected; /* in the file and not in the model */
    char **left_out;   /* matched by .leave_out */
    cr_load_mismatch *mismatched;
    int matched_count;
    int missing_count;
    int unexpected_count;
    int left_out_count;
    int mismatched_count;
} cr_load_report;

/* Copies the tensors of a file over those of the same name, converted to their dtype. The model
 * must be built. Options may be NULL: every name must be there, and nothing else. What does not fit
 * is an error before anything is copied. The report (may be NULL) is filled in on success and on
 * failure, to be freed with cr_load_report_free in either case. */
cr_status cr_model_load(cr_model *model, const char *path, const cr_load_options *options,
                        cr_load_report *report);

/* The same from a file that is open already. */
cr_status cr_model_load_weights(cr_model *model, cr_weights *weights,
                                const cr_load_options *options, cr_load_report *report);
cr_status cr_model_load_from(cr_model *model, cr_safetensors *file, const cr_load_options *options,
                             cr_load_report *report);

/* Appends the report in words, a line for each kind of finding; long lists are cut. */
void cr_load_report_print(const cr_load_report *report, cr_text *text);
void cr_load_report_free(cr_load_report *report);

#ifdef __cplusplus
}
#endif
#endif
