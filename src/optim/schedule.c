/* Schedules: the learning rate as a closed form of the number of steps, and reduce-on-plateau. */
#include <math.h>
#include <string.h>

#include "optim/optim.h"

enum schedule_kind {
    SCHEDULE_CONSTANT,
    SCHEDULE_STEP,
    SCHEDULE_MULTISTEP,
    SCHEDULE_EXPONENTIAL,
    SCHEDULE_POLYNOMIAL,
    SCHEDULE_COSINE,
    SCHEDULE_RESTARTS,
    SCHEDULE_LINEAR,
    SCHEDULE_ONE_CYCLE,
    SCHEDULE_CHAINED,
    SCHEDULE_SEQUENTIAL
};

struct cr_schedule {
    enum schedule_kind kind;
    int64_t total; /* or step size, or the length of the first cycle */
    int64_t multiplier;
    double a; /* gamma, power, lowest rate, start factor */
    double b; /* end factor */
    cr_one_cycle_args cycle;
    int count; /* of milestones and parts */
    int64_t *milestones;
    cr_schedule **parts;
};

#define PI 3.14159265358979323846

static cr_schedule *make(cr_schedule schedule)
{
    if (cr_failed())
        return NULL;
    cr_schedule *made = cr_alloc(sizeof *made);
    if (made)
        *made = schedule;
    return made;
}

static bool positive(const char *what, int64_t value)
{
    if (value > 0)
        return true;
    cr_error_set(CR_ERROR_ARGUMENT, "schedule: %s must be positive, not %lld", what,
                 (long long)value);
    return false;
}

cr_schedule *cr_schedule_constant(void)
{
    return make((cr_schedule){ .kind = SCHEDULE_CONSTANT });
}

cr_schedule *cr_schedule_step(int64_t step_size, double gamma)
{
    if (!positive("the step size", step_size))
        return NULL;
    return make((cr_schedule){ .kind = SCHEDULE_STEP, .total = step_size, .a = gamma });
}

/* Takes copies of the milestones and takes over the parts; frees both on failure. */
static cr_schedule *make_list(cr_schedule schedule, const int64_t *milestones,
                              cr_schedule *const *parts, int count)
{
    bool whole = true;
    for (int i = 0; parts && i < count; i++)
        whole = whole && parts[i];
    cr_schedule *made = whole ? make(schedule) : NULL;
    if (made) {
        made->count = count;
        made->milestones = cr_alloc_zeroed((size_t)CR_MAX(count, 1), sizeof *made->milestones);
        made->parts = cr_alloc_zeroed((size_t)CR_MAX(count, 1), sizeof(cr_schedule *));
    }
    if (!made || !made->milestones || !made->parts) {
        for (int i = 0; parts && i < count; i++)
            cr_schedule_free(parts[i]);
        if (made)
            made->count = 0;
        cr_schedule_free(made);
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        made->milestones[i] = milestones ? milestones[i] : 0;
        made->parts[i] = parts ? parts[i] : NULL;
    }
    return made;
}

cr_schedule *cr_schedule_multistep(const int64_t *milestones, int count, double gamma)
{
    return make_list((cr_schedule){ .kind = SCHEDULE_MULTISTEP, .a = gamma }, milestones, NULL,
                     count);
}

cr_schedule *cr_schedule_exponential(double gamma)
{
    return make((cr_schedule){ .kind = SCHEDULE_EXPONENTIAL, .a = gamma });
}

cr_schedule *cr_schedule_polynomial(int64_t total, double power)
{
    if (!positive("the number of steps", total))
        return NULL;
    return make((cr_schedule){ .kind = SCHEDULE_POLYNOMIAL, .total = total, .a = power });
}

cr_schedule *cr_schedule_cosine(int64_t total, double lr_min)
{
    if (!positive("the number of steps", total))
        return NULL;
    return make((cr_schedule){ .kind = SCHEDULE_COSINE, .total = total, .a = lr_min });
}

