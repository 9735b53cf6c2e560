/* Optimisers that look at one element at a time: making them, their groups, their step, their
 * state.
 *
 * A step first gives every parameter with a gradient its state, then runs one loop over all of
 * them, cut into parts of fixed length, so that small parameters do not cost a thread each. lamb
 * needs the norms of whole parameters, and lbfgs has a file of its own. */
#include <math.h>
#include <string.h>

#include "cresset/profile.h"
#include "optim/optim.h"

#define PART_ELEMENTS 16384

static const char *const kind_names[CR_OPTIM_COUNT] = {
#define KIND_NAME(name, word) word,
    CR_OPTIM_TABLE(KIND_NAME)
#undef KIND_NAME
};

const char *cr_optim_name(cr_optim_kind kind)
{
    return (unsigned)kind < CR_OPTIM_COUNT ? kind_names[kind] : "unknown";
}

cr_optim_kind cr_optim_find(const char *word)
{
    int found = cr_word_find("optimizer", word, kind_names, CR_OPTIM_COUNT);
    return found < 0 ? CR_OPTIM_COUNT : (cr_optim_kind)found;
}

cr_optim_settings cr_optim_defaults(cr_optim_kind kind)
{
    cr_optim_settings settings = {
        .kind = kind,
        .lr = 1e-3,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .eps = 1e-8,
        .alpha = 0.99,
        .rho = 0.9,
        .momentum_decay = 4e-3,
        .max_iterations = 20,
        .tolerance_grad = 1e-7,
        .tolerance_change = 1e-9,
        .history = 100,
    };
    switch (kind) {
    case CR_OPTIM_SGD:
    case CR_OPTIM_RMSPROP:
        settings.lr = 1e-2;
        break;
    case CR_OPTIM_ADAMW:
        settings.weight_decay = 1e-2;
        break;
    case CR_OPTIM_ADAGRAD:
        settings.lr = 1e-2;
        settings.eps = 1e-10;
        break;
    case CR_OPTIM_ADADELTA:
        settings.lr = 1;
        settings.eps = 1e-6;
        break;
    case CR_OPTIM_NADAM:
        settings.lr = 2e-3;
        break;
    case CR_OPTIM_LAMB:
        settings.eps = 1e-6;
        settings.weight_decay = 1e-2;
        break;
    case CR_OPTIM_LBFGS:
        settings.lr = 1;
        break;
    default:
        break;
    }
    return settings;
}

/* ---- making ---- */

static cr_status settings_check(const cr_optim_settings *settings)
{
    if ((unsigned)settings->kind >= CR_OPTIM_COUNT)
        return cr_error_set(CR_ERROR_ARGUMENT, "%d is not an optimizer", (int)settings->kind);
    const char *name = kind_names[settings->kind];
    if (!(settings->lr >= 0))
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: the learning rate %g must not be negative",
                            name, settings->lr);
    if (!(settings->weight_decay >= 0))
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: the weight decay %g must not be negative", name,
                            settings->weight_decay);
    if (!(settings->beta1 >= 0 && settings->beta1 < 1 && settings->beta2 >= 0 &&
          settings->beta2 < 1))
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: the betas %g and %g must lie in [0, 1)", name,
                            settings->beta1, settings->beta2);
    if (settings->nesterov && (settings->momentum <= 0 || settings->dampening != 0))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "%s: Nesterov momentum needs a momentum and no dampening", name);
    return CR_OK;
}

cr_optim *cr_optim_new(cr_model *model, cr_optim_settings settings)
{
    if (cr_failed() || settings_check(&settings) != CR_OK)
        return NULL;
    int all = cr_model_tensor_count(model);
    cr_optim *optim = cr_alloc_zeroed(1, sizeof *optim);
    struct slot *slots = cr_alloc_zeroed((size_t)CR_MAX(all, 1), sizeof *slots);
    if (!optim || !slots) {
        cr_free(optim);
        cr_free(slots);
        return NULL;
    }
    optim->settings = settings;
    optim->slots = slots;
    for (int i = 0; i < all; i++) {
        cr_named_tensor named = cr_model_tensor_at(model, i);
        if (named.is_buffer || !cr_requires_grad(named.tensor))
            continue;
        slots[optim->count++] = (struct slot){
            .name = named.name, .weight = named.tensor, .lr_scale = 1, .weight_decay = -1
        };
    }
    if (optim->count == 0) {
        cr_error_set(CR_ERROR_STATE,
                     "%s: the model has no trainable parameters; build it first "
                     "(cr_model_build) and do not freeze all of it",
                     kind_names[settings.kind]);
        cr_optim_free(optim);
        return NULL;
    }
    return optim;
}

