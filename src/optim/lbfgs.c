/* L-BFGS: Nocedal and Wright, "Numerical optimization", 2006, algorithms 7.4 and 7.5, with the
 * control flow and stopping rules of torch.optim.LBFGS and its strong-Wolfe line search.
 *
 * All parameters are one vector of doubles here; the history is a ring of steps and gradient
 * differences. */
#include <math.h>
#include <string.h>

#include "optim/optim.h"

struct lbfgs {
    int64_t length;     /* of the vector of all parameters */
    cr_tensor *steps;   /* owned, float64 (history, length): s_i */
    cr_tensor *changes; /* y_i */
    cr_tensor *vectors; /* owned, float64 (VECTORS, length) */
    cr_tensor *scalars; /* owned, float64 (SCALARS) */
};

enum { DIRECTION, GRADIENT, GRADIENT_BEFORE, START, TRIAL, VECTORS };
enum { COUNT, FIRST, SCALE, RATE, ITERATIONS, EVALUATIONS, LOSS_BEFORE, SCALARS };

static const char *const state_names[] = { "lbfgs.steps", "lbfgs.changes", "lbfgs.vectors",
                                           "lbfgs.scalars" };
#define STATE_COUNT 4

static cr_tensor **state_tensor(struct lbfgs *lbfgs, int index)
{
    cr_tensor **all[STATE_COUNT] = { &lbfgs->steps, &lbfgs->changes, &lbfgs->vectors,
                                     &lbfgs->scalars };
    return all[index];
}

void lbfgs_free(struct lbfgs *lbfgs)
{
    if (!lbfgs)
        return;
    for (int i = 0; i < STATE_COUNT; i++)
        cr_release(*state_tensor(lbfgs, i));
    cr_free(lbfgs);
}

static int64_t parameters_length(const cr_optim *optim)
{
    int64_t length = 0;
    for (int i = 0; i < optim->count; i++)
        length += cr_numel(optim->slots[i].weight);
    return length;
}

static cr_status lbfgs_prepare(cr_optim *optim)
{
    if (optim->lbfgs)
        return CR_OK;
    struct lbfgs *lbfgs = cr_alloc_zeroed(1, sizeof *lbfgs);
    if (!lbfgs)
        return CR_ERROR_MEMORY;
    int64_t length = parameters_length(optim);
    int64_t history = CR_MAX(optim->settings.history, 1);
    cr_frame frame = cr_frame_begin();
    lbfgs->length = length;
    lbfgs->steps = cr_retain(cr_zeros(CR_SHAPE(history, length), .dtype = CR_F64));
    lbfgs->changes = cr_retain(cr_zeros(CR_SHAPE(history, length), .dtype = CR_F64));
    lbfgs->vectors = cr_retain(cr_zeros(CR_SHAPE(VECTORS, length), .dtype = CR_F64));
    lbfgs->scalars = cr_retain(cr_zeros(CR_SHAPE(SCALARS), .dtype = CR_F64));
    cr_frame_end(frame);
    if (cr_failed()) {
        lbfgs_free(lbfgs);
        return cr_error_status();
    }
    optim->lbfgs = lbfgs;
    return CR_OK;
}

int lbfgs_state_count(const cr_optim *optim)
{
    return optim->lbfgs ? STATE_COUNT : 0;
}

cr_named_tensor lbfgs_state_at(const cr_optim *optim, int index)
{
    if (!optim->lbfgs || index >= STATE_COUNT)
        return (cr_named_tensor){ 0 };
    return (cr_named_tensor){ state_names[index], *state_tensor(optim->lbfgs, index), false };
}

cr_status lbfgs_state_set(cr_optim *optim, const char *name, cr_tensor *value)
{
    if (lbfgs_prepare(optim) != CR_OK)
        return cr_error_status();
    for (int i = 0; i < STATE_COUNT; i++) {
        if (strcmp(name, state_names[i]) == 0)
            return cr_copy_(*state_tensor(optim->lbfgs, i), value);
    }
    return cr_error_set(CR_ERROR_ARGUMENT, "optimizer state %s does not belong to lbfgs", name);
}

/* ---- vectors ---- */

static double *vector(const struct lbfgs *lbfgs, int which)
{
    return TENSOR_DATA(double, lbfgs->vectors) + which * lbfgs->length;
}

static double dot(const double *a, const double *b, int64_t length)
{
    double sum = 0;
    for (int64_t i = 0; i < length; i++)
        sum += a[i] * b[i];
    return sum;
}