cr_schedule *cr_schedule_cosine_restarts(int64_t first, int64_t multiplier, double lr_min)
{
    if (!positive("the length of the first cycle", first) ||
        !positive("the multiplier", multiplier))
        return NULL;
    return make((cr_schedule){
        .kind = SCHEDULE_RESTARTS, .total = first, .multiplier = multiplier, .a = lr_min });
}

cr_schedule *cr_schedule_linear(int64_t total, double start_factor, double end_factor)
{
    if (!positive("the number of steps", total))
        return NULL;
    return make((cr_schedule){
        .kind = SCHEDULE_LINEAR, .total = total, .a = start_factor, .b = end_factor });
}

static void set_default(double *field, double value)
{
    if (*field == 0)
        *field = value;
}

cr_schedule *cr_schedule_one_cycle(cr_one_cycle_args args)
{
    if (!positive("the number of steps", args.total))
        return NULL;
    set_default(&args.warm_fraction, 0.3);
    set_default(&args.div_factor, 25);
    set_default(&args.final_div_factor, 1e4);
    set_default(&args.momentum_min, 0.85);
    set_default(&args.momentum_max, 0.95);
    return make((cr_schedule){ .kind = SCHEDULE_ONE_CYCLE, .total = args.total, .cycle = args });
}

cr_schedule *cr_schedule_chained(cr_schedule *const *parts, int count)
{
    return make_list((cr_schedule){ .kind = SCHEDULE_CHAINED }, NULL, parts, count);
}

cr_schedule *cr_schedule_sequential(cr_schedule *const *parts, const int64_t *milestones, int count)
{
    return make_list((cr_schedule){ .kind = SCHEDULE_SEQUENTIAL }, milestones, parts, count);
}

/* Schedules nest as deeply as the caller built them. */
void cr_schedule_free(cr_schedule *schedule)
{
    if (!schedule)
        return;
    for (int i = 0; i < schedule->count && schedule->parts; i++)
        cr_schedule_free(schedule->parts[i]);
    cr_free(schedule->parts);
    cr_free(schedule->milestones);
    cr_free(schedule);
}

/* ---- values ---- */

static double multistep(const cr_schedule *schedule, int64_t t)
{
    double factor = 1;
    for (int i = 0; i < schedule->count; i++)
        factor *= t >= schedule->milestones[i] ? schedule->a : 1;
    return factor;
}

static double cosine_between(double high, double low, double part)
{
    return low + (high - low) * (1 + cos(PI * part)) / 2;
}

/* Loshchilov and Hutter, "SGDR", 2016. */
static double restarts(const cr_schedule *schedule, double base, int64_t t)
{
    int64_t length = schedule->total;
    while (t >= length) {
        t -= length;
        length *= schedule->multiplier;
    }
    return cosine_between(base, schedule->a, (double)t / (double)length);
}

/* The value of a quantity that runs from `start` to `high` to `end` (and on to `last`). */
static double cycle_value(const cr_one_cycle_args *cycle, int64_t t, const double points[4])
{
    double total = (double)cycle->total;
    double warm = cycle->warm_fraction * total - 1;
    double ends[3] = { warm, cycle->three_phase ? 2 * cycle->warm_fraction * total - 2 : total - 1,
                       total - 1 };
    double from = 0;
    double now = fmin((double)t, total - 1);
    int phase = 0;
    int last = cycle->three_phase ? 2 : 1;
    while (phase < last && now > ends[phase])
        from = ends[phase++];
    double part = ends[phase] > from ? (now - from) / (ends[phase] - from) : 1;
    double start = points[phase];
    double end = points[phase + 1];
    return cycle->linear ? start + (end - start) * part : cosine_between(start, end, part);
}