void cr_optim_free(cr_optim *optim)
{
    if (!optim)
        return;
    for (int i = 0; i < optim->count; i++) {
        for (int s = 0; s < OPTIMIZER_STATES; s++)
            cr_release(optim->slots[i].state[s]);
        cr_release(optim->slots[i].counters);
    }
    lbfgs_free(optim->lbfgs);
    cr_free(optim->slots);
    cr_free(optim->state_name);
    cr_free(optim);
}

cr_optim *cr_sgd(cr_model *model, double lr, double momentum)
{
    cr_optim_settings settings = cr_optim_defaults(CR_OPTIM_SGD);
    settings.lr = lr;
    settings.momentum = momentum;
    return cr_optim_new(model, settings);
}

cr_optim *cr_adam(cr_model *model, double lr)
{
    cr_optim_settings settings = cr_optim_defaults(CR_OPTIM_ADAM);
    settings.lr = lr;
    return cr_optim_new(model, settings);
}

cr_optim *cr_adamw(cr_model *model, double lr, double weight_decay)
{
    cr_optim_settings settings = cr_optim_defaults(CR_OPTIM_ADAMW);
    settings.lr = lr;
    settings.weight_decay = weight_decay;
    return cr_optim_new(model, settings);
}

int cr_optim_group(cr_optim *optim, const char *pattern, double lr_scale, double weight_decay)
{
    if (!optim || cr_failed())
        return -1;
    int count = 0;
    for (int i = 0; i < optim->count; i++) {
        if (!cr_pattern_match(pattern, optim->slots[i].name))
            continue;
        optim->slots[i].lr_scale = lr_scale;
        optim->slots[i].weight_decay = weight_decay;
        count++;
    }
    return count;
}

double cr_optim_lr(const cr_optim *optim)
{
    return optim->settings.lr;
}

void cr_optim_set_lr(cr_optim *optim, double lr)
{
    optim->settings.lr = lr;
}

static double *momentum_field(cr_optim_settings *settings)
{
    bool is_plain = settings->kind == CR_OPTIM_SGD || settings->kind == CR_OPTIM_RMSPROP;
    return is_plain ? &settings->momentum : &settings->beta1;
}

double cr_optim_momentum(const cr_optim *optim)
{
    cr_optim_settings settings = optim->settings;
    return *momentum_field(&settings);
}

void cr_optim_set_momentum(cr_optim *optim, double momentum)
{
    *momentum_field(&optim->settings) = momentum;
}

/* ---- state ---- */

struct state_plan {
    const char *names[OPTIMIZER_STATES];
    bool needed[OPTIMIZER_STATES];
};

/* Which state tensors the optimiser keeps; the names are torch.optim's. */
static struct state_plan plan_state(const cr_optim_settings *settings)
{
    switch (settings->kind) {
    case CR_OPTIM_SGD:
        return (struct state_plan){ { "momentum_buffer" }, { settings->momentum != 0 } };
    case CR_OPTIM_ADAM:
    case CR_OPTIM_ADAMW:
        return (struct state_plan){ { "exp_avg", "exp_avg_sq", "max_exp_avg_sq" },
                                    { true, true, settings->amsgrad } };
    case CR_OPTIM_NADAM:
    case CR_OPTIM_RADAM:
        return (struct state_plan){ { "exp_avg", "exp_avg_sq" }, { true, true } };
    case CR_OPTIM_LAMB:
        return (struct state_plan){ { "exp_avg", "exp_avg_sq", "direction" },
                                    { true, true, true } };
    case CR_OPTIM_RMSPROP:
        return (struct state_plan){ { "square_avg", "momentum_buffer", "grad_avg" },
                                    { true, settings->momentum != 0, settings->centered } };
    case CR_OPTIM_ADAGRAD:
        return (struct state_plan){ { "sum" }, { true } };
    case CR_OPTIM_ADADELTA:
        return (struct state_plan){ { "square_avg", "acc_delta" }, { true, true } };
    default:
        return (struct state_plan){ 0 };
    }
}

