/* How parameters begin: torch.nn.init's distributions.
 *
 * He et al., "Delving deep into rectifiers", 2015 (kaiming); Glorot and Bengio, "Understanding the
 * difficulty of training deep feedforward neural networks", 2010 (xavier); Saxe et al., "Exact
 * solutions to the nonlinear dynamics of learning", 2013 (orthogonal). */
#include <math.h>

#include "cresset/creation.h"
#include "nn/nn.h"

/* What a weight sums over, forwards (in) and backwards (out): its sizes times the kernel's. */
static void fans(const cr_tensor *tensor, double *in, double *out)
{
    double field = 1;
    for (int d = 2; d < tensor->shape.ndim; d++)
        field *= (double)tensor->shape.dim[d];
    *in = (double)cr_dim(tensor, 1) * field;
    *out = (double)cr_dim(tensor, 0) * field;
}

static cr_status kaiming(cr_tensor *tensor, cr_init init)
{
    double in;
    double out;
    fans(tensor, &in, &out);
    double deviation = sqrt(2.0 / (1.0 + init.a * init.a)) / sqrt(init.b != 0 ? out : in);
    if (init.kind == CR_INIT_KAIMING_NORMAL)
        return cr_normal_(tensor, 0, deviation, NULL);
    return cr_uniform_(tensor, -sqrt(3.0) * deviation, sqrt(3.0) * deviation, NULL);
}

static cr_status xavier(cr_tensor *tensor, cr_init init)
{
    double in;
    double out;
    fans(tensor, &in, &out);
    double deviation = (init.a != 0 ? init.a : 1.0) * sqrt(2.0 / (in + out));
    if (init.kind == CR_INIT_XAVIER_NORMAL)
        return cr_normal_(tensor, 0, deviation, NULL);
    return cr_uniform_(tensor, -sqrt(3.0) * deviation, sqrt(3.0) * deviation, NULL);
}

/* Makes the `count` vectors of `length` elements, `step` apart and `stride` from element to
 * element, orthonormal; a second pass removes what rounding leaves. */
static void orthonormalize(float *data, int64_t count, int64_t step, int64_t length, int64_t stride)
{
    for (int64_t i = 0; i < count; i++) {
        float *own = data + i * step;
        for (int64_t j = 0; j < 2 * i; j++) {
            const float *other = data + j % i * step;
            double dot = 0;
            for (int64_t k = 0; k < length; k++)
                dot += (double)own[k * stride] * (double)other[k * stride];
            for (int64_t k = 0; k < length; k++)
                own[k * stride] -= (float)dot * other[k * stride];
        }
        double norm = 0;
        for (int64_t k = 0; k < length; k++)
            norm += (double)own[k * stride] * (double)own[k * stride];
        for (int64_t k = 0; k < length; k++)
            own[k * stride] /= (float)sqrt(norm);
    }
}

static cr_status orthogonal(cr_tensor *tensor, double gain)
{
    if (tensor->shape.ndim < 2 || tensor->dtype != CR_F32 || !tensor_is_contiguous(tensor))
        return cr_error_set(CR_ERROR_SHAPE, "orthogonal initialisation needs a contiguous float32 "
                                            "tensor of at least 2 dimensions");
    if (cr_normal_(tensor, 0, 1, NULL) != CR_OK)
        return cr_error_status();
    int64_t rows = tensor->shape.dim[0];
    int64_t columns = tensor_numel(tensor) / CR_MAX(rows, 1);
    float *data = TENSOR_DATA(float, tensor);
    if (rows <= columns)
        orthonormalize(data, rows, columns, columns, 1);
    else
        orthonormalize(data, columns, 1, rows, columns);
    for (int64_t i = 0; i < rows * columns; i++)
        data[i] *= (float)gain;
    return CR_OK;
}

static cr_status eye(cr_tensor *tensor)
{
    if (tensor->shape.ndim != 2)
        return cr_error_set(CR_ERROR_SHAPE, "an identity has 2 dimensions, not %d",
                            tensor->shape.ndim);
    return cr_copy_(tensor, cr_eye(tensor->shape.dim[0], .m = tensor->shape.dim[1]));
}

static cr_status fill(cr_tensor *tensor, cr_init init)
{
    switch (init.kind) {
    case CR_INIT_ZEROS:
        return cr_fill_(tensor, 0);
    case CR_INIT_CONSTANT:
        return cr_fill_(tensor, init.a);
    case CR_INIT_UNIFORM:
        return cr_uniform_(tensor, init.a, init.b, NULL);
    case CR_INIT_NORMAL:
        return cr_normal_(tensor, init.a, init.b, NULL);
    case CR_INIT_TRUNC_NORMAL:
        return cr_trunc_normal_(tensor, init.a, init.b, init.a - 2 * init.b, init.a + 2 * init.b,
                                NULL);
    case CR_INIT_KAIMING_UNIFORM:
    case CR_INIT_KAIMING_NORMAL:
        return kaiming(tensor, init);
    case CR_INIT_XAVIER_UNIFORM:
    case CR_INIT_XAVIER_NORMAL:
        return xavier(tensor, init);
    case CR_INIT_ORTHOGONAL:
        return orthogonal(tensor, init.a != 0 ? init.a : 1.0);
    case CR_INIT_EYE:
        return eye(tensor);
    }
    return cr_error_set(CR_ERROR_ARGUMENT, "%d is not a way to initialise", (int)init.kind);
}

cr_status cr_init_fill(cr_tensor *tensor, cr_init init)
{
    if (!tensor || cr_failed())
        return cr_failed() ? cr_error_status()
                           : cr_error_set(CR_ERROR_ARGUMENT, "init: the tensor is NULL");
    if (tensor->device == CR_META || tensor_numel(tensor) == 0)
        return CR_OK;
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(false);
    cr_status status = fill(tensor, init);
    cr_set_grad_enabled(was);
    cr_frame_end(frame);
    return status;
}
