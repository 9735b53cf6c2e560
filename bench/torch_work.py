"""One work in PyTorch, timed: torch_work.py WORK train|infer|start REPEAT THREADS. Prints JSON with
the median of the seconds. The nets are those that `cresset bench` runs under the same names."""
import json
import sys
import time

import torch
import torchvision
from torch import nn

work, mode, repeat, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
torch.manual_seed(0)


def small_resnet18():
    net = torchvision.models.resnet18(num_classes=10)
    net.conv1 = nn.Conv2d(1, 64, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def small_cnn():
    return nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1),
                         nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 14 * 14, 128),
                         nn.ReLU(), nn.Linear(128, 10))


WORKS = {  # name: (net, batch, shape of a sample, classes)
    "mlp": (perceptron, 64, (1, 28, 28), 10),
    "small_cnn": (small_cnn, 128, (1, 28, 28), 10),
    "resnet18": (small_resnet18, 128, (1, 28, 28), 10),
    "resnet34": (lambda: torchvision.models.resnet34(num_classes=1000), 16, (3, 224, 224), 1000),
}
make, batch, shape, classes = WORKS[work]
if mode == "start":
    batch = 1
net = make()
x, labels = torch.randn(batch, *shape), torch.randint(0, classes, (batch,))
if mode == "train":
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    loss_of = nn.CrossEntropyLoss()

    def once():
        loss = loss_of(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
else:
    net.eval()

    def once():
        with torch.no_grad():
            net(x)

seconds = []
for i in range(repeat + (0 if mode == "start" else 2)):
    begun = time.perf_counter()
    once()
    seconds.append(time.perf_counter() - begun)
seconds = sorted(seconds if mode == "start" else seconds[2:])
print(json.dumps({"seconds": seconds[len(seconds) // 2]}))
