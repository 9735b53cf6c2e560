"""How far one library's answers are from PyTorch's: answers.py infer|train|onnx FOLDER [LOSS]

Compares files of FOLDER and prints JSON with the largest difference in parts of PyTorch's value: of
the result of inference (ours.safetensors, or result.bin of ONNX Runtime), or of the step that the
weights take in training, and beside it, for training, that of the loss. In a process of its own, so
that the one that starts the timed processes stays small: on Linux a process begins with the highest
memory of who started it."""
import json
import math
import os
import sys

import numpy

import tensor_file


def apart(a, b):
    return float(numpy.abs(a.astype(numpy.float64) - b).max() / numpy.abs(b).max())


def norm(pairs):
    return math.sqrt(sum(float(numpy.square(a - b, dtype=numpy.float64).sum()) for a, b in pairs))


def step_apart(begin, own, other):
    names = [name for name in other if not name.startswith("bench.")]
    return (norm((own[name], other[name]) for name in names) /
            norm((other[name], begin[name]) for name in names))


def main():
    mode, folder = sys.argv[1:3]
    loss = None
    other = tensor_file.read(os.path.join(folder, "torch.safetensors"))
    if mode == "onnx":
        result = other["bench.result"]
        own = numpy.fromfile(os.path.join(folder, "result.bin"), numpy.float32)
        found = apart(own.reshape(result.shape), result)
    elif mode == "infer":
        own = tensor_file.read(os.path.join(folder, "ours.safetensors"))
        found = apart(own["bench.result"], other["bench.result"])
    else:
        own, begin = (tensor_file.read(os.path.join(folder, f"{name}.safetensors"))
                      for name in ("ours", "begin"))
        other_loss = float(other["bench.loss"][0])
        loss = abs(float(sys.argv[3]) - other_loss) / abs(other_loss)
        found = step_apart(begin, own, other)
    print(json.dumps({"difference": found, "loss": loss}))


main()