cr_tensor *slot_grad(const struct slot *slot)
{
    cr_tensor *grad = cr_grad_of(slot->weight);
    return grad ? cr_contiguous(grad) : NULL;
}

double slot_weight_decay(const cr_optim *optim, const struct slot *slot)
{
    return slot->weight_decay < 0 ? optim->settings.weight_decay : slot->weight_decay;
}

/* A tensor like the weight, filled with a value, in the caller's ownership. */
static cr_tensor *like_weight(const struct slot *slot, double value)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *tensor = cr_retain(cr_full_with(
        (cr_tensor_args){ .shape = slot->weight->shape, .dtype = (cr_dtype)slot->weight->dtype },
        value));
    cr_frame_end(frame);
    return tensor;
}

static cr_status slot_prepare(const cr_optim *optim, struct slot *slot)
{
    struct state_plan plan = plan_state(&optim->settings);
    double value =
        optim->settings.kind == CR_OPTIM_ADAGRAD ? optim->settings.initial_accumulator : 0;
    for (int s = 0; s < OPTIMIZER_STATES; s++) {
        if (plan.needed[s] && !slot->state[s])
            slot->state[s] = like_weight(slot, value);
        if (plan.needed[s] && !slot->state[s])
            return cr_error_status();
        cr_memory_tag(slot->state[s], CR_MEMORY_OPTIMIZER);
    }
    if (slot->counters)
        return CR_OK;
    cr_frame frame = cr_frame_begin();
    slot->counters = cr_retain(cr_from_buffer((const double[]){ 0, 1 }, CR_SHAPE(2), CR_F64));
    cr_frame_end(frame);
    return cr_error_status();
}

/* Counters first, then the arrays, slot by slot; absent ones are left out. */
static cr_named_tensor state_find(const cr_optim *optim, int index, const char **prefix)
{
    struct state_plan plan = plan_state(&optim->settings);
    for (int i = 0; i < optim->count; i++) {
        const struct slot *slot = &optim->slots[i];
        if (slot->counters && index-- == 0) {
            *prefix = "step";
            return (cr_named_tensor){ slot->name, slot->counters, false };
        }
        for (int s = 0; s < OPTIMIZER_STATES; s++) {
            if (slot->state[s] && index-- == 0) {
                *prefix = plan.names[s];
                return (cr_named_tensor){ slot->name, slot->state[s], false };
            }
        }
    }
    return (cr_named_tensor){ 0 };
}

static int slot_state_count(const cr_optim *optim)
{
    int count = 0;
    for (int i = 0; i < optim->count; i++) {
        count += optim->slots[i].counters != NULL;
        for (int s = 0; s < OPTIMIZER_STATES; s++)
            count += optim->slots[i].state[s] != NULL;
    }
    return count;
}

int cr_optim_state_count(const cr_optim *optim)
{
    return slot_state_count(optim) + lbfgs_state_count(optim);
}

cr_named_tensor cr_optim_state_at(const cr_optim *optim, int index)
{
    int own = slot_state_count(optim);
    if (index >= own)
        return lbfgs_state_at(optim, index - own);
    const char *prefix = "";
    cr_named_tensor named = state_find(optim, index, &prefix);
    /* The name is put together here and lives until the next call. */
    cr_optim *writable = (cr_optim *)(uintptr_t)optim;
    cr_free(writable->state_name);
    writable->state_name = named.tensor ? cr_string_format("%s.%s", prefix, named.name) : NULL;
    named.name = writable->state_name;
    return named;
}

