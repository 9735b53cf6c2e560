/* What Python needs of models, optimisers and schedules: functions of pointers and numbers instead
 * of structs. Compiled with the project's warnings; called by name through ctypes. */
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/models.h"
#include "cresset/ops.h"
#include "cresset/optim.h"
#include "cresset/self_supervised.h"

cr_model *oracle_zoo_new(uint64_t seed)
{
    return cr_model_new(.seed = seed);
}

cr_status oracle_zoo_double(cr_model *model)
{
    return cr_model_to_dtype(model, CR_F64);
}

cr_tensor *oracle_parameter(cr_model *model, const char *name, int ndim, const int64_t *sizes)
{
    return cr_parameter(cr_root(model), name, cr_shape_make(ndim, sizes),
                        (cr_init){ CR_INIT_ZEROS, 0, 0 });
}

static cr_auxiliary auxiliary; /* what the last run in training gave */

/* The logits of auxiliary head i of the last run, NULL behind the last. */
cr_tensor *oracle_auxiliary(int i)
{
    return i < auxiliary.count ? auxiliary.logits[i] : NULL;
}

double oracle_auxiliary_weight(void)
{
    return auxiliary.weight;
}

/* Nothing in it is random. The auxiliary heads run if the fourth
 * number says so. */
static cr_bound_architecture architecture(const char *name, const int64_t *numbers)
{
    return (cr_bound_architecture){ .architecture = cr_architecture_find(name),
                                    .settings = { .classes = numbers[0],
                                                  .small_stem = numbers[1] != 0,
                                                  .width = numbers[2],
                                                  .no_dropout = true,
                                                  .auxiliary = numbers[3] ? &auxiliary : NULL } };
}

int oracle_architecture_build(cr_model *model, const char *name, const int64_t *numbers, int ndim,
                              const int64_t *input)
{
    cr_bound_architecture bound = architecture(name, numbers);
    return bound.architecture
               ? (int)cr_model_build(model, cr_run_architecture, &bound, cr_shape_make(ndim, input),
                                     cr_architecture_dtype(bound.architecture), NULL)
               : (int)cr_error_status();
}

cr_tensor *oracle_architecture_run(cr_model *model, const char *name, const int64_t *numbers,
                                   cr_tensor *x)
{
    cr_bound_architecture bound = architecture(name, numbers);
    auxiliary = (cr_auxiliary){ 0 };
    return bound.architecture ? cr_run_architecture(cr_root(model), x, &bound) : NULL;
}

const char *oracle_zoo_name(const cr_model *model, int i)
{
    return cr_model_tensor_at(model, i).name;
}

cr_tensor *oracle_zoo_tensor(const cr_model *model, int i, bool *is_buffer)
{
    cr_named_tensor named = cr_model_tensor_at(model, i);
    *is_buffer = named.is_buffer;
    return named.tensor;
}

/* An optimiser of a kind with PyTorch's defaults but for the named settings. */
cr_optim *oracle_optim_new(cr_model *model, const char *kind, int count, const char *const *names,
                           const double *values)
{
    cr_optim_settings s = cr_optim_defaults(cr_optim_find(kind));
    for (int i = 0; i < count; i++) {
        const char *name = names[i];
        double value = values[i];
#define NUMBER(field)                                                                              \
    if (strcmp(name, #field) == 0)                                                                 \
        s.field = value;
#define FLAG(field)                                                                                \
    if (strcmp(name, #field) == 0)                                                                 \
        s.field = value != 0;
#define WHOLE(field)                                                                               \
    if (strcmp(name, #field) == 0)                                                                 \
        s.field = (int)value;
        NUMBER(lr)
        NUMBER(weight_decay)
        NUMBER(momentum)
        NUMBER(dampening)
        FLAG(nesterov)
        FLAG(maximize)
        NUMBER(beta1)
        NUMBER(beta2)
        NUMBER(eps)
        FLAG(amsgrad)
        NUMBER(alpha)
        FLAG(centered)
        NUMBER(lr_decay)
        NUMBER(initial_accumulator)
        NUMBER(rho)
        NUMBER(momentum_decay)
        WHOLE(max_iterations)
        WHOLE(history)
        FLAG(strong_wolfe)
    }
    return cr_failed() ? NULL : cr_optim_new(model, s);
}

const char *oracle_optim_state(const cr_optim *optim, int i, cr_tensor **tensor)
{
    cr_named_tensor named = cr_optim_state_at(optim, i);
    *tensor = named.tensor;
    return named.name;
}

cr_schedule *oracle_one_cycle(int64_t total, double warm_fraction, bool linear, bool three_phase)
{
    return cr_schedule_one_cycle((cr_one_cycle_args){ .total = total,
                                                      .warm_fraction = warm_fraction,
                                                      .linear = linear,
                                                      .three_phase = three_phase });
}

/* The scale after each of `count` metrics. */
void oracle_plateau(int count, const double *metrics, double factor, int patience, int cooldown,
                    bool maximize, double *scales)
{
    cr_plateau plateau = { .factor = factor,
                           .patience = patience ? patience : -1,
                           .cooldown = cooldown,
                           .maximize = maximize };
    for (int i = 0; i < count; i++)
        scales[i] = cr_plateau_update(&plateau, metrics[i]);
}

cr_tensor *oracle_cross_entropy(cr_tensor *logits, cr_tensor *target)
{
    return cr_cross_entropy(logits, target);
}

cr_tensor *oracle_squares(cr_tensor *result, cr_tensor *target)
{
    return cr_mse_loss(result, target);
}

/* ---- learning without labels ---- */

cr_tensor *oracle_info_nce(cr_tensor *queries, cr_tensor *keys, cr_tensor *queue,
                           double temperature)
{
    return cr_info_nce_loss(queries, keys, queue, temperature, NULL);
}

cr_tensor *oracle_nt_xent(cr_tensor *first, cr_tensor *second, double temperature)
{
    return cr_nt_xent_loss(first, second, temperature, NULL);
}

/* Of a convnet of this width, for images (1, 12, 12). */
static cr_bound_architecture encoder;

cr_contrast *oracle_contrast_new(cr_model *model, int64_t width, int method, double temperature,
                                 double momentum, int64_t queue, int64_t dim)
{
    encoder = (cr_bound_architecture){ .architecture = cr_architecture_find("convnet"),
                                       .settings = { .width = width, .no_head = true } };
    return cr_contrast_new(model, cr_run_architecture, &encoder, CR_SHAPE(2, 1, 12, 12), 0,
                           (cr_contrast_settings){ .method = (cr_contrast_method)method,
                                                   .temperature = temperature,
                                                   .momentum = momentum,
                                                   .queue = queue,
                                                   .dim = dim });
}

const char *oracle_contrast_name(const cr_contrast *contrast, int i)
{
    return cr_contrast_state_at(contrast, i).name;
}

cr_tensor *oracle_contrast_tensor(const cr_contrast *contrast, int i)
{
    return cr_contrast_state_at(contrast, i).tensor;
}
