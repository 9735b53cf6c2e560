"""Node tests of our own: each is operator, inputs, attributes and opset, with results from NumPy
and PyTorch. A case is (name, op, inputs, outputs, attributes, opset); inputs given as Weight are
initializers of the file."""

import numpy
import torch
import torch.nn.functional as F
import torchvision.ops

R = numpy.random.default_rng(7)
CASES = []


class Weight:
    def __init__(self, array):
        self.array = array


def case(name, op, inputs, outputs, opset=17, **attributes):
    as_array = lambda x: x.detach().numpy() if isinstance(x, torch.Tensor) else numpy.asarray(x)
    inputs = [x if x is None or isinstance(x, Weight) else as_array(x) for x in inputs]
    CASES.append((name, op, inputs, [as_array(x) for x in outputs], attributes, opset))


def rand(*shape):
    return torch.from_numpy(R.standard_normal(shape).astype("float32"))


def ints(*values):
    return numpy.array(values, dtype="int64")


x = rand(2, 4, 7, 9)
w, b = rand(6, 2, 3, 3), rand(6)

# convolution and pooling
case("conv_group", "Conv", [x, Weight(w.numpy()), Weight(b.numpy())],
     [F.conv2d(x, w, b, stride=2, padding=1, groups=2)], group=2, strides=[2, 2],
     pads=[1, 1, 1, 1])
case("conv_asymmetric", "Conv", [x, w], [F.conv2d(F.pad(x, (1, 0, 0, 2)), w, groups=2)], group=2,
     pads=[0, 1, 2, 0])
case("conv_same_upper", "Conv", [x, w],
     [F.conv2d(F.pad(x, (1, 1, 1, 1)), w, stride=(3, 1), groups=2)], group=2, strides=[3, 1],
     auto_pad="SAME_UPPER")
t = rand(4, 3, 3, 3)
case("conv_transpose", "ConvTranspose", [x, t],
     [F.conv_transpose2d(x, t, stride=2, padding=1, output_padding=1)], strides=[2, 2],
     pads=[1, 1, 1, 1], output_padding=[1, 1])
case("conv_transpose_asymmetric", "ConvTranspose", [x, t, rand(3) * 0],
     [F.conv_transpose2d(x, t, stride=2)[:, :, 1:, :-1]], strides=[2, 2], pads=[1, 0, 0, 1])
case("max_pool_ceil", "MaxPool", [x], [F.max_pool2d(x, 3, 2, 1, ceil_mode=True)],
     kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1)
values, positions = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-9e9), 2, 2, return_indices=True)
positions = positions // 10 * 9 + positions % 10 + 63 * torch.arange(8).reshape(2, 4, 1, 1)
case("max_pool_positions", "MaxPool", [x], [values, positions], kernel_shape=[2, 2],
     strides=[2, 2], auto_pad="SAME_UPPER")