static cr_status state_copy(cr_tensor **to, const struct slot *slot, const char *name,
                            cr_tensor *value, bool is_counter)
{
    cr_shape shape = is_counter ? CR_SHAPE(2) : slot->weight->shape;
    if (!cr_shape_equal(&shape, &value->shape)) {
        char text[2][CR_SHAPE_TEXT];
        return cr_error_set(CR_ERROR_SHAPE, "optimizer state %s has shape %s but should have %s",
                            name, cr_shape_format(&value->shape, text[0], CR_SHAPE_TEXT),
                            cr_shape_format(&shape, text[1], CR_SHAPE_TEXT));
    }
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(false);
    cr_tensor *copy = cr_retain(
        cr_clone(cr_to_dtype(value, is_counter ? CR_F64 : (cr_dtype)slot->weight->dtype)));
    cr_set_grad_enabled(was);
    cr_frame_end(frame);
    if (!copy)
        return cr_error_status();
    cr_release(*to);
    *to = copy;
    return CR_OK;
}

cr_status cr_optim_state_set(cr_optim *optim, const char *name, cr_tensor *value)
{
    if (cr_failed() || !value)
        return cr_failed() ? cr_error_status()
                           : cr_error_set(CR_ERROR_ARGUMENT, "optimizer state %s is NULL", name);
    if (optim->settings.kind == CR_OPTIM_LBFGS)
        return lbfgs_state_set(optim, name, value);
    struct state_plan plan = plan_state(&optim->settings);
    const char *dot = strchr(name, '.');
    size_t length = dot ? (size_t)(dot - name) : 0;
    for (int i = 0; dot && i < optim->count; i++) {
        struct slot *slot = &optim->slots[i];
        if (strcmp(slot->name, dot + 1) != 0)
            continue;
        if (length == 4 && memcmp(name, "step", 4) == 0)
            return state_copy(&slot->counters, slot, name, value, true);
        for (int s = 0; s < OPTIMIZER_STATES; s++) {
            const char *own = plan.needed[s] ? plan.names[s] : "";
            if (strlen(own) == length && memcmp(own, name, length) == 0)
                return state_copy(&slot->state[s], slot, name, value, false);
        }
    }
    return cr_error_set(CR_ERROR_ARGUMENT,
                        "optimizer state %s does not belong to this model and %s", name,
                        kind_names[optim->settings.kind]);
}

/* ---- the step ---- */

/* A slot that takes part in this step. */
struct work {
    void *weight;
    const void *grad;
    void *state[OPTIMIZER_STATES];
    bool is_double;
    int64_t count;
    int64_t first_part; /* number of the first of its parts */
    struct optimizer_numbers numbers;
};

struct step {
    cr_optim_kind kind;
    struct work *work;
    int count;
};

static void nadam_numbers(const cr_optim_settings *settings, double t, double *product,
                          struct optimizer_numbers *numbers)
{
    double beta = settings->beta1;
    double decay = settings->momentum_decay;
    double now = beta * (1 - 0.5 * pow(0.96, t * decay));
    double next = beta * (1 - 0.5 * pow(0.96, (t + 1) * decay));
    *product *= now;
    numbers->grad_factor = (1 - now) / (1 - *product);
    numbers->momentum_factor = next / (1 - *product * next);
}

/* Liu et al., "On the variance of the adaptive learning rate and beyond", 2019. */
static void radam_numbers(const cr_optim_settings *settings, double t,
                          struct optimizer_numbers *numbers)
{
    double limit = 2 / (1 - settings->beta2) - 1;
    double length = limit - 2 * t * pow(settings->beta2, t) / numbers->correction2;
    numbers->rectified = length > 5;
    numbers->momentum_factor = 1;
    if (numbers->rectified)
        numbers->momentum_factor =
            sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length));
}

/* Counts the step and computes what is the same for all elements of the slot. */
static struct optimizer_numbers slot_numbers(const cr_optim *optim, struct slot *slot)
{
    const cr_optim_settings *settings = &optim->settings;
    double *counters = TENSOR_DATA(double, slot->counters);
    double t = ++counters[0];
    struct optimizer_numbers numbers = {
        .lr = settings->lr * slot->lr_scale,
        .weight_decay = slot_weight_decay(optim, slot),
        .grad_sign = settings->maximize ? -1 : 1,
        .momentum = settings->momentum,
        .dampening = settings->dampening,
        .nesterov = settings->nesterov,
        .first = t == 1,
        .beta1 = settings->beta1,
        .beta2 = settings->beta2,
        .eps = settings->eps,
        .amsgrad = settings->amsgrad,
        .correction1 = 1 - pow(settings->beta1, t),
        .correction2 = 1 - pow(settings->beta2, t),
        .alpha = settings->alpha,
        .centered = settings->centered,
        .rho = settings->rho,
    };
    if (settings->kind == CR_OPTIM_ADAGRAD)
        numbers.lr /= 1 + (t - 1) * settings->lr_decay;
    if (settings->kind == CR_OPTIM_NADAM)
        nadam_numbers(settings, t, &counters[1], &numbers);
    if (settings->kind == CR_OPTIM_RADAM)
        radam_numbers(settings, t, &numbers);
    return numbers;
}