static double largest(const double *a, int64_t length)
{
    double most = 0;
    for (int64_t i = 0; i < length; i++)
        most = fmax(most, fabs(a[i]));
    return most;
}

static double sum_of_sizes(const double *a, int64_t length)
{
    double sum = 0;
    for (int64_t i = 0; i < length; i++)
        sum += fabs(a[i]);
    return sum;
}

static void read_weights(const cr_optim *optim, double *out)
{
    for (int i = 0; i < optim->count; i++) {
        const cr_tensor *weight = optim->slots[i].weight;
        for (int64_t k = 0; k < cr_numel(weight); k++)
            *out++ = cr_element(weight, k);
    }
}

static void write_weights(cr_optim *optim, const double *in)
{
    for (int i = 0; i < optim->count; i++) {
        cr_tensor *weight = optim->slots[i].weight;
        int64_t count = cr_numel(weight);
        for (int64_t k = 0; k < count; k++) {
            if (weight->dtype == CR_F64)
                TENSOR_DATA(double, weight)[k] = *in++;
            else
                TENSOR_DATA(float, weight)[k] = (float)*in++;
        }
        cr_mark_written(weight);
    }
}

static void read_gradient(const cr_optim *optim, double *out)
{
    double sign = optim->settings.maximize ? -1 : 1;
    for (int i = 0; i < optim->count; i++) {
        const cr_tensor *grad = cr_grad_of(optim->slots[i].weight);
        int64_t count = cr_numel(optim->slots[i].weight);
        for (int64_t k = 0; k < count; k++)
            *out++ = grad ? sign * cr_element(grad, k) : 0;
    }
}

/* ---- the function along a line ---- */

struct line {
    cr_optim *optim;
    cr_optim_closure closure;
    void *context;
    int evaluations;
};

/* The loss at `at` + rate * direction, its gradient into `gradient`, and its slope. */
static double line_at(struct line *line, double rate, double *gradient, double *slope)
{
    struct lbfgs *lbfgs = line->optim->lbfgs;
    const double *start = vector(lbfgs, START);
    const double *direction = vector(lbfgs, DIRECTION);
    double *trial = vector(lbfgs, TRIAL);
    for (int64_t i = 0; i < lbfgs->length; i++)
        trial[i] = start[i] + rate * direction[i];
    write_weights(line->optim, trial);
    bool was = cr_set_grad_enabled(true);
    double loss = line->closure(line->context);
    cr_set_grad_enabled(was);
    line->evaluations++;
    read_gradient(line->optim, gradient);
    *slope = dot(gradient, direction, lbfgs->length);
    return loss;
}

/* The minimum of the cubic through two points with their slopes, kept within bounds. */
static double cubic_minimum(double x1, double f1, double g1, double x2, double f2, double g2,
                            double low, double high)
{
    double d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2);
    double square = d1 * d1 - g1 * g2;
    if (square < 0)
        return (low + high) / 2;
    double d2 = sqrt(square);
    double at = x1 <= x2 ? x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
                         : x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2));
    return fmin(fmax(at, low), high);
}

struct point {
    double rate;
    double loss;
    double slope;
};

#define C1               1e-4
#define C2               0.9
#define LINE_EVALUATIONS 25

static bool wolfe_holds(const struct point *p, double loss, double slope)
{
    return p->loss <= loss + C1 * p->rate * slope && fabs(p->slope) <= -C2 * slope;
}

/* Looks for two rates between which a good one lies; returns how many points it set (1: done). */
static int bracket(struct line *line, double rate, const struct point *zero, double *gradient,
                   struct point points[2])
{
    struct point before = *zero;
    struct point now = { rate, 0, 0 };
    now.loss = line_at(line, rate, gradient, &now.slope);
    for (int i = 0; i < LINE_EVALUATIONS && !cr_failed(); i++) {
        bool rises = now.loss > zero->loss + C1 * now.rate * zero->slope ||
                     (i > 0 && now.loss >= before.loss);
        if (!rises && fabs(now.slope) <= -C2 * zero->slope) {
            points[0] = now;
            return 1;
        }
        if (rises || now.slope >= 0) {
            points[0] = before;
            points[1] = now;
            return 2;
        }
        double least = now.rate + 0.01 * (now.rate - before.rate);
        double most = now.rate * 10;
        struct point next = { cubic_minimum(before.rate, before.loss, before.slope, now.rate,
                                            now.loss, now.slope, least, most),
                              0, 0 };
        next.loss = line_at(line, next.rate, gradient, &next.slope);
        before = now;
        now = next;
    }
    points[0] = *zero;
    points[1] = now;
    return 2;
}

