/* Clipping of gradients by norm and by value. */
#include <math.h>

#include "optim/optim.h"

/* Sums of squares are taken over fixed runs of elements in double precision, in order. */
static double grad_power(cr_tensor *grad, bool is_infinite, double p)
{
    int64_t count = cr_numel(grad);
    double total = 0;
    const float *values = cr_dtype_of(grad) == CR_F32 ? cr_data(grad) : NULL;
    double lanes[8] = { 0 };
    if (values && p == 2) {
        int64_t i = 0;
        for (; i + 8 <= count; i += 8) {
            for (int lane = 0; lane < 8; lane++)
                lanes[lane] += (double)values[i + lane] * (double)values[i + lane];
        }
        for (; i < count; i++)
            total += (double)values[i] * (double)values[i];
        for (int lane = 0; lane < 8; lane++)
            total += lanes[lane];
        return total;
    }
    for (int64_t i = 0; i < count; i++) {
        double size = fabs(cr_element(grad, i));
        total = is_infinite ? fmax(total, size) : total + pow(size, p);
    }
    return total;
}

double cr_clip_grad_norm(cr_optim *optim, double max_norm, double p)
{
    if (!optim || cr_failed())
        return 0;
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(false);
    double total = 0;
    for (int i = 0; i < optim->count; i++) {
        cr_tensor *grad = slot_grad(&optim->slots[i]);
        double own = grad ? grad_power(grad, isinf(p), p) : 0;
        total = isinf(p) ? fmax(total, own) : total + own;
    }
    double norm = isinf(p) ? total : pow(total, 1 / p);
    double scale = max_norm / (norm + 1e-6);
    for (int i = 0; i < optim->count && scale < 1; i++) {
        cr_tensor *grad = cr_grad_of(optim->slots[i].weight);
        if (grad)
            cr_mul_(grad, cr_scalar(scale));
    }
    cr_set_grad_enabled(was);
    cr_frame_end(frame);
    return norm;
}

void cr_clip_grad_value(cr_optim *optim, double limit)
{
    if (!optim || cr_failed())
        return;
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(false);
    for (int i = 0; i < optim->count; i++) {
        cr_tensor *grad = cr_grad_of(optim->slots[i].weight);
        if (grad)
            cr_clamp_(grad, -limit, limit);
    }
    cr_set_grad_enabled(was);
    cr_frame_end(frame);
}