case("average_pool_counted", "AveragePool", [x], [F.avg_pool2d(x, 3, 2, 1)], kernel_shape=[3, 3],
     strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
case("average_pool_uncounted", "AveragePool", [x],
     [F.avg_pool2d(F.pad(x, (0, 2)), (1, 3), 1) /
      F.avg_pool2d(F.pad(torch.ones_like(x), (0, 2)), (1, 3), 1)],
     kernel_shape=[1, 3], pads=[0, 0, 0, 2])
case("global_average_pool", "GlobalAveragePool", [x], [x.mean((2, 3), keepdim=True)])

# products
m, n = rand(3, 5), rand(4, 5)
case("gemm_linear", "Gemm", [m, n, rand(4) * 0], [m @ n.T], transB=1)
case("gemm_scaled", "Gemm", [m, n, torch.ones(3, 1)], [0.5 * m @ n.T + 2.0], transB=1, alpha=0.5,
     beta=2.0)
case("matmul_batched", "MatMul", [rand(2, 1, 3, 4) * 0 + 1, n],
     [torch.ones(2, 1, 3, 5) * n.sum(0)])

# norms
c = rand(4)
case("batch_norm", "BatchNormalization", [x, Weight(c.numpy()), c, c, c * c + 1],
     [F.batch_norm(x, c, c * c + 1, c, c, eps=1e-3)], epsilon=1e-3)
case("layer_norm", "LayerNormalization", [m, rand(5) * 0 + 2], [F.layer_norm(m, (5,)) * 2])
case("group_norm_21", "GroupNormalization", [x, c, c], [F.group_norm(x, 2, c, c)], 21,
     num_groups=2)
case("group_norm_18", "GroupNormalization", [x, c[:2], c[:2]],
     [F.group_norm(x, 2, c[:2].repeat_interleave(2), c[:2].repeat_interleave(2))], 18, num_groups=2)
case("softmax_12", "Softmax", [x], [x.flatten(1).softmax(1).reshape(x.shape)], 12)
case("softmax_13", "Softmax", [x], [x.softmax(-1)], 13)
case("instance_norm", "InstanceNormalization", [x, c, c], [F.instance_norm(x, weight=c, bias=c)])

# by version: axes as attributes and as inputs
case("reduce_sum_11", "ReduceSum", [x], [x.sum((0, 2))], 11, axes=[0, 2], keepdims=0)
case("reduce_sum_13", "ReduceSum", [x, ints(-1)], [x.sum(-1, keepdim=True)], 13)
case("reduce_mean_17", "ReduceMean", [x], [x.mean((2, 3), keepdim=True)], 17, axes=[2, 3])
case("reduce_mean_18", "ReduceMean", [x, ints(2, 3)], [x.mean((2, 3), keepdim=True)], 18)
case("reduce_nothing", "ReduceMax", [x], [x], 18, noop_with_empty_axes=1)
case("squeeze_11", "Squeeze", [x[:, :1]], [x[:, 0]], 11, axes=[1])
case("unsqueeze_13", "Unsqueeze", [m, ints(0, -1)], [m[None, :, :, None]], 13)
case("split_11", "Split", [x], x.split([1, 3], 1), 11, axis=1, split=[1, 3])
case("split_18", "Split", [x], x.split(4, 2), 18, axis=2, num_outputs=2)
case("slice_9", "Slice", [x], [x[:, 1:3]], 9, starts=[1], ends=[3], axes=[1])
case("slice_backwards", "Slice", [m, ints(-1), ints(-1000), ints(1), ints(-2)],
     [m.flip(1)[:, ::2]])
case("clip_6", "Clip", [x], [x.clamp(0, 1)], 7, min=0.0, max=1.0)
case("clip_11", "Clip", [x, None, numpy.float32(0.5)], [x.clamp(max=0.5)], 11)
case("dropout", "Dropout", [x], [x, numpy.ones(x.shape, bool)], 13)
case("cast", "Cast", [x * 3], [(x * 3).to(torch.int32)], to=6)

# integers
i = numpy.array([[7, -7], [8, -3]], "int32")
case("div_integers", "Div", [i, numpy.array([2, 2], "int32")], [[[3, -3], [4, -1]]])
CASES[-1][3][0] = CASES[-1][3][0].astype("int32")
case("mod_negative", "Mod", [i, numpy.array(3, "int32")], [i % numpy.int32(3)])
case("sum_integers", "ReduceSum", [i], [i.sum(keepdims=True, dtype="int32")])
case("shift", "BitShift", [numpy.array([16, 4, 1], "uint8"), numpy.array([1, 2, 3], "uint8")],
     [numpy.array([8, 1, 0], "uint8")], direction="RIGHT")
case("add_wraps", "Add", [numpy.array([65535], "uint16"), numpy.array([2], "uint16")],
     [numpy.array([1], "uint16")])
case("not", "Not", [i > 0], [i <= 0])

# indices
case("gather_negative", "Gather", [x, ints(-1, 0)], [x[:, [3, 0]]], axis=1)
case("gather_number", "Gather", [x, ints(2)[0]], [x[:, :, 2]], axis=2)
case("gather_nd", "GatherND", [x, ints(1, -1).reshape(1, 2)], [x[1, -1][None]])
case("scatter_nd", "ScatterND", [m, ints(2, 0).reshape(2, 1), torch.zeros(2, 5)],
     [m * torch.tensor([[0.], [1.], [0.]])])
case("scatter_add", "ScatterElements", [m, ints(0, 0).reshape(2, 1), torch.ones(2, 1)],
     [m + torch.tensor([[2., 0, 0, 0, 0], [0] * 5, [0] * 5])], 16, reduction="add")
case("top_k", "TopK", [m, ints(2)], list(m.topk(2, 1)))
case("one_hot", "OneHot", [ints(1, -1), ints(3), numpy.array([0, 5], "float32")],
     [numpy.array([[0, 5, 0], [0, 0, 5]], "float32")])
case("where", "Where", [(m > 0).numpy(), m, m * 0], [m.clamp(min=0)])
case("cumsum_exclusive", "CumSum", [m, ints(1)[0]],
     [torch.cat([m[:, :1] * 0, m.cumsum(1)[:, :-1]], 1)], exclusive=1)
case("pad_reflect", "Pad", [x, ints(0, 0, 1, 2, 0, 0, 1, 0)], [F.pad(x, (2, 0, 1, 1), "reflect")],
     mode="reflect")
case("pad_crop", "Pad", [m, ints(0, -1, 1, 0)], [F.pad(m, (-1, 0, 0, 1))])
case("depth_to_space_crd", "DepthToSpace", [x], [F.pixel_shuffle(x, 2)], blocksize=2, mode="CRD")
case("trilu", "Trilu", [m], [m.tril()], upper=0)
case("range", "Range", [ints(3)[0], ints(9)[0], ints(2)[0]], [ints(3, 5, 7)])
case("expand", "Expand", [m[:, :1], ints(2, 1, 4)], [m[:, :1].expand(2, 3, 4)])
case("constant_of_shape", "ConstantOfShape", [ints(2, 3)], [numpy.full((2, 3), 4, "int64")],
     value=ints(4))

# images at other places
case("resize_linear", "Resize", [x, None, None, ints(2, 4, 14, 18)],
     [F.interpolate(x, (14, 18), mode="bilinear")], mode="linear")
case("resize_nearest", "Resize", [x, None, numpy.array([1, 1, 2, 2], "float32")],
     [F.interpolate(x, scale_factor=2)], mode="nearest", nearest_mode="floor",
     coordinate_transformation_mode="asymmetric")
case("resize_cubic", "Resize", [x, None, None, ints(2, 4, 4, 5)],
     [F.interpolate(x, (4, 5), mode="bicubic", align_corners=True)], mode="cubic",
     coordinate_transformation_mode="align_corners")
case("resize_antialias", "Resize", [x, None, None, ints(2, 4, 4, 5)],
     [F.interpolate(x, (4, 5), mode="bilinear", antialias=True)], 18, mode="linear", antialias=1,
     exclude_outside=1)
g = torch.rand(2, 3, 5, 2) * 2 - 1
case("grid_sample", "GridSample", [x, g],
     [F.grid_sample(x, g, padding_mode="border", align_corners=True)], 16, mode="bilinear",
     padding_mode="border", align_corners=1)

# detectors
boxes = torch.tensor([[0., 0, 4, 4], [0, 1, 4, 5], [5, 5, 9, 9]])
case("non_max_suppression", "NonMaxSuppression",
     [boxes[None], torch.tensor([[[0.5, 0.9, 0.3]]]), ints(5), numpy.array([0.4], "float32")],
     [ints(0, 0, 1, 0, 0, 2).reshape(2, 3)])
rois = torch.tensor([[1., 1, 6, 5], [0, 0, 3, 3]])
case("roi_align", "RoiAlign", [x, rois, ints(1, 0)],
     [torchvision.ops.roi_align(x, torch.cat([torch.tensor([[1.], [0.]]), rois], 1), (2, 3), 0.5,
                                2, True)],
     16, output_height=2, output_width=3, sampling_ratio=2, spatial_scale=0.5)
offset, mask = rand(2, 18, 7, 9), torch.rand(2, 9, 7, 9)
d = rand(3, 4, 3, 3)
case("deform_conv", "DeformConv", [x, d, offset, None, mask],
     [torchvision.ops.deform_conv2d(x, offset, d, padding=1, mask=mask)], 19, pads=[1, 1, 1, 1],
     kernel_shape=[3, 3])

# recurrent nets: the gates of PyTorch in the order of ONNX
def gates(weight, order):
    parts = weight.detach().chunk(len(order))
    return torch.cat([parts[i] for i in order])


def recurrent(kind, order, directions):
    net = kind(4, 5, bidirectional=directions == 2)
    ends = [""] + ["_reverse"] * (directions - 1)
    stack = lambda name: torch.stack([gates(getattr(net, name + "_l0" + e), order) for e in ends])
    bias = torch.cat([stack("bias_ih"), stack("bias_hh")], 1)
    s = rand(6, 2, 4)
    y, states = net(s)
    y = y.reshape(6, 2, directions, 5).transpose(1, 2)
    states = states if isinstance(states, tuple) else (states,)
    return [s, Weight(stack("weight_ih").numpy()), Weight(stack("weight_hh").numpy()),
            Weight(bias.numpy())], [y, *states]


case("lstm", "LSTM", *recurrent(torch.nn.LSTM, (0, 3, 1, 2), 2), hidden_size=5,
     direction="bidirectional")
case("gru", "GRU", *recurrent(torch.nn.GRU, (1, 0, 2), 1), hidden_size=5, linear_before_reset=1)
case("rnn", "RNN", *recurrent(torch.nn.RNN, (0,), 2), hidden_size=5, direction="bidirectional")

# quantised numbers, attention, losses, spectra
q = numpy.array([[0, 128, 255], [3, 7, 9]], "uint8")
scales, zeros = numpy.array([0.5, 2], "float32"), numpy.array([128, 3], "uint8")
case("dequantize", "DequantizeLinear", [q, scales, zeros],
     [((q.astype("float32") - zeros[:, None]) * scales[:, None])], axis=0)
case("quantize", "QuantizeLinear", [numpy.array([-300, 0.5, 1.5, 400], "float32"),
                                    numpy.float32(1), numpy.int8(0)],
     [numpy.array([-128, 0, 2, 127], "int8")])
query, key, value = rand(2, 3, 4, 5), rand(2, 3, 6, 5), rand(2, 3, 6, 5)
case("attention", "Attention", [query, key, value],
     [(query @ key.transpose(2, 3) * 5 ** -0.5).softmax(-1) @ value], 23)
target = torch.randint(0, 4, (2, 7, 9))
case("cross_entropy", "SoftmaxCrossEntropyLoss", [x, target],
     [F.cross_entropy(x, target, ignore_index=1)], ignore_index=1)
case("dft", "DFT", [m[:, :, None]], [torch.view_as_real(torch.fft.rfft(m))], 17, axis=1, onesided=1)
case("unique", "Unique", [ints(3, 1, 3, 2)], [ints(3, 1, 2), ints(0, 1, 3), ints(0, 1, 0, 2),
                                              ints(2, 1, 1)], sorted=0)
case("bit_cast", "BitCast", [numpy.array([1, -2], "float32")],
     [numpy.array([1, -2], "float32").view("int32")], 26, to=6)
