/* Event files for TensorBoard: scalars, texts, pictures and histograms of a run.
 *
 *     cr_tensorboard *board = cr_tensorboard_open("runs/mine");
 *     cr_tensorboard_scalar(board, "loss/train", epoch, loss, 0);
 *     cr_tensorboard_close(board);
 *
 * Every value goes to the file at once and whole, so that TensorBoard shows it while the run goes
 * on and a killed run leaves a readable file. A writer opens a file of its own and never touches
 * an older one: a resumed run opens the same folder again, and TensorBoard reads all files in it
 * as one run.
 *
 * A tag is the name of a curve, UTF-8; what stands before its last "/" groups it. wall_time is in
 * seconds since 1970; 0 means now. A writer may be used by one thread at a time.
 *
 * Errors: CR_ERROR_ARGUMENT for a missing tag, a wall_time that is no number, bytes that are no
 * PNG; CR_ERROR_IO when the file cannot be written, and what was written before stays readable;
 * CR_ERROR_MEMORY. Given a NULL writer, a call does nothing and returns the standing status.
 *
 * In the component cresset_track. */
#ifndef CRESSET_TENSORBOARD_H
#define CRESSET_TENSORBOARD_H

#include <stddef.h>
#include <stdint.h>

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cr_tensorboard cr_tensorboard;

/* Opens a new file events.out.tfevents.TIME.HOST.PID.N in the folder, which is made if need be.
 * NULL on failure. */
cr_tensorboard *cr_tensorboard_open(const char *folder);

/* The path of the file; valid until it is closed. "" for NULL. */
const char *cr_tensorboard_path(const cr_tensorboard *board);

/* Tells TensorBoard to forget what the folder's files hold so far of this step and later ones: for
 * a resumed run, which computes them again. */
cr_status cr_tensorboard_purge(cr_tensorboard *board, int64_t step);

/* One point of a curve, kept in single precision; one that is not finite is shown as such. */
cr_status cr_tensorboard_scalar(cr_tensorboard *board, const char *tag, int64_t step, double value,
                                double wall_time);

/* A text in Markdown, UTF-8. */
cr_status cr_tensorboard_text(cr_tensorboard *board, const char *tag, int64_t step,
                              const char *text, double wall_time);

/* A picture: `size` bytes of a PNG file, e.g. as cr_plot_to_png gives them. */
cr_status cr_tensorboard_image(cr_tensorboard *board, const char *tag, int64_t step,
                               const void *png, size_t size, double wall_time);

/* The distribution of a tensor's elements (any shape and dtype) in 30 buckets of equal width from
 * the smallest to the largest; elements that are not finite are left out. */
cr_status cr_tensorboard_histogram(cr_tensorboard *board, const char *tag, int64_t step,
                                   cr_tensor *values, double wall_time);

/* Closes the file and frees the writer; NULL is legal. */
cr_status cr_tensorboard_close(cr_tensorboard *board);

#ifdef __cplusplus
}
#endif
#endif
