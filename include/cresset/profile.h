/* Profiling: where the time of a program goes, and what its memory holds.
 *
 *     cr_profile_start((cr_profile_args){ .warm_up = 1, .steps = 10 });
 *     for (int i = 0; i < 11; i++) {
 *         …one training step…
 *         cr_profile_step();
 *     }
 *     cr_profile profile;
 *     cr_profile_stop(&profile);
 *     cr_text table = { 0 };
 *     cr_profile_format(&profile, &table);
 *     cr_profile_write_trace("trace.json");
 *     cr_profile_free(&profile);
 *
 * A profile is of the whole process: ops on any thread are recorded, forward and backward told
 * apart, with the layer they belong to. While none is taken an op pays one predictable branch.
 * Starting, stopping and reading a profile belong to one thread; ranges may be marked on any. */
#ifndef CRESSET_PROFILE_H
#define CRESSET_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "cresset/tensor.h"
#include "cresset/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the machine's peak ---- */

/* What the processor reaches on `threads` threads: fused multiply-adds in float32 on registers, and
 * a copy of 64 MiB to another 64 MiB (bytes read and written). */
typedef struct cr_machine_peak {
    int threads;
    double flops;            /* a second; a multiply-add counts as two */
    double bytes_per_second; /* 0: the buffers could not be allocated */
} cr_machine_peak;

/* Measures with cr_num_threads() threads, which takes about 100 ms. */
cr_machine_peak cr_measure_peak(void);

/* ---- taking a profile ---- */

typedef struct cr_profile_args {
    int64_t warm_up; /* steps to let pass first */
    int64_t steps;   /* steps to record; 0: until it is stopped */
    bool no_peak;    /* leave the machine's peak unmeasured */
} cr_profile_args;

/* Begins, forgetting the profile before. */
cr_status cr_profile_start(cr_profile_args args);

/* The end of a step: of training, of inference, whatever is done again and again. */
void cr_profile_step(void);

/* Leaves out what comes, or goes on; returns what it was. */
bool cr_profile_pause(bool paused);

/* True while ops are recorded. */
bool cr_profile_is_recording(void);

/* A part of the program under a name of its own, to be ended on the same thread, the innermost
 * first. Nothing happens while no profile is taken. */
typedef struct cr_profile_range {
    uint32_t token;
} cr_profile_range;
cr_profile_range cr_profile_begin(const char *name);
void cr_profile_end(cr_profile_range range);

/* ---- reading it ---- */

typedef enum cr_profile_kind {
    CR_PROFILE_OP,       /* an op that was called by the program */
    CR_PROFILE_BACKWARD, /* the gradient of an op, with all that is run for it */
    CR_PROFILE_PART,     /* an op run for the gradient of the row above */
    CR_PROFILE_RANGE,    /* a named part of the program, without the ops in it */
    CR_PROFILE_OTHER     /* what is left of the steps: the program between ops */
} cr_profile_kind;

typedef struct cr_profile_row {
    char name[64];
    cr_profile_kind kind;
    int64_t calls;
    double total;         /* seconds, with what was called meanwhile */
    double self;          /* seconds, without */
    double share;         /* of the time of all steps; the parts of a row are counted in it */
    double multiply_adds; /* of all calls; 0 where an op does not count them */
    double bytes;         /* of inputs and outputs of all calls */
    double busy;          /* seconds that multiply_adds and bytes were worked on */
    bool beside;          /* on a thread beside the one of the steps, which it may keep waiting */
} cr_profile_row;

/* The layers of the model, the slowest first. */
typedef struct cr_profile_layer {
    char name[128];
    double forward, backward; /* seconds of the ops in it */
} cr_profile_layer;

typedef struct cr_profile {
    cr_profile_row *rows; /* groups by falling share, each followed by its parts */
    int row_count;
    cr_profile_layer *layers;
    int layer_count;
    int64_t steps;
    double seconds; /* of all steps, on the thread that made them */
    int64_t events;
    int64_t dropped; /* events beyond the limit */
    cr_machine_peak peak;
} cr_profile;

/* Ends the profile and adds it up; to be freed. Without any call of cr_profile_step the time from
 * the start to here is one step. */
cr_status cr_profile_stop(cr_profile *profile);
void cr_profile_free(cr_profile *profile);

/* Appends the profile as tables for people, about 100 columns wide. */
void cr_profile_format(const cr_profile *profile, cr_text *out);

/* The larger of the shares that a row reaches of the two peaks, 0 if unknown; *by_memory (may be
 * NULL) says which. Over 1 where the data lie in the caches. */
double cr_profile_of_peak(const cr_profile *profile, const cr_profile_row *row, bool *by_memory);

/* Writes the events of the last profile in the trace-event format, which chrome://tracing and
 * https://ui.perfetto.dev open. */
cr_status cr_profile_write_trace(const char *path);

/* ---- what memory holds ---- */

/* X(NAME, word) */
#define CR_MEMORY_CATEGORY_TABLE(X)                                                                \
    X(PARAMETER, "parameters")                                                                     \
    X(BUFFER, "buffers of layers")                                                                 \
    X(GRADIENT, "gradients of parameters")                                                         \
    X(OPTIMIZER, "optimizer state")                                                                \
    X(INPUT, "inputs")                                                                             \
    X(KEPT, "kept for backward")                                                                   \
    X(FLOW, "gradients on their way")                                                              \
    X(TEMPORARY, "temporaries")                                                                    \
    X(WORKSPACE, "workspace of kernels")

typedef enum cr_memory_category {
#define CR_MEMORY_CATEGORY_ENUM(name, word) CR_MEMORY_##name,
    CR_MEMORY_CATEGORY_TABLE(CR_MEMORY_CATEGORY_ENUM)
#undef CR_MEMORY_CATEGORY_ENUM
        CR_MEMORY_CATEGORY_COUNT
} cr_memory_category;

const char *cr_memory_category_name(cr_memory_category category);

typedef struct cr_memory_row {
    const char *name;
    int64_t bytes;
    int64_t count; /* of tensors */
} cr_memory_row;

/* The moment at which the most bytes of tensors were in use since the start of the trace. */
typedef struct cr_memory_report {
    int64_t bytes; /* of all categories */
    int64_t categories[CR_MEMORY_CATEGORY_COUNT];
    int64_t cached;  /* free, kept by the allocator for the next use */
    int64_t process; /* resident memory of the process then */
    const char *op;  /* what ran; "" outside all ops */
    const char *layer;
    bool backward;
    cr_memory_row *ops; /* what is kept for backward, by the op that made it, largest first */
    int op_count;
    cr_memory_row *layers; /* the same by layer */
    int layer_count;
} cr_memory_report;

/* From here on each buffer is followed: what made it and what holds it. What was allocated before
 * is left out, so begin before the model is made. */
cr_status cr_memory_trace_start(void);

/* Says what a tensor is for, where the library cannot know: CR_MEMORY_INPUT. */
void cr_memory_tag(const cr_tensor *tensor, cr_memory_category category);

/* Forgets the peak so far, and looks for it anew. */
void cr_memory_trace_reset(void);

/* The peak since the start or the last reset; to be freed before the trace ends. */
cr_status cr_memory_trace_report(cr_memory_report *report);
void cr_memory_trace_stop(void);
void cr_memory_report_free(cr_memory_report *report);

#ifdef __cplusplus
}
#endif
#endif
