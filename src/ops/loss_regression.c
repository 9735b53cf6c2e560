/* Losses between numbers, written with other ops. */
#include <math.h>

#include "cresset/loss.h"
#include "ops/ops.h"

#define PI 3.14159265358979323846

#define LOSS(function, word, words, names, table, type, least, most)                               \
    COMPUTED_OP(function, word, words, names, table, type, least, most, CR_CAST_F32)

struct regression_attributes {
    int reduction;
    double beta;
    double delta;
};

#define REDUCTION CR_ATTRIBUTE(struct regression_attributes, ENUM, reduction)

static const cr_attribute plain_table[] = { REDUCTION, CR_ATTRIBUTE_END };

static const cr_attribute beta_table[] = {
    REDUCTION,
    CR_ATTRIBUTE(struct regression_attributes, FLOAT, beta),
    CR_ATTRIBUTE_END,
};

static const cr_attribute delta_table[] = {
    REDUCTION,
    CR_ATTRIBUTE(struct regression_attributes, FLOAT, delta),
    CR_ATTRIBUTE_END,
};

static cr_tensor *apply(const cr_op *op, cr_regression_loss_args args)
{
    struct regression_attributes attributes = { (int)args.reduction, args.beta == 0 ? 1 : args.beta,
                                                args.delta == 0 ? 1 : args.delta };
    return cr_apply(op, CR_INPUTS(args.input, args.target), &attributes);
}

/* ---- mse_loss ---- */

static cr_tensor *mse_of(const void *attributes, cr_tensor *const *in)
{
    const struct regression_attributes *options = attributes;
    return reduce_loss(cr_square(cr_sub(in[0], in[1])), options->reduction);
}

LOSS(mse, "mse_loss", "the squared difference", "input target", plain_table, regression_attributes,
     2, 2)

cr_tensor *cr_mse_loss_with(cr_regression_loss_args args)
{
    return apply(&mse_op, args);
}

/* ---- l1_loss ---- */

static cr_tensor *l1_of(const void *attributes, cr_tensor *const *in)
{
    const struct regression_attributes *options = attributes;
    return reduce_loss(cr_abs(cr_sub(in[0], in[1])), options->reduction);
}

LOSS(l1, "l1_loss", "the absolute difference", "input target", plain_table, regression_attributes,
     2, 2)

cr_tensor *cr_l1_loss_with(cr_regression_loss_args args)
{
    return apply(&l1_op, args);
}

/* ---- smooth_l1_loss and huber_loss ---- */

/* 0.5 d² below the edge, edge (|d| - 0.5 edge) above it. */
static cr_tensor *huber(cr_tensor *const *in, double edge)
{
    cr_tensor *difference = cr_sub(in[0], in[1]);
    cr_tensor *size = cr_abs(difference);
    cr_tensor *small = cr_mul_scalar(cr_square(difference), 0.5);
    cr_tensor *large = cr_mul_scalar(cr_sub_scalar(size, 0.5 * edge), edge);
    return cr_where(cr_lt_scalar(size, edge), small, large);
}

static cr_tensor *smooth_l1_of(const void *attributes, cr_tensor *const *in)
{
    const struct regression_attributes *options = attributes;
    if (options->beta < 0) {
        cr_error_set(CR_ERROR_ARGUMENT, "beta %g is negative", options->beta);
        return NULL;
    }
    if (options->beta == 0)
        return l1_of(attributes, in);
    cr_tensor *loss = cr_div_scalar(huber(in, options->beta), options->beta);
    return reduce_loss(loss, options->reduction);
}

LOSS(smooth_l1, "smooth_l1_loss", "squared below beta, absolute above", "input target", beta_table,
     regression_attributes, 2, 2)

cr_tensor *cr_smooth_l1_loss_with(cr_regression_loss_args args)
{
    return apply(&smooth_l1_op, args);
}

static cr_tensor *huber_of(const void *attributes, cr_tensor *const *in)
{
    const struct regression_attributes *options = attributes;
    if (!(options->delta > 0)) {
        cr_error_set(CR_ERROR_ARGUMENT, "delta %g is not above 0", options->delta);
        return NULL;
    }
    return reduce_loss(huber(in, options->delta), options->reduction);
}

LOSS(huber, "huber_loss", "squared below delta, linear above", "input target", delta_table,
     regression_attributes, 2, 2)

