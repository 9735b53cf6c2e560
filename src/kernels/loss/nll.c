/* Negative log likelihood, and the margin of several labels: elements picked by class. */
#include <string.h>

#include "kernels/loss/loss.h"

#define PART 4096

/* ---- negative log likelihood ---- */

#define NLL(real, type)                                                                            \
    static void nll_forward_##type(int64_t begin, int64_t end, void *context)                      \
    {                                                                                              \
        const struct nll_job *job = context;                                                       \
        const real *x = job->x;                                                                    \
        const real *weight = job->weight;                                                          \
        for (int64_t i = begin; i < end; i++) {                                                    \
            int64_t t = job->target[i];                                                            \
            bool counts = t != job->ignore_index;                                                  \
            int64_t at = (i / job->inner * job->classes + t) * job->inner + i % job->inner;        \
            real w = !counts ? 0 : weight ? weight[t] : 1;                                         \
            ((real *)job->loss)[i] = counts ? -w * x[at] : 0;                                      \
            ((real *)job->used)[i] = w;                                                            \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    static void nll_backward_##type(int64_t begin, int64_t end, void *context)                     \
    {                                                                                              \
        const struct nll_job *job = context;                                                       \
        const real *weight = job->weight;                                                          \
        for (int64_t i = begin; i < end; i++) {                                                    \
            int64_t t = job->target[i];                                                            \
            int64_t at = (i / job->inner * job->classes + t) * job->inner + i % job->inner;        \
            if (t != job->ignore_index)                                                            \
                ((real *)job->grad_x)[at] =                                                        \
                    -((const real *)job->grad)[i] * (weight ? weight[t] : 1);                      \
        }                                                                                          \
    }

NLL(float, f32)
NLL(double, f64)

void nll_forward(enum loss_type type, const struct nll_job *job)
{
    cr_parallel_for(job->outer * job->inner, PART,
                    type == LOSS_F32 ? nll_forward_f32 : nll_forward_f64, (void *)job);
}

void nll_backward(enum loss_type type, const struct nll_job *job)
{
    size_t bytes = type == LOSS_F32 ? sizeof(float) : sizeof(double);
    memset(job->grad_x, 0, (size_t)(job->outer * job->classes * job->inner) * bytes);
    cr_parallel_for(job->outer * job->inner, PART,
                    type == LOSS_F32 ? nll_backward_f32 : nll_backward_f64, (void *)job);
}

/* ---- multi-label margin ---- */

static bool is_target(const int64_t *target, int64_t count, int64_t c)
{
    for (int64_t i = 0; i < count; i++) {
        if (target[i] == c)
            return true;
    }
    return false;
}

static int64_t count_targets(const int64_t *target, int64_t classes)
{
    int64_t count = 0;
    while (count < classes && target[count] >= 0)
        count++;
    return count;
}

/* Adds to `sum` the margins that are violated between target t and the other classes; gives their
 * gradient, too, where there is one. */
#define MARGIN(real, type)                                                                         \
    static real margin_of_##type(const real *x, const int64_t *target, int64_t count,              \
                                 int64_t classes, int64_t t, real *grad, real scale)               \
    {                                                                                              \
        real sum = 0;                                                                              \
        for (int64_t c = 0; c < classes; c++) {                                                    \
            real z = 1 - x[t] + x[c];                                                              \
            if (!(z > 0) || is_target(target, count, c))                                           \
                continue;                                                                          \
            sum += z;                                                                              \
            if (grad) {                                                                            \
                grad[c] += scale;                                                                  \
                grad[t] -= scale;                                                                  \
            }                                                                                      \
        }                                                                                          \
        return sum;                                                                                \
    }                                                                                              \
                                                                                                   \
    static void margin_rows_##type(int64_t begin, int64_t end, void *context)                      \
    {                                                                                              \
        const struct multilabel_margin_job *job = context;                                         \
        for (int64_t r = begin; r < end; r++) {                                                    \
            const real *x = (const real *)job->x + r * job->classes;                               \
            const int64_t *target = job->target + r * job->classes;                                \
            int64_t count = count_targets(target, job->classes);                                   \
            real *grad = job->grad_x ? (real *)job->grad_x + r * job->classes : NULL;              \
            real scale = grad ? ((const real *)job->grad)[r] / (real)job->classes : 0;             \
            real sum = 0;                                                                          \
            for (int64_t c = 0; grad && c < job->classes; c++)                                     \
                grad[c] = 0;                                                                       \
            for (int64_t i = 0; i < count; i++)                                                    \
                sum += margin_of_##type(x, target, count, job->classes, target[i], grad, scale);   \
            if (job->loss)                                                                         \
                ((real *)job->loss)[r] = sum / (real)job->classes;                                 \
        }                                                                                          \
    }

MARGIN(float, f32)
MARGIN(double, f64)

static void margin_run(enum loss_type type, const struct multilabel_margin_job *job)
{
    cr_parallel_for(job->rows, 16, type == LOSS_F32 ? margin_rows_f32 : margin_rows_f64,
                    (void *)job);
}

void multilabel_margin_forward(enum loss_type type, const struct multilabel_margin_job *job)
{
    margin_run(type, job);
}

void multilabel_margin_backward(enum loss_type type, const struct multilabel_margin_job *job)
{
    margin_run(type, job);
}
