#!/usr/bin/env python3
"""Classifiers of torchvision, exported by PyTorch with random weights and run here: logits within
1e-4 of the largest. Three small models; all where CRESSET_ALL_MODELS is set, or those named.
Run as: test_torchvision.py RUN_MODEL [NAME…]."""

import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

try:
    import numpy
    import torch
    import torchvision
except ImportError:
    print("PyTorch or torchvision is missing: skipped")
    sys.exit(77)

RUNNER = sys.argv[1]
SMALL = ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5"]
TOO_LARGE = {"regnet_y_128gf", "vit_h_14", "vit_l_32"}  # of the same make as smaller ones
OPSETS = (13, 17)


def size_of(name):
    if name.startswith("inception"):
        return 96
    if name.startswith(("vit", "swin", "maxvit", "alexnet", "vgg")):
        return 224
    return 64


def export(name, path, x, opset):
    torch.manual_seed(0)
    make = getattr(torchvision.models, name)
    model = make(init_weights=False) if name in ("googlenet", "inception_v3") else make()
    model.eval()
    with torch.no_grad():
        for module in model.modules():  # statistics that differ from layer to layer
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.8, 1.2)
        y = model(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, x, str(path), opset_version=opset, input_names=["x"],
                          dynamic_axes={"x": {0: "n"}})
    return y.numpy()


def check(name, folder, opset):
    path = pathlib.Path(folder) / f"{name}.onnx"
    x = torch.randn(2, 3, size_of(name), size_of(name))
    try:
        want = export(name, path, x, opset)
    except torch.onnx.errors.OnnxExporterError as error:
        print(f"{name:28} opset {opset}  PyTorch cannot export it: {str(error)[:60]}", flush=True)
        return ""
    path.with_suffix(".raw").write_bytes(x.numpy().tobytes())
    shape = [str(s) for s in x.shape]
    done = subprocess.run([RUNNER, str(path), str(path.with_suffix(".raw")),
                           str(path.with_suffix(".out")), *shape],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return done.stderr.strip() or f"status {done.returncode}"
    got = numpy.fromfile(path.with_suffix(".out"), "float32").reshape(want.shape)
    error = numpy.abs(got - want).max() / numpy.abs(want).max()
    print(f"{name:28} opset {opset}  {error:.1e}", flush=True)
    for file in pathlib.Path(folder).iterdir():
        file.unlink()
    return "" if error < 1e-4 else f"an error of {error:.1e}"


def all_names():
    return [n for n in torchvision.models.list_models(module=torchvision.models)
            if n not in TOO_LARGE]


def main():
    names = sys.argv[2:] or (all_names() if os.environ.get("CRESSET_ALL_MODELS") else SMALL)
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        for i, name in enumerate(names):
            fault = check(name, folder, OPSETS[i % 2])
            if fault:
                print(f"{name}: {fault}", flush=True)
                faults += 1
    print(f"{len(names)} models, {faults} faults")
    return faults > 0


if __name__ == "__main__":
    sys.exit(main())
