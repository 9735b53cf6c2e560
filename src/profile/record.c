/* Recording: ranges that threads enter and leave, and the log of those that ended.
 *
 * Each thread has a stack of the ranges it is in, from which self times come; what ended is added
 * to one log under a lock, which at some thousand events a second costs nothing that shows. A
 * session has a number, and a range that began in another session leaves without a trace. */
#include "profile/profile.h"

#include <pthread.h>
#include <string.h>

#include "tensor/tensor.h"

#define DEPTH_LIMIT 128       /* of ranges within each other; deeper ones are not recorded */
#define EVENT_LIMIT (1 << 21) /* of one session */

atomic_int profile_modes;

struct open_range {
    enum profile_kind kind;
    const char *name;
    double start;
    double children;      /* seconds of the ranges within */
    double multiply_adds; /* of an op */
    double bytes;
};

struct thread_state {
    uint32_t session;
    int depth;
    int thread;     /* its number in the log; -1: it has none yet */
    double covered; /* seconds of outermost ranges since the last step */
    const char *layer;
    struct open_range ranges[DEPTH_LIMIT];
};

static CR_THREAD_LOCAL struct thread_state state;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct profile_log events_log;
static cr_profile_args wanted;
static int64_t steps_passed; /* the warm-up among them */
static double step_began;
static bool is_taken; /* between start and stop */
static bool is_paused;
static double paused_since;
static atomic_uint session = 1;

/* ---- ranges ---- */

static void state_renew(uint32_t now)
{
    state.session = now;
    state.depth = 0;
    state.covered = 0;
    state.thread = -1;
}

uint32_t profile_push(enum profile_kind kind, const char *name)
{
    uint32_t now = atomic_load_explicit(&session, memory_order_relaxed);
    if (state.session != now)
        state_renew(now);
    int depth = state.depth++;
    if (depth < DEPTH_LIMIT)
        state.ranges[depth] =
            (struct open_range){ .kind = kind, .name = name, .start = cr_clock_seconds() };
    return now;
}

/* The op whose gradient the range at this depth is run for; NULL if for none. */
static const char *owner_at(int depth)
{
    for (int i = CR_MIN(depth, DEPTH_LIMIT) - 1; i >= 0; i--) {
        if (state.ranges[i].kind == PROFILE_NODE)
            return state.ranges[i].name;
    }
    return NULL;
}

/* Room for one more event; NULL, and one more dropped, if there is none. */
static struct profile_event *event_new(void)
{
    struct profile_log *log = &events_log;
    if (log->count == log->capacity && log->count < EVENT_LIMIT) {
        int64_t capacity = log->capacity ? 2 * log->capacity : 4096;
        struct profile_event *events =
            cr_resize(log->events, (size_t)capacity, sizeof *log->events);
        if (events) {
            log->events = events;
            log->capacity = capacity;
        } else {
            cr_error_clear(); /* the program goes on, the profile has a gap */
        }
    }
    if (log->count < log->capacity)
        return &log->events[log->count++];
    log->dropped++;
    return NULL;
}

static void event_add(const struct profile_event *ended)
{
    pthread_mutex_lock(&lock);
    struct profile_event *event = event_new();
    if (event) {
        *event = *ended;
        if (state.thread < 0)
            state.thread = events_log.threads++;
        event->thread = state.thread;
    }
    pthread_mutex_unlock(&lock);
}

void profile_pop(uint32_t token)
{
    if (!token || token != state.session || state.depth == 0)
        return;
    int depth = --state.depth;
    if (depth >= DEPTH_LIMIT)
        return;
    const struct open_range *range = &state.ranges[depth];
    double now = cr_clock_seconds();
    double duration = now - range->start;
    if (depth > 0)
        state.ranges[depth - 1].children += duration;
    else
        state.covered += duration;
    if (!(profile_mode() & PROFILE_TIME))
        return;
    struct profile_event event = { .name = range->name,
                                   .layer = state.layer ? state.layer : "",
                                   .owner = owner_at(depth),
                                   .start = range->start,
                                   .duration = duration,
                                   .self = CR_MAX(duration - range->children, 0),
                                   .multiply_adds = range->multiply_adds,
                                   .bytes = range->bytes,
                                   .in_use = (int64_t)cr_memory_get_stats().in_use,
                                   .kind = range->kind };
    event_add(&event);
}

static double tensor_size(const cr_tensor *tensor)
{
    if (!tensor || !tensor->storage)
        return 0;
    double bytes = (double)tensor_numel(tensor) * (double)cr_dtype_size((cr_dtype)tensor->dtype);
    return CR_MIN(bytes, (double)tensor->storage->bytes); /* what is expanded is read once */
}

void profile_note_op(const cr_call *call)
{
    if (state.depth == 0 || state.depth > DEPTH_LIMIT || (call->op->flags & CR_OP_VIEW))
        return;
    struct open_range *range = &state.ranges[state.depth - 1];
    int outputs = call->op->output_count ? call->op->output_count : 1;
    for (int i = 0; i < call->input_count; i++)
        range->bytes += tensor_size(call->inputs[i]);
    for (int i = 0; i < outputs; i++)
        range->bytes += tensor_size(call->outputs[i]);
    if (call->op->multiply_adds)
        range->multiply_adds += (double)call->op->multiply_adds(call);
}

