/* From a trained model to an answer in five calls, for programs that only run models:
 *
 *     cr_session *session = cr_session_load("runs/oct-001");
 *     cr_session_input(session, 0, pixels, CR_SHAPE(1, 3, 224, 224), CR_F32);
 *     cr_session_run(session);
 *     const float *logits = cr_session_output(session, 0, &shape);
 *     cr_session_free(session);
 *
 * Models run as compiled graphs (cresset/graph.h), one for each shape of samples that comes, of any
 * batch size. A model that no graph can say is run op by op.
 *
 * Safe to use from many threads at once: each thread sets inputs and reads outputs of its own, all
 * share the weights. Errors are those of the calling thread (cresset/error.h). */
#ifndef CRESSET_SESSION_H
#define CRESSET_SESSION_H

#include "cresset/classifier.h"
#include "cresset/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cr_session cr_session;

/* Reads a run directory, a classifier's safetensors, or an .onnx file. NULL on failure. */
cr_session *cr_session_load(const char *path);

/* Copies the elements of an input, row-major, of shape (N, …); it stays set for this thread until
 * it is set again. */
cr_status cr_session_input(cr_session *session, int index, const void *data, cr_shape shape,
                           cr_dtype dtype);

/* Runs the model on the inputs of this thread. All must be set. */
cr_status cr_session_run(cr_session *session);

/* The elements of an output of this thread's last run, row-major, valid until its next run or its
 * end; its shape, if that is not NULL. NULL with an error if there is none. */
const void *cr_session_output(cr_session *session, int index, cr_shape *shape);

/* When no thread uses it any more. NULL is legal. */
void cr_session_free(cr_session *session);

/* ---- what it takes and gives ---- */

/* Names, dtypes and shapes; sizes that may vary are -1. Borrowed from the session. */
int cr_session_input_count(const cr_session *session);
int cr_session_output_count(const cr_session *session);
cr_graph_port cr_session_input_at(const cr_session *session, int index);
cr_graph_port cr_session_output_at(const cr_session *session, int index);

/* The classifier inside, with its classes and transforms, which are the caller's to apply; NULL if
 * the model came from an .onnx file. Borrowed. */
const cr_classifier *cr_session_classifier(const cr_session *session);

/* The same on tensors: as many inputs and outputs as the session has; outputs are owned by the
 * frame, NULL on failure. */
cr_status cr_session_run_tensors(cr_session *session, cr_tensor *const *inputs,
                                 cr_tensor **outputs);

#ifdef __cplusplus
}
#endif
#endif
