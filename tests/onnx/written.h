/* Graphs as ONNX files with inputs and what they give, for run_in_ort.js, which runs the files in
 * ONNX Runtime and compares. */
#ifndef TESTS_ONNX_WRITTEN_H
#define TESTS_ONNX_WRITTEN_H

#include "cresset/graph.h"
#include "cresset/onnx_export.h"

/* Writes FOLDER/NAME.onnx, the inputs and what the graph gives for them, and prints a line of JSON
 * that names them all; is_batched: samples of the batch can be taken apart. False with a line that
 * tells the error. */
bool write_case(const char *folder, const char *name, const cr_graph *graph,
                cr_tensor *const *inputs, bool is_batched, cr_onnx_args args);

/* Prints the line of a case that could not be written, for the standing error, and clears it. */
bool write_failure(const char *name);

#endif
