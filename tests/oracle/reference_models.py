"""The zoo's models that torchvision lacks, in PyTorch, under the names of their references. The
tests and bench/ import it."""
import torch
from torch import nn


class Named(nn.Module):
    """Layers by name, run by a function of them and the input."""

    def __init__(self, run, **layers):
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.run(self, x)


def mlp():
    return Named(lambda s, x: s.fc2(torch.relu(s.fc1(x.flatten(1)))), fc1=nn.Linear(784, 128),
                 fc2=nn.Linear(128, 10))


def lenet5():
    def run(s, x):
        x = torch.max_pool2d(torch.relu(s.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(s.conv2(x)), 2).flatten(1)
        return s.fc3(torch.relu(s.fc2(torch.relu(s.fc1(x)))))
    return Named(run, conv1=nn.Conv2d(1, 6, 5, padding=2), conv2=nn.Conv2d(6, 16, 5),
                 fc1=nn.Linear(400, 120), fc2=nn.Linear(120, 84), fc3=nn.Linear(84, 10))


def small_cnn():
    def run(s, x):
        x = torch.max_pool2d(torch.relu(s.conv2(torch.relu(s.conv1(x)))), 2).flatten(1)
        return s.fc2(torch.relu(s.fc1(x)))
    return Named(run, conv1=nn.Conv2d(1, 32, 3, padding=1), conv2=nn.Conv2d(32, 64, 3, padding=1),
                 fc1=nn.Linear(64 * 14 * 14, 128), fc2=nn.Linear(128, 10))


def convnet():
    def block(s, x, name):
        for i in "12":
            conv, norm = s.get_submodule(f"{name}.conv{i}"), s.get_submodule(f"{name}.bn{i}")
            x = torch.relu(norm(conv(x)))
        return torch.max_pool2d(x, 2)

    def run(s, x):
        for name in ("stage1", "stage2", "stage3"):
            x = block(s, x, name)
        return s.fc(x.mean((2, 3)))

    def stage(inputs, width):
        return nn.ModuleDict({"conv1": nn.Conv2d(inputs, width, 3, padding=1, bias=False),
                              "bn1": nn.BatchNorm2d(width),
                              "conv2": nn.Conv2d(width, width, 3, padding=1, bias=False),
                              "bn2": nn.BatchNorm2d(width)})
    return Named(run, stage1=stage(1, 32), stage2=stage(32, 64), stage3=stage(64, 128),
                 fc=nn.Linear(128, 10))


class BertLayer(nn.Module):
    """Hugging Face's BertLayer."""

    def __init__(self, width, heads, p):
        super().__init__()
        self.heads, self.p = heads, p
        self.attention = nn.ModuleDict({
            "self": nn.ModuleDict({name: nn.Linear(width, width)
                                   for name in ("query", "key", "value")}),
            "output": self.end(width, width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, 4 * width)})
        self.output = self.end(4 * width, width)

    @staticmethod
    def end(inputs, width):
        return nn.ModuleDict({"dense": nn.Linear(inputs, width),
                              "LayerNorm": nn.LayerNorm(width, eps=1e-12)})

    def add(self, part, x, residual):
        x = nn.functional.dropout(part["dense"](x), self.p, self.training)
        return part["LayerNorm"](x + residual)

    def forward(self, x):
        own = self.attention["self"]
        query, key, value = (own[name](x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
                             for name in ("query", "key", "value"))
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        weights = nn.functional.dropout(scores.softmax(-1), self.p, self.training)
        x = self.add(self.attention["output"], (weights @ value).transpose(1, 2).flatten(-2), x)
        y = nn.functional.gelu(self.intermediate["dense"](x))
        return self.add(self.output, y, x)


class BertModel(nn.Module):
    """Hugging Face's BertModel up to the last hidden states."""

    def __init__(self, width=768, layers=12, p=0.1, pooled=False):
        super().__init__()
        self.p = p
        self.embeddings = nn.ModuleDict({
            "word_embeddings": nn.Embedding(30522, width, padding_idx=0),
            "position_embeddings": nn.Embedding(512, width),
            "token_type_embeddings": nn.Embedding(2, width),
            "LayerNorm": nn.LayerNorm(width, eps=1e-12)})
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(
            BertLayer(width, width // 64, p) for _ in range(layers))})
        if pooled:
            self.pooler = nn.ModuleDict({"dense": nn.Linear(width, width)})
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, ids):
        e = self.embeddings
        positions = torch.arange(ids.shape[1])
        x = (e["word_embeddings"](ids) + e["token_type_embeddings"](torch.zeros_like(ids)) +
             e["position_embeddings"](positions))
        x = nn.functional.dropout(e["LayerNorm"](x), self.p, self.training)
        for layer in self.encoder["layer"]:
            x = layer(x)
        return x


class BertClassifier(nn.Module):
    """Hugging Face's BertForSequenceClassification."""

    def __init__(self, classes, width=768, layers=12, p=0.1):
        super().__init__()
        self.bert = BertModel(width, layers, p, pooled=True)
        self.dropout = nn.Dropout(p)
        self.classifier = nn.Linear(width, classes)

    def forward(self, ids):
        pooled = torch.tanh(self.bert.pooler["dense"](self.bert(ids)[:, 0]))
        return self.classifier(self.dropout(pooled))


class BiLstm(nn.LSTM):
    """The states, or with `classes` logits of their mean."""

    def __init__(self, classes=0):
        super().__init__(128, 256, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(512, classes) if classes else None

    def forward(self, x):
        x = super().forward(x)[0]
        return self.fc(x.mean(1)) if self.fc else x