static double one_cycle(const cr_one_cycle_args *cycle, double base, int64_t t)
{
    double start = base / cycle->div_factor;
    double end = start / cycle->final_div_factor;
    if (cycle->three_phase)
        return cycle_value(cycle, t, (const double[]){ start, base, start, end });
    return cycle_value(cycle, t, (const double[]){ start, base, end, end });
}

static const cr_schedule *sequential_part(const cr_schedule *schedule, int64_t *t)
{
    int part = 0;
    while (part + 1 < schedule->count && *t >= schedule->milestones[part + 1])
        part++;
    *t -= schedule->milestones[part];
    return schedule->count ? schedule->parts[part] : NULL;
}

double cr_schedule_lr(const cr_schedule *schedule, double base, int64_t t)
{
    if (!schedule)
        return base;
    double done = schedule->total ? fmin((double)t / (double)schedule->total, 1) : 0;
    switch (schedule->kind) {
    case SCHEDULE_CONSTANT:
        return base;
    case SCHEDULE_STEP:
        return base * pow(schedule->a, (double)(t / schedule->total));
    case SCHEDULE_MULTISTEP:
        return base * multistep(schedule, t);
    case SCHEDULE_EXPONENTIAL:
        return base * pow(schedule->a, (double)t);
    case SCHEDULE_POLYNOMIAL:
        return base * pow(1 - done, schedule->a);
    case SCHEDULE_COSINE:
        return cosine_between(base, schedule->a, (double)t / (double)schedule->total);
    case SCHEDULE_RESTARTS:
        return restarts(schedule, base, t);
    case SCHEDULE_LINEAR:
        return base * (schedule->a + (schedule->b - schedule->a) * done);
    case SCHEDULE_ONE_CYCLE:
        return one_cycle(&schedule->cycle, base, t);
    case SCHEDULE_CHAINED:
        for (int i = 0; i < schedule->count; i++)
            base = cr_schedule_lr(schedule->parts[i], base, t);
        return base;
    case SCHEDULE_SEQUENTIAL:
        schedule = sequential_part(schedule, &t);
        return cr_schedule_lr(schedule, base, t);
    }
    return base;
}

double cr_schedule_momentum(const cr_schedule *schedule, int64_t t)
{
    if (schedule && schedule->kind == SCHEDULE_SEQUENTIAL) {
        schedule = sequential_part(schedule, &t);
        return cr_schedule_momentum(schedule, t);
    }
    if (!schedule || schedule->kind != SCHEDULE_ONE_CYCLE || schedule->cycle.keep_momentum)
        return -1;
    double high = schedule->cycle.momentum_max;
    double low = schedule->cycle.momentum_min;
    return cycle_value(&schedule->cycle, t, (const double[]){ high, low, high, high });
}

/* ---- plateau ---- */

static bool is_better(const cr_plateau *plateau, double metric)
{
    double threshold = plateau->threshold == 0 ? 1e-4 : plateau->threshold;
    double margin = plateau->absolute ? threshold : threshold * fabs(plateau->best);
    if (!plateau->started)
        return true;
    return plateau->maximize ? metric > plateau->best + margin : metric < plateau->best - margin;
}

double cr_plateau_update(cr_plateau *plateau, double metric)
{
    int patience = plateau->patience == 0 ? 10 : CR_MAX(plateau->patience, 0);
    if (plateau->scale == 0)
        plateau->scale = 1;
    if (is_better(plateau, metric)) {
        plateau->best = metric;
        plateau->bad = 0;
        plateau->started = true;
    } else {
        plateau->bad++;
    }
    if (plateau->cooling > 0) {
        plateau->cooling--;
        plateau->bad = 0;
    }
    if (plateau->bad > patience) {
        double factor = plateau->factor == 0 ? 0.1 : plateau->factor;
        plateau->scale = fmax(plateau->scale * factor, plateau->min_factor);
        plateau->cooling = plateau->cooldown;
        plateau->bad = 0;
    }
    return plateau->scale;
}