/* Narrows the bracket until the strong Wolfe conditions hold or it is too small. */
static struct point zoom(struct line *line, const struct point *zero, double *gradient,
                         double direction_size, struct point points[2])
{
    bool stuck = false;
    int low = points[0].loss <= points[1].loss ? 0 : 1;
    for (int i = 0; i < LINE_EVALUATIONS && !cr_failed(); i++) {
        struct point *p = points;
        double from = fmin(p[0].rate, p[1].rate);
        double to = fmax(p[0].rate, p[1].rate);
        if ((to - from) * direction_size < line->optim->settings.tolerance_change)
            break;
        struct point now = { cubic_minimum(p[0].rate, p[0].loss, p[0].slope, p[1].rate, p[1].loss,
                                           p[1].slope, from, to),
                             0, 0 };
        double margin = 0.1 * (to - from);
        bool near = fmin(to - now.rate, now.rate - from) < margin;
        if (near && (stuck || now.rate >= to || now.rate <= from)) {
            now.rate = fabs(now.rate - to) < fabs(now.rate - from) ? to - margin : from + margin;
            stuck = false;
        } else {
            stuck = near;
        }
        now.loss = line_at(line, now.rate, gradient, &now.slope);
        if (now.loss > zero->loss + C1 * now.rate * zero->slope || now.loss >= p[low].loss) {
            p[1 - low] = now;
            low = p[0].loss <= p[1].loss ? 0 : 1;
            continue;
        }
        bool done = wolfe_holds(&now, zero->loss, zero->slope);
        if (!done && now.slope * (p[1 - low].rate - p[low].rate) >= 0)
            p[1 - low] = p[low];
        p[low] = now;
        if (done)
            break;
    }
    return points[low];
}

static double strong_wolfe(struct line *line, double rate, double loss, double slope, double *at)
{
    struct lbfgs *lbfgs = line->optim->lbfgs;
    double *gradient = vector(lbfgs, GRADIENT);
    double size = largest(vector(lbfgs, DIRECTION), lbfgs->length);
    struct point zero = { 0, loss, slope };
    struct point points[2];
    struct point found;
    if (bracket(line, rate, &zero, gradient, points) == 1)
        found = points[0];
    else
        found = zoom(line, &zero, gradient, size, points);
    /* The gradient must be the found point's, not the last tried one's. */
    *at = found.rate;
    line->evaluations--;
    return line_at(line, found.rate, gradient, &slope);
}

/* ---- the direction ---- */

static void history_push(struct lbfgs *lbfgs, int64_t limit, double rate)
{
    double *scalars = TENSOR_DATA(double, lbfgs->scalars);
    const double *gradient = vector(lbfgs, GRADIENT);
    const double *before = vector(lbfgs, GRADIENT_BEFORE);
    const double *direction = vector(lbfgs, DIRECTION);
    int64_t length = lbfgs->length;
    int64_t slot = ((int64_t)scalars[FIRST] + (int64_t)scalars[COUNT]) % limit;
    double *s = TENSOR_DATA(double, lbfgs->steps) + slot * length;
    double *y = TENSOR_DATA(double, lbfgs->changes) + slot * length;
    double sy = 0;
    double yy = 0;
    for (int64_t i = 0; i < length; i++) {
        double change = gradient[i] - before[i];
        sy += rate * direction[i] * change;
        yy += change * change;
    }
    if (sy <= 1e-10)
        return;
    for (int64_t i = 0; i < length; i++) {
        s[i] = rate * direction[i];
        y[i] = gradient[i] - before[i];
    }
    if ((int64_t)scalars[COUNT] == limit)
        scalars[FIRST] = (double)(((int64_t)scalars[FIRST] + 1) % limit);
    else
        scalars[COUNT]++;
    scalars[SCALE] = sy / yy;
}

