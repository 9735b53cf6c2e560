/* Connectionist temporal classification, in float32 and float64: a sample is one thread's. */
#include <math.h>
#include <string.h>

#include "kernels/loss/loss.h"

#define REAL       float
#define EXP(x)     expf(x)
#define LOG(x)     logf(x)
#define NAME(name) name##_f32
#include "kernels/loss/ctc.inc"
#undef REAL
#undef EXP
#undef LOG
#undef NAME

#define REAL       double
#define EXP(x)     exp(x)
#define LOG(x)     log(x)
#define NAME(name) name##_f64
#include "kernels/loss/ctc.inc"

size_t ctc_workspace(enum loss_type type, const struct ctc_job *job)
{
    size_t elements = (size_t)(job->batch * (2 * job->longest + 1 + job->classes));
    return elements * (type == LOSS_F32 ? sizeof(float) : sizeof(double));
}

void ctc_forward(enum loss_type type, const struct ctc_job *job)
{
    cr_parallel_for(job->batch, 1, type == LOSS_F32 ? ctc_forward_f32 : ctc_forward_f64,
                    (void *)job);
}

void ctc_backward(enum loss_type type, const struct ctc_job *job)
{
    cr_parallel_for(job->batch, 1, type == LOSS_F32 ? ctc_backward_f32 : ctc_backward_f64,
                    (void *)job);
}