cr_profile_range cr_profile_begin(const char *name)
{
    return (cr_profile_range){ profile_mode() ? profile_push(PROFILE_RANGE, name) : 0 };
}

void cr_profile_end(cr_profile_range range)
{
    profile_pop(range.token);
}

/* ---- where a thread is ---- */

const char *profile_layer(void)
{
    return state.layer ? state.layer : "";
}

const char *profile_set_layer(const char *layer)
{
    const char *was = state.layer;
    state.layer = layer;
    return was;
}

const char *profile_current(bool *backward)
{
    *backward = false;
    if (state.session != atomic_load_explicit(&session, memory_order_relaxed))
        return "";
    int depth = CR_MIN(state.depth, DEPTH_LIMIT);
    const char *owner = owner_at(depth);
    *backward = owner != NULL;
    if (owner)
        return owner;
    for (int i = depth - 1; i >= 0; i--) {
        if (state.ranges[i].kind == PROFILE_OP || state.ranges[i].kind == PROFILE_RANGE)
            return state.ranges[i].name;
    }
    return "";
}

const char *profile_op_name(const char *name)
{
    if (strncmp(name, "native_", 7) == 0)
        return name + 7;
    return name + (name[0] == '_');
}

/* Copies of layers' names, for the life of the process: nodes and events may outlive the model. */
struct kept_name {
    struct kept_name *next;
    char text[];
};

#define NAME_BUCKETS 512

const char *profile_layer_name(const char *name)
{
    static struct kept_name *buckets[NAME_BUCKETS];
    uint32_t hash = 2166136261u;
    for (const char *c = name; *c; c++)
        hash = (hash ^ (uint8_t)*c) * 16777619u;
    struct kept_name **bucket = &buckets[hash % NAME_BUCKETS];
    pthread_mutex_lock(&lock);
    struct kept_name *found = *bucket;
    while (found && strcmp(found->text, name) != 0)
        found = found->next;
    size_t length = strlen(name);
    if (!found && (found = cr_alloc(sizeof *found + length + 1)) != NULL) {
        memcpy(found->text, name, length + 1);
        found->next = *bucket;
        *bucket = found;
    } else if (!found) {
        cr_error_clear(); /* the layer goes without a name */
    }
    pthread_mutex_unlock(&lock);
    return found ? found->text : "";
}

/* ---- sessions ---- */

static void set_recording(bool on)
{
    if (on)
        atomic_fetch_or(&profile_modes, PROFILE_TIME);
    else
        atomic_fetch_and(&profile_modes, ~PROFILE_TIME);
}

cr_status cr_profile_start(cr_profile_args args)
{
    if (cr_failed())
        return cr_error_status();
    set_recording(false);
    pthread_mutex_lock(&lock);
    cr_free(events_log.events);
    events_log = (struct profile_log){ .step_thread = -1 };
    pthread_mutex_unlock(&lock);
    if (!args.no_peak)
        events_log.peak = cr_measure_peak();
    wanted = args;
    steps_passed = 0;
    is_taken = true;
    is_paused = false;
    atomic_fetch_add(&session, 1);
    events_log.began = step_began = cr_clock_seconds();
    set_recording(args.warm_up <= 0);
    return CR_OK;
}

static void end_recorded_step(double now)
{
    struct profile_event step = { .name = "step",
                                  .layer = "",
                                  .start = step_began,
                                  .duration = now - step_began,
                                  .kind = PROFILE_STEP };
    if (state.session != atomic_load(&session))
        state_renew(atomic_load(&session));
    step.self = CR_MAX(step.duration - state.covered, 0);
    step.in_use = (int64_t)cr_memory_get_stats().in_use;
    state.covered = 0;
    event_add(&step);
    events_log.steps++;
    events_log.step_thread = state.thread;
    events_log.between += step.self;
    events_log.ended = now;
}

void cr_profile_step(void)
{
    if (!is_taken || is_paused)
        return;
    double now = cr_clock_seconds();
    if (steps_passed++ >= wanted.warm_up && (profile_mode() & PROFILE_TIME))
        end_recorded_step(now);
    bool more = wanted.steps <= 0 || steps_passed < wanted.warm_up + wanted.steps;
    state.covered = 0;
    set_recording(steps_passed >= wanted.warm_up && more);
    step_began = cr_clock_seconds();
    if (events_log.steps == 0)
        events_log.began = step_began;
}

bool cr_profile_pause(bool paused)
{
    bool was = is_paused;
    double now = cr_clock_seconds();
    is_paused = paused;
    if (!is_taken || was == paused)
        return was;
    bool more = wanted.steps <= 0 || steps_passed < wanted.warm_up + wanted.steps;
    set_recording(!paused && steps_passed >= wanted.warm_up && more);
    if (paused)
        paused_since = now;
    else
        step_began += now - paused_since;
    return was;
}

bool cr_profile_is_recording(void)
{
    return profile_mode() & PROFILE_TIME;
}

void profile_end(void)
{
    bool was_recording = profile_mode() & PROFILE_TIME;
    if (was_recording && steps_passed == 0)
        end_recorded_step(cr_clock_seconds());
    set_recording(false);
    is_taken = false;
}

const struct profile_log *profile_log_get(void)
{
    return &events_log;
}