/* direction = -H gradient, by the two-loop recursion. */
static cr_status two_loops(struct lbfgs *lbfgs, int64_t limit)
{
    const double *scalars = TENSOR_DATA(double, lbfgs->scalars);
    double *direction = vector(lbfgs, DIRECTION);
    const double *gradient = vector(lbfgs, GRADIENT);
    int64_t length = lbfgs->length;
    int64_t count = (int64_t)scalars[COUNT];
    double *factors = cr_alloc_array((size_t)CR_MAX(count, 1), sizeof *factors);
    if (!factors)
        return CR_ERROR_MEMORY;
    for (int64_t i = 0; i < length; i++)
        direction[i] = -gradient[i];
    for (int64_t k = count - 1; k >= 0; k--) {
        int64_t slot = ((int64_t)scalars[FIRST] + k) % limit;
        const double *s = TENSOR_DATA(double, lbfgs->steps) + slot * length;
        const double *y = TENSOR_DATA(double, lbfgs->changes) + slot * length;
        factors[k] = dot(s, direction, length) / dot(y, s, length);
        for (int64_t i = 0; i < length; i++)
            direction[i] -= factors[k] * y[i];
    }
    for (int64_t i = 0; i < length; i++)
        direction[i] *= scalars[SCALE];
    for (int64_t k = 0; k < count; k++) {
        int64_t slot = ((int64_t)scalars[FIRST] + k) % limit;
        const double *s = TENSOR_DATA(double, lbfgs->steps) + slot * length;
        const double *y = TENSOR_DATA(double, lbfgs->changes) + slot * length;
        double back = factors[k] - dot(y, direction, length) / dot(y, s, length);
        for (int64_t i = 0; i < length; i++)
            direction[i] += back * s[i];
    }
    cr_free(factors);
    return CR_OK;
}

static cr_status next_direction(cr_optim *optim)
{
    struct lbfgs *lbfgs = optim->lbfgs;
    double *scalars = TENSOR_DATA(double, lbfgs->scalars);
    int64_t limit = cr_dim(lbfgs->steps, 0);
    if (scalars[ITERATIONS] > 1) {
        history_push(lbfgs, limit, scalars[RATE]);
    } else {
        scalars[COUNT] = 0;
        scalars[FIRST] = 0;
        scalars[SCALE] = 1;
    }
    cr_status status = two_loops(lbfgs, limit);
    memcpy(vector(lbfgs, GRADIENT_BEFORE), vector(lbfgs, GRADIENT),
           (size_t)lbfgs->length * sizeof(double));
    return status;
}

/* One iteration; true when a stopping rule says that the step is over. */
static bool iterate(struct line *line, double *loss)
{
    cr_optim *optim = line->optim;
    const cr_optim_settings *settings = &optim->settings;
    struct lbfgs *lbfgs = optim->lbfgs;
    double *scalars = TENSOR_DATA(double, lbfgs->scalars);
    double *gradient = vector(lbfgs, GRADIENT);
    const double *direction = vector(lbfgs, DIRECTION);
    int64_t length = lbfgs->length;
    scalars[ITERATIONS]++;
    if (next_direction(optim) != CR_OK)
        return true;
    double loss_before = *loss;
    double rate = settings->lr;
    if (scalars[ITERATIONS] == 1)
        rate *= fmin(1, 1 / sum_of_sizes(gradient, length));
    double slope = dot(gradient, direction, length);
    scalars[RATE] = rate;
    if (slope > -settings->tolerance_change)
        return true;
    read_weights(optim, vector(lbfgs, START));
    if (settings->strong_wolfe)
        *loss = strong_wolfe(line, rate, *loss, slope, &rate);
    else
        *loss = line_at(line, rate, gradient, &slope);
    scalars[RATE] = rate;
    return cr_failed() || largest(gradient, length) <= settings->tolerance_grad ||
           largest(direction, length) * rate <= settings->tolerance_change ||
           fabs(*loss - loss_before) < settings->tolerance_change;
}

cr_status lbfgs_step(cr_optim *optim, cr_optim_closure closure, void *context, double *loss)
{
    if (lbfgs_prepare(optim) != CR_OK)
        return cr_error_status();
    const cr_optim_settings *settings = &optim->settings;
    int most =
        settings->max_evaluations ? settings->max_evaluations : settings->max_iterations * 5 / 4;
    struct line line = { .optim = optim, .closure = closure, .context = context };
    double now = closure(context);
    line.evaluations = 1;
    if (loss)
        *loss = now;
    double *gradient = vector(optim->lbfgs, GRADIENT);
    read_gradient(optim, gradient);
    bool done = cr_failed() || largest(gradient, optim->lbfgs->length) <= settings->tolerance_grad;
    for (int i = 0; i < settings->max_iterations && !done && line.evaluations < most; i++)
        done = iterate(&line, &now);
    return cr_error_status();
}