static optimizer_loop_f32 loop_f32(cr_optim_kind kind)
{
    const struct optimizer_loops *loops = optimizer_loops();
    const optimizer_loop_f32 table[CR_OPTIM_COUNT] = {
        [CR_OPTIM_SGD] = loops->sgd_f32,         [CR_OPTIM_ADAM] = loops->adam_f32,
        [CR_OPTIM_ADAMW] = loops->adamw_f32,     [CR_OPTIM_RMSPROP] = loops->rmsprop_f32,
        [CR_OPTIM_ADAGRAD] = loops->adagrad_f32, [CR_OPTIM_ADADELTA] = loops->adadelta_f32,
        [CR_OPTIM_NADAM] = loops->nadam_f32,     [CR_OPTIM_RADAM] = loops->radam_f32,
        [CR_OPTIM_LAMB] = loops->lamb_f32,
    };
    return table[kind];
}

static optimizer_loop_f64 loop_f64(cr_optim_kind kind)
{
    const struct optimizer_loops *loops = optimizer_loops();
    const optimizer_loop_f64 table[CR_OPTIM_COUNT] = {
        [CR_OPTIM_SGD] = loops->sgd_f64,         [CR_OPTIM_ADAM] = loops->adam_f64,
        [CR_OPTIM_ADAMW] = loops->adamw_f64,     [CR_OPTIM_RMSPROP] = loops->rmsprop_f64,
        [CR_OPTIM_ADAGRAD] = loops->adagrad_f64, [CR_OPTIM_ADADELTA] = loops->adadelta_f64,
        [CR_OPTIM_NADAM] = loops->nadam_f64,     [CR_OPTIM_RADAM] = loops->radam_f64,
        [CR_OPTIM_LAMB] = loops->lamb_f64,
    };
    return table[kind];
}

static void run_elements(const struct step *step, const struct work *work, int64_t from, int64_t n)
{
    if (work->is_double) {
        double *state[OPTIMIZER_STATES];
        for (int s = 0; s < OPTIMIZER_STATES; s++)
            state[s] = work->state[s] ? (double *)work->state[s] + from : NULL;
        loop_f64(step->kind)(n, (double *)work->weight + from, (const double *)work->grad + from,
                             state, &work->numbers);
        return;
    }
    float *state[OPTIMIZER_STATES];
    for (int s = 0; s < OPTIMIZER_STATES; s++)
        state[s] = work->state[s] ? (float *)work->state[s] + from : NULL;
    loop_f32(step->kind)(n, (float *)work->weight + from, (const float *)work->grad + from, state,
                         &work->numbers);
}

/* Part `part` of all: found by bisection, since parts are numbered through the slots. */
static void run_part(int64_t part, int64_t end, void *context)
{
    const struct step *step = context;
    for (; part < end; part++) {
        int low = 0;
        int high = step->count - 1;
        while (low < high) {
            int middle = (low + high + 1) / 2;
            if (step->work[middle].first_part <= part)
                low = middle;
            else
                high = middle - 1;
        }
        const struct work *work = &step->work[low];
        int64_t from = (part - work->first_part) * PART_ELEMENTS;
        run_elements(step, work, from, CR_MIN(PART_ELEMENTS, work->count - from));
    }
}