cr_tensor *cr_huber_loss_with(cr_regression_loss_args args)
{
    return apply(&huber_op, args);
}

/* ---- poisson_nll_loss ---- */

struct poisson_attributes {
    bool log_input;
    bool full;
    double eps;
    int reduction;
};

static const cr_attribute poisson_table[] = {
    CR_ATTRIBUTE(struct poisson_attributes, BOOL, log_input),
    CR_ATTRIBUTE(struct poisson_attributes, BOOL, full),
    CR_ATTRIBUTE(struct poisson_attributes, FLOAT, eps),
    CR_ATTRIBUTE(struct poisson_attributes, ENUM, reduction),
    CR_ATTRIBUTE_END,
};

/* t log t - t + 0.5 log(2 π t) for targets above 1. */
static cr_tensor *stirling(cr_tensor *target)
{
    cr_tensor *above = cr_gt_scalar(target, 1);
    cr_tensor *t = cr_where(above, target, cr_scalar(1));
    cr_tensor *half = cr_mul_scalar(cr_log(cr_mul_scalar(t, 2 * PI)), 0.5);
    cr_tensor *term = cr_add(cr_sub(cr_mul(t, cr_log(t)), t), half);
    return cr_where(above, term, cr_scalar(0));
}

static cr_tensor *poisson_of(const void *attributes, cr_tensor *const *in)
{
    const struct poisson_attributes *options = attributes;
    cr_tensor *log_input = options->log_input ? in[0] : cr_log(cr_add_scalar(in[0], options->eps));
    cr_tensor *rate = options->log_input ? cr_exp(in[0]) : in[0];
    cr_tensor *loss = cr_sub(rate, cr_mul(in[1], log_input));
    if (options->full)
        loss = cr_add(loss, stirling(in[1]));
    return reduce_loss(loss, options->reduction);
}

LOSS(poisson, "poisson_nll_loss", "minus the log likelihood of a Poisson count", "input target",
     poisson_table, poisson_attributes, 2, 2)

cr_tensor *cr_poisson_nll_loss_with(cr_poisson_nll_loss_args args)
{
    struct poisson_attributes attributes = { !args.no_log_input, args.full,
                                             args.eps == 0 ? 1e-8 : args.eps, (int)args.reduction };
    return cr_apply(&poisson_op, CR_INPUTS(args.input, args.target), &attributes);
}

/* ---- gaussian_nll_loss ---- */

struct gaussian_attributes {
    bool full;
    double eps;
    int reduction;
};

static const cr_attribute gaussian_table[] = {
    CR_ATTRIBUTE(struct gaussian_attributes, BOOL, full),
    CR_ATTRIBUTE(struct gaussian_attributes, FLOAT, eps),
    CR_ATTRIBUTE(struct gaussian_attributes, ENUM, reduction),
    CR_ATTRIBUTE_END,
};

/* The variance is held above eps without a trace in its gradient. */
static cr_tensor *gaussian_of(const void *attributes, cr_tensor *const *in)
{
    const struct gaussian_attributes *options = attributes;
    cr_tensor *raw = cr_detach(in[2]);
    cr_tensor *lift = cr_sub(cr_clamp(raw, options->eps, INFINITY), raw);
    cr_tensor *var = cr_add(in[2], lift);
    cr_tensor *squares = cr_div(cr_square(cr_sub(in[0], in[1])), var);
    cr_tensor *loss = cr_mul_scalar(cr_add(cr_log(var), squares), 0.5);
    if (options->full)
        loss = cr_add_scalar(loss, 0.5 * log(2 * PI));
    return reduce_loss(loss, options->reduction);
}

LOSS(gaussian, "gaussian_nll_loss", "minus the log likelihood of a normal variable",
     "input target var", gaussian_table, gaussian_attributes, 3, 3)

cr_tensor *cr_gaussian_nll_loss_with(cr_gaussian_nll_loss_args args)
{
    struct gaussian_attributes attributes = { args.full, args.eps == 0 ? 1e-6 : args.eps,
                                              (int)args.reduction };
    return cr_apply(&gaussian_op, CR_INPUTS(args.input, args.target, args.var), &attributes);
}

OP_FAMILY(loss_regression_ops) = {
    &mse_op, &l1_op, &smooth_l1_op, &huber_op, &poisson_op, &gaussian_op, NULL,
};
