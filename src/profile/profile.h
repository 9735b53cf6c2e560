/* What the dispatcher, backward, the layers, the optimiser and the loader tell the profiler and the
 * trace of memory. Each asks profile_mode() first, which is 0 while nobody listens. */
#ifndef CR_PROFILE_PROFILE_H
#define CR_PROFILE_PROFILE_H

#include <stdatomic.h>

#include "base/base.h"
#include "cresset/op.h"
#include "cresset/profile.h"

enum { PROFILE_TIME = 1, PROFILE_MEMORY = 2 };

extern atomic_int profile_modes;

CR_INLINE int profile_mode(void)
{
    return (int)__builtin_expect(atomic_load_explicit(&profile_modes, memory_order_relaxed), 0);
}

/* What a range stands for. */
enum profile_kind {
    PROFILE_OP,
    PROFILE_NODE,  /* the backward of one node; its ops are parts of it */
    PROFILE_RANGE, /* named by the program or the library */
    PROFILE_LAYER,
    PROFILE_PHASE, /* the whole of a backward: shown in the trace only */
    PROFILE_STEP
};

/* Enters and leaves a range; names must outlive the profile, layers' are copied by
 * profile_layer_name. A token of 0 is legal to leave: nothing was entered. */
uint32_t profile_push(enum profile_kind kind, const char *name);
void profile_pop(uint32_t token);

/* Tells of the op that was entered last what it read, wrote and counted. */
void profile_note_op(const cr_call *call);

/* The layer that the calling thread is in, "" outside of any; setting gives back what it was. The
 * name must come from profile_layer_name, a copy that lives as long as the process. */
const char *profile_layer(void);
const char *profile_set_layer(const char *layer);
const char *profile_layer_name(const char *name);

/* What runs on the calling thread: the innermost op or range, "" for none; and whether it runs for
 * a gradient. A gradient's parts are named by the op whose gradient it is. */
const char *profile_current(bool *backward);

/* The name of an op for people: without the marks of an inner op. */
const char *profile_op_name(const char *name);

/* ---- memory: what a buffer is for; cr_memory_tag for a tensor's ---- */

void memory_trace_tag(const void *buffer, cr_memory_category category);

/* A node keeps a buffer for backward, or lets it go (count -1). */
void memory_trace_keep(const void *buffer, int count);

/* ---- between the files of the profiler ---- */

struct profile_event {
    const char *name;
    const char *layer;
    const char *owner; /* the op whose gradient this is run for; NULL in a forward run */
    double start;      /* seconds on cr_clock_seconds */
    double duration;
    double self;
    double multiply_adds;
    double bytes;
    int64_t in_use; /* bytes of tensors at the end */
    int thread;     /* from 0, in the order of their first event */
    enum profile_kind kind;
};

struct profile_log {
    struct profile_event *events;
    int64_t count;
    int64_t capacity;
    int64_t dropped;
    int64_t steps;
    int threads;
    int step_thread; /* on which steps end; -1: none has */
    double began;
    double ended;
    double between; /* seconds of steps on the step thread that no event covers */
    cr_machine_peak peak;
};

/* Ends the session: its last step, if none has ended yet, and the recording. */
void profile_end(void);

/* The events so far; read when nothing is recorded. */
const struct profile_log *profile_log_get(void);

#endif
