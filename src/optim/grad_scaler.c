/* The scaler of losses for float16: gradients divided and searched for what is not finite, and the
 * rule by which the factor moves. */
#include <math.h>
#include <stdatomic.h>

#include "cresset/grad_scaler.h"
#include "optim/optim.h"

#define PART_ELEMENTS 65536

cr_grad_scaler cr_grad_scaler_defaults(void)
{
    return (cr_grad_scaler){
        .scale = 65536, .growth_factor = 2, .backoff_factor = 0.5, .growth_interval = 2000
    };
}

cr_tensor *cr_grad_scaler_scale(const cr_grad_scaler *scaler, cr_tensor *loss)
{
    return scaler->scale == 0 ? loss : cr_mul_scalar(loss, scaler->scale);
}

/* One gradient, in parts; what a part finds does not depend on the others. */
struct division {
    void *data;
    bool is_double;
    double inverse;
    atomic_bool found;
};

/* x * inverse for n numbers; whether one was not finite. All bits of an exponent are set there. */
static bool divide_f32(float *x, int64_t n, float inverse)
{
    uint32_t found = 0;
    for (int64_t i = 0; i < n; i++) {
        union {
            float value;
            uint32_t bits;
        } product = { x[i] * inverse };
        x[i] = product.value;
        found |= (product.bits & 0x7f800000u) == 0x7f800000u;
    }
    return found;
}

static bool divide_f64(double *x, int64_t n, double inverse)
{
    bool found = false;
    for (int64_t i = 0; i < n; i++) {
        x[i] *= inverse;
        found = found || !isfinite(x[i]);
    }
    return found;
}

static void divide_part(int64_t begin, int64_t end, void *context)
{
    struct division *division = context;
    int64_t n = end - begin;
    bool found = division->is_double
                     ? divide_f64((double *)division->data + begin, n, division->inverse)
                     : divide_f32((float *)division->data + begin, n, (float)division->inverse);
    if (found)
        atomic_store_explicit(&division->found, true, memory_order_relaxed);
}

/* The gradient as it is stored, if it can be divided in place; else a contiguous one that takes its
 * place. */
static cr_tensor *grad_to_divide(const struct slot *slot)
{
    cr_tensor *grad = slot_grad(slot);
    if (grad && grad != cr_grad_of(slot->weight) && cr_set_grad(slot->weight, grad) != CR_OK)
        return NULL;
    return grad;
}

static cr_status unscale_all(cr_grad_scaler *scaler, cr_optim *optim)
{
    for (int i = 0; i < optim->count; i++) {
        const struct slot *slot = &optim->slots[i];
        if (!cr_grad_of(slot->weight))
            continue;
        cr_tensor *grad = grad_to_divide(slot);
        if (!grad)
            return cr_error_status();
        struct division division = { .data = cr_data(grad),
                                     .is_double = cr_dtype_of(grad) == CR_F64,
                                     .inverse = 1 / scaler->scale };
        atomic_init(&division.found, false);
        cr_parallel_for(cr_numel(grad), PART_ELEMENTS, divide_part, &division);
        scaler->found_inf = scaler->found_inf || atomic_load(&division.found);
        tensor_bump_version(grad);
    }
    return CR_OK;
}

cr_status cr_grad_scaler_unscale(cr_grad_scaler *scaler, cr_optim *optim)
{
    if (cr_failed())
        return cr_error_status();
    if (!optim)
        return cr_error_set(CR_ERROR_ARGUMENT, "grad_scaler_unscale: the optimizer is NULL");
    if (scaler->scale == 0)
        return CR_OK;
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(false);
    cr_status status = unscale_all(scaler, optim);
    cr_set_grad_enabled(was);
    cr_frame_end(frame);
    scaler->is_unscaled = true;
    return status;
}

cr_status cr_grad_scaler_step(cr_grad_scaler *scaler, cr_optim *optim)
{
    if (!scaler->is_unscaled && cr_grad_scaler_unscale(scaler, optim) != CR_OK)
        return cr_error_status();
    return scaler->found_inf ? CR_OK : cr_optim_step(optim);
}

/* As torch._amp_update_scale_: the factor is a float32, and does not grow to infinity. */
void cr_grad_scaler_update(cr_grad_scaler *scaler)
{
    if (scaler->scale == 0)
        return;
    if (scaler->found_inf) {
        scaler->scale = (double)(float)(scaler->scale * scaler->backoff_factor);
        scaler->growth_tracker = 0;
        scaler->skipped++;
    } else if (++scaler->growth_tracker >= scaler->growth_interval) {
        float grown = (float)(scaler->scale * scaler->growth_factor);
        scaler->scale = isfinite(grown) ? (double)grown : scaler->scale;
        scaler->growth_tracker = 0;
    }
    scaler->is_unscaled = scaler->found_inf = false;
}