static cr_status work_fill(cr_optim *optim, struct slot *slot, struct work *work)
{
    cr_tensor *grad = slot_grad(slot);
    if (!grad)
        return cr_error_status();
    if (slot_prepare(optim, slot) != CR_OK)
        return cr_error_status();
    if ((slot->weight->dtype != CR_F32 && slot->weight->dtype != CR_F64) ||
        !tensor_is_contiguous(slot->weight))
        return cr_error_set(CR_ERROR_DTYPE,
                            "%s: the parameter %s must be contiguous float32 or float64",
                            kind_names[optim->settings.kind], slot->name);
    *work = (struct work){ .weight = cr_data(slot->weight),
                           .grad = cr_data(grad),
                           .is_double = slot->weight->dtype == CR_F64,
                           .count = tensor_numel(slot->weight) };
    for (int s = 0; s < OPTIMIZER_STATES; s++)
        work->state[s] = cr_data(slot->state[s]);
    return CR_OK;
}

static double norm_of(const struct work *work, const void *data)
{
    double sum = 0;
    for (int64_t i = 0; i < work->count; i++) {
        double v = work->is_double ? ((const double *)data)[i] : ((const float *)data)[i];
        sum += v * v;
    }
    return sqrt(sum);
}

/* You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", 2019. */
static void lamb_apply(const struct work *work)
{
    double weight = norm_of(work, work->weight);
    double direction = norm_of(work, work->state[2]);
    double trust = weight > 0 && direction > 0 ? weight / direction : 1;
    double rate = work->numbers.lr * trust;
    for (int64_t i = 0; i < work->count; i++) {
        if (work->is_double)
            ((double *)work->weight)[i] -= rate * ((const double *)work->state[2])[i];
        else
            ((float *)work->weight)[i] -= (float)rate * ((const float *)work->state[2])[i];
    }
}

static cr_status step_run(cr_optim *optim, struct step *step)
{
    int64_t parts = 0;
    for (int i = 0; i < optim->count; i++) {
        struct work *work = &step->work[step->count];
        if (!cr_grad_of(optim->slots[i].weight) || tensor_numel(optim->slots[i].weight) == 0)
            continue;
        if (work_fill(optim, &optim->slots[i], work) != CR_OK)
            return cr_error_status();
        work->first_part = parts;
        parts += CR_DIV_UP(work->count, PART_ELEMENTS);
        step->count++;
    }
    /* Nothing can fail from here on, so a step is taken whole or not at all. */
    for (int i = 0, w = 0; i < optim->count; i++) {
        if (!cr_grad_of(optim->slots[i].weight) || tensor_numel(optim->slots[i].weight) == 0)
            continue;
        step->work[w++].numbers = slot_numbers(optim, &optim->slots[i]);
        tensor_bump_version(optim->slots[i].weight);
    }
    /* Two parts a chunk: small models run on the calling thread. */
    cr_parallel_for(parts, 2, run_part, step);
    for (int i = 0; i < step->count && step->kind == CR_OPTIM_LAMB; i++)
        lamb_apply(&step->work[i]);
    return CR_OK;
}

cr_status cr_optim_step(cr_optim *optim)
{
    if (cr_failed())
        return cr_error_status();
    if (!optim)
        return cr_error_set(CR_ERROR_ARGUMENT, "optim_step: the optimizer is NULL");
    if (optim->settings.kind == CR_OPTIM_LBFGS)
        return cr_error_set(CR_ERROR_STATE,
                            "lbfgs evaluates the loss itself; use cr_optim_step_with");
    struct step step = { .kind = optim->settings.kind };
    step.work = cr_alloc_array((size_t)optim->count, sizeof *step.work);
    if (!step.work)
        return CR_ERROR_MEMORY;
    cr_frame frame = cr_frame_begin();
    cr_profile_range range = cr_profile_begin("optimizer step");
    bool was = cr_set_grad_enabled(false);
    cr_status status = step_run(optim, &step);
    cr_set_grad_enabled(was);
    cr_profile_end(range);
    cr_frame_end(frame);
    cr_free(step.work);
    return status;
}

cr_status cr_optim_step_with(cr_optim *optim, cr_optim_closure closure, void *context, double *loss)
{
    if (cr_failed())
        return cr_error_status();
    if (optim->settings.kind == CR_OPTIM_LBFGS)
        return lbfgs_step(optim, closure, context, loss);
    double value = closure(context);
    if (loss)
        *loss = value;
    return cr_optim_step(optim);
}
