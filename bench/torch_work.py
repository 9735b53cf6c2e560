"""One work in PyTorch: torch_work.py WORK MODE FOLDER REPEAT THREADS [f32|autocast]

prepare writes weights and a batch to FOLDER/begin.safetensors, and what PyTorch makes of them to
FOLDER/torch.safetensors: the result of inference, the loss, and the weights after a step of SGD.
onnx exports the same model to FOLDER/model.onnx. train, infer and start time it and print JSON with
the median of the seconds."""
import json
import os
import sys
import time
import unittest.mock

import numpy
import torch
import torchvision
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "oracle"))
from reference_models import BertModel, BiLstm, mlp, small_cnn  # noqa: E402
import tensor_file  # noqa: E402
from works import WORKS  # noqa: E402

work, mode, folder, repeat, threads = WORKS[sys.argv[1]], *sys.argv[2:4], *map(int, sys.argv[4:6])
autocast = len(sys.argv) > 6 and sys.argv[6] == "autocast"
torch.set_num_threads(threads)
torch.manual_seed(0)
BEGIN = os.path.join(folder, "begin.safetensors")


def small_resnet18():
    net = torchvision.models.resnet18(num_classes=10)
    net.conv1 = nn.Conv2d(1, 64, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net


IMAGE = (3, 224, 224)
MODELS = {  # name: (net, shape of a sample, classes)
    "mlp": (mlp, (1, 28, 28), 10),
    "small_cnn": (small_cnn, (1, 28, 28), 10),
    "resnet18": (small_resnet18, (1, 28, 28), 10),
    "resnet34": (torchvision.models.resnet34, IMAGE, 1000),
    "resnet50": (torchvision.models.resnet50, IMAGE, 1000),
    "mobilenet_v2": (torchvision.models.mobilenet_v2, IMAGE, 1000),
    "efficientnet_b0": (torchvision.models.efficientnet_b0, IMAGE, 1000),
    "vit_b_16": (torchvision.models.vit_b_16, IMAGE, 1000),
    "swin_t": (torchvision.models.swin_t, IMAGE, 1000),
    "bert_base": (BertModel, (128,), 0),
    "bilstm": (BiLstm, (200, 128), 0),
}
make, shape, classes = MODELS[work.model]


def random_net():
    """With torchvision's initial values, but for those that take it a minute."""
    with unittest.mock.patch("torch.nn.init.trunc_normal_", nn.init.normal_):
        return make()


def loaded_net(state):
    """With the weights of a file, and no initial values before."""
    nothing = {name: (lambda tensor, *_, **__: tensor) for name in (
        "trunc_normal_", "normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_uniform_",
        "uniform_")}
    with unittest.mock.patch.multiple("torch.nn.init", **nothing):
        net = make()
    net.load_state_dict({name: torch.from_numpy(numpy.array(value))
                         for name, value in state.items() if not name.startswith("bench.")})
    return net


def loss_of(result, target):
    return (nn.functional.cross_entropy(result, target) if classes else
            nn.functional.mse_loss(result, target))


def without_dropout(net):
    for module in net.modules():
        if isinstance(getattr(module, "p", None), float):
            module.p = 0.0
    return net


def prepare():
    net = without_dropout(random_net())
    for value in net.parameters():
        if value.dim() == 2 and not value.detach().any():  # torchvision's ViT begins with no head
            torch.nn.init.normal_(value, std=0.02)
    x = (torch.randint(0, 30522, (work.batch, *shape)) if work.model == "bert_base" else
         torch.randn(work.batch, *shape))
    net.eval()
    with torch.no_grad():
        result = net(x)
    target = torch.randint(0, classes, (work.batch,)) if classes else torch.randn(result.shape)
    state = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    tensor_file.write(BEGIN, {**state, "bench.input": x.numpy(), "bench.target": target.numpy()})
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    loss = loss_of(net(x), target)
    loss.backward()
    optimizer.step()
    after = {name: value.detach().numpy() for name, value in net.named_parameters()}
    tensor_file.write(os.path.join(folder, "torch.safetensors"), {
        **after, "bench.result": result.numpy(),
        "bench.loss": numpy.array([float(loss)], numpy.float64)})
    return x


def export():
    state = tensor_file.read(BEGIN)
    net = loaded_net(state).eval()
    x = torch.from_numpy(numpy.array(state["bench.input"]))
    state["bench.input"].tofile(os.path.join(folder, "input.bin"))
    torch.onnx.export(net, x, os.path.join(folder, "model.onnx"), opset_version=16,
                      input_names=["x"])
    return x


def once_of(state):
    net = loaded_net(state)
    x, target = (torch.from_numpy(numpy.array(state[f"bench.{name}"]))
                 for name in ("input", "target"))
    cast = torch.autocast("cpu", torch.bfloat16, enabled=autocast)
    if mode != "train":
        net.eval()

        def infer():
            with torch.no_grad(), cast:
                net(x)
        return infer
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[work.optimizer]
    optimizer = kind(net.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        with cast:
            loss = loss_of(net(x).float() if autocast else net(x), target)
        loss.backward()
        optimizer.step()
    return step


def timed():
    once = once_of(tensor_file.read(BEGIN))
    seconds = []
    for _ in range(repeat if mode == "start" else repeat + 2):
        begun = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - begun)
    seconds = sorted(seconds if mode == "start" else seconds[2:])
    return seconds[len(seconds) // 2]


if mode in ("prepare", "onnx"):
    x = {"prepare": prepare, "onnx": export}[mode]()
    print(json.dumps({"version": torch.__version__, "shape": list(x.shape),
                      "type": str(x.dtype).removeprefix("torch.")}))
else:
    print(json.dumps({"seconds": timed()}))
