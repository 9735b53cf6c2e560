/* Graphs as ONNX files: opset 17, IR 8, for any runtime.
 *
 * Operators are named after the layers that they are of, initializers after the model's parameters.
 * The batch is a dimension called "batch". Files of over 2 GB have their weights in a second file
 * beside them, NAME.data. */
#ifndef CRESSET_ONNX_EXPORT_H
#define CRESSET_ONNX_EXPORT_H

#include "cresset/graph.h"
#include "cresset/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CR_ONNX_OPSET 17
#define CR_ONNX_IR    8

typedef struct cr_onnx_args {
    const char *name;   /* of the graph; NULL: "cresset" */
    bool no_fold;       /* initializers are the model's parameters as they are: batch norm stays an
                           operator, and weights are transposed by operators */
    bool external_data; /* weights beside the file, whatever its size */
    const cr_string_pair *metadata; /* metadata_count of them, for metadata_props */
    int metadata_count;
    /* The same model traced for samples of other heights and widths, at least two: what differs is
     * then free in the file. */
    const cr_graph *const *other_sizes;
    int other_count;
} cr_onnx_args;

/* What was written. */
typedef struct cr_onnx_report {
    int operators;
    int initializers;
    int folded;         /* batch norms that went into the weights before them */
    int64_t parameters; /* elements of initializers of floats */
    int64_t bytes;      /* of the file, without that of the weights */
    int64_t data_bytes; /* of the file of weights; 0: there is none */
} cr_onnx_report;

/* Writes beside `path` and renames. What has no ONNX form is named, all of it, in one sentence. The
 * report may be NULL. */
cr_status cr_graph_save_onnx(const cr_graph *graph, const char *path, cr_onnx_args args,
                             cr_onnx_report *report);

#ifdef __cplusplus
}
#endif
#endif
