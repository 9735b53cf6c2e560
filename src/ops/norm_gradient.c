/* The gradient of a normalisation written with ops, for when backward itself is recorded: the
 * kernels' gradients have none of their own. */
#include "ops/ops.h"

cr_dtype norm_stored(const cr_tensor *x)
{
    return x->dtype == CR_F16 ? CR_F32 : (cr_dtype)x->dtype;
}

cr_tensor *norm_gradient(cr_tensor *x, cr_tensor *h, const struct norm_view *view,
                         cr_tensor **normalized)
{
    cr_tensor *centered = view->rms ? x : cr_sub(x, cr_mean_dims(x, view->dims, true));
    cr_tensor *var = cr_mean_dims(cr_mul(centered, centered), view->dims, true);
    cr_tensor *rstd = cr_rsqrt(cr_add_scalar(var, view->eps));
    *normalized = cr_mul(centered, rstd);
    cr_tensor *slope = cr_mean_dims(cr_mul(h, *normalized), view->dims, true);
    cr_tensor *pulled = cr_sub(h, cr_mul(*normalized, slope));
    if (!view->rms)
        pulled = cr_sub(pulled, cr_mean_dims(h, view->dims, true));
    return cr_mul(pulled, rstd);
}

cr_shape other_dims(int ndim, int dim)
{
    cr_shape dims = { 0 };
    for (int d = 0; d < ndim; d++) {
        if (d != dim)
            dims.dim[dims.ndim++] = d;
    }
    return dims;
}

cr_tensor *along_dim(cr_tensor *vector, int ndim, int dim)
{
    if (!vector)
        return NULL;
    cr_shape shape = { .ndim = ndim };
    for (int d = 0; d < ndim; d++)
        shape.dim[d] = d == dim ? tensor_numel(vector) : 1;
    return cr_reshape(vector, shape);
}
