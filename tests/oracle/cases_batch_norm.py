"""Cases of the ops in src/ops/batch_norm.c."""
import torch
import torch.nn.functional as F

from harness import F32_F64, case, distinct, positive, real, refuses, sample


def batch_norm(x, weight=None, bias=None, mean=None, var=None, residual=None, *, training=False,
               relu=False, momentum=0.0, eps=0.0):
    """The running statistics are copies: PyTorch edits them in place, too."""
    mean, var = (None if v is None else v.detach().clone() for v in (mean, var))
    y = F.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    if residual is not None:
        y = y + residual
    return F.relu(y) if relu else y



def running_of(dtype, count):
    return real(count).frozen().of(dtype), positive(count).frozen().of(dtype)


TRAINING = (
    sample(real(4, 3, 5, 5), real(3), real(3), training=True, eps=1e-5),
    sample(real(4, 3, 5, 5), None, None, training=True, eps=1e-3),
    sample(distinct(6, 4), real(4), real(4), training=True, eps=1e-5),
    sample(real(2, 3, 17), real(3), real(3), training=True, eps=1e-5),
    sample(real(2, 3, 2, 3, 4), real(3), None, training=True, eps=1e-5),
    sample(real(3, 4, 40, 70), real(4), real(4), training=True, eps=1e-5),
    sample(real(4, 3, 6, 7), real(3), real(3), None, None, real(4, 3, 6, 7), training=True,
           eps=1e-5),
)
FUSED = (
    sample(real(4, 3, 5, 7), real(3), real(3), training=True, relu=True, eps=1e-5),
    sample(real(4, 3, 5, 7), None, None, training=True, relu=True, eps=1e-5),
    sample(real(4, 3, 5, 7), real(3), real(3), None, None, real(4, 3, 5, 7), training=True,
           relu=True, eps=1e-5),
    sample(real(4, 3, 40, 30), real(3), real(3), None, None, real(4, 3, 40, 30), training=True,
           relu=True, eps=1e-5),
)


def evaluated(dtype):
    return (
        sample(real(4, 3, 5, 5), real(3), real(3), *running_of(dtype, 3), eps=1e-5),
        sample(real(4, 3), None, None, *running_of(dtype, 3), eps=1e-5),
        sample(real(4, 3, 5, 5), real(3), real(3), *running_of(dtype, 3), relu=True, eps=1e-5),
        sample(real(4, 3, 5, 5), real(3), real(3), *running_of(dtype, 3), real(4, 3, 5, 5),
               relu=True, eps=1e-5),
    )


case("batch_norm", batch_norm, *TRAINING, loosen=3)
# Where rounding decides on which side of relu's edge a half stands, its gradient is all or nothing.
case("batch_norm", batch_norm, *FUSED, loosen=3, half_gradient=False)
case("batch_norm", batch_norm, *evaluated(torch.float32), loosen=3, half_gradient=False,
     dtypes=(torch.float32, torch.bfloat16, torch.float16))
# Running statistics of another dtype than x, as in a model converted as a whole.
case("batch_norm", batch_norm, *(sample(real(4, 3, 5), real(3), real(3), real(3).frozen(),
                                        positive(3).frozen(), eps=1e-5),), loosen=3)
case("batch_norm", batch_norm, *evaluated(torch.float64), dtypes=(torch.float64,))


def native(*inputs, **attributes):
    x, eps = inputs[0], attributes["eps"]
    dims = [d for d in range(x.dim()) if d != 1]
    mean, var = x.mean(dims), x.var(dims, unbiased=False)
    return batch_norm(*inputs, **attributes), mean.detach(), (var + eps).rsqrt().detach()


case("native_batch_norm", native, *TRAINING[:2], dtypes=F32_F64, loosen=3, empty=False)
case("native_batch_norm_add_relu", native, FUSED[2], dtypes=F32_F64, loosen=3, empty=False)




refuses("batch_norm", sample(real(4, 3)), "running_mean")
refuses("batch_norm", sample(real(1, 3), training=True), "more than 1 value")
refuses("batch_norm", sample(real(4, 3), real(4), training=True), "weight")
refuses("batch_norm", sample(real(4, 3), None, None, None, None, real(4, 1), training=True),
        "residual")
