"""Cases of the ops in src/ops/convolving.c."""
import torch
import torch.nn.functional as F

from harness import case, real, refuses, sample


def defaults(function):
    """PyTorch has no empty lists and no 0 groups; for us both are the defaults."""
    def call(*inputs, groups=0, **attributes):
        given = {name: value for name, value in attributes.items() if value != ()}
        return function(*inputs, groups=groups or 1, **given)
    return call


case("conv1d", defaults(F.conv1d),
     sample(real(2, 3, 10), real(4, 3, 3)),
     sample(real(2, 4, 11), real(6, 2, 3), real(6), stride=(2,), padding=(1,), groups=2),
     sample(real(3, 12), real(4, 3, 4), real(4), dilation=(2,)))
case("conv2d", defaults(F.conv2d),
     sample(real(2, 3, 7, 8), real(4, 3, 3, 3), real(4), padding=(1,)),
     sample(real(2, 3, 9, 8), real(4, 3, 3, 2), stride=(2, 1), padding=(0, 1)),
     sample(real(2, 4, 9, 9), real(6, 2, 3, 3), real(6), dilation=(2, 1), groups=2),
     sample(real(2, 4, 8, 7), real(8, 1, 3, 3), real(8), stride=(2,), padding=(1,), groups=4),
     sample(real(3, 7, 7), real(5, 3, 1, 1), stride=(2,)),
     sample(real(1, 2, 5, 5), real(3, 2, 5, 5), real(3)),
     sample(real(4, 8, 20, 20), real(16, 8, 3, 3), real(16), padding=(1,)),
     sample(real(2, 24, 15, 14), real(40, 24, 3, 3), real(40), padding=(1,)),
     sample(real(2, 24, 15, 14), real(40, 24, 3, 3), real(40), padding=(1,), stride=(2,)))
case("conv3d", defaults(F.conv3d),
     sample(real(2, 2, 4, 5, 6), real(3, 2, 2, 3, 3), real(3), padding=(1,)),
     sample(real(1, 4, 5, 5, 5), real(4, 2, 3, 2, 1), stride=(2, 1, 2), groups=2))
case("conv_transpose1d", defaults(F.conv_transpose1d),
     sample(real(2, 3, 6), real(3, 4, 3)),
     sample(real(2, 4, 5), real(4, 3, 3), real(6), stride=(2,), padding=(1,),
            output_padding=(1,), groups=2))
case("conv_transpose2d", defaults(F.conv_transpose2d),
     sample(real(2, 3, 4, 5), real(3, 4, 3, 3), real(4)),
     sample(real(2, 4, 4, 5), real(4, 3, 3, 2), stride=(2, 3), padding=(1, 0),
            output_padding=(1, 2)),
     sample(real(2, 4, 4, 4), real(4, 1, 2, 2), real(4), stride=(2,), groups=4),
     sample(real(3, 4, 4), real(3, 2, 3, 3), dilation=(3,), output_padding=(2,)))
case("conv_transpose3d", defaults(F.conv_transpose3d),
     sample(real(1, 2, 3, 4, 3), real(2, 3, 2, 3, 3), real(3), stride=(2, 1, 2), padding=(1,)))

refuses("conv2d", sample(real(2, 3, 7, 7), real(4, 2, 3, 3)), "channels")
refuses("conv2d", sample(real(2, 3, 2, 7), real(4, 3, 3, 3)), "spans 3")
refuses("conv2d", sample(real(3, 7), real(4, 3, 3, 3)), "dimensions")
refuses("conv2d", sample(real(2, 3, 7, 7), real(4, 3, 3, 3), real(3)), "bias")
refuses("conv2d", sample(real(2, 3, 7, 7), real(4, 3, 3, 3), stride=(1, 2, 3)), "stride")
refuses("conv2d", sample(real(2, 3, 7, 7), real(4, 3, 3, 3), padding=(-1,)), "padding")
refuses("conv_transpose2d", sample(real(2, 3, 4, 4), real(3, 4, 3, 3), output_padding=(1,)),
        "output_padding")
refuses("conv_transpose2d", sample(real(2, 3, 1, 1), real(3, 4, 1, 1), padding=(1,)), "too small")
