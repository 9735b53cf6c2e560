"""What bench/ times: works, and the suites of them. Nothing is imported, so that starting is quick.

A work names a model of `cresset bench`, which torch_work.py has in PyTorch under the same names."""


class Work:
    def __init__(self, key, words, model, batch, options=(), runs=(3, 5), optimizer="adam"):
        self.key, self.words, self.model, self.batch = key, words, model, batch
        self.options, self.optimizer = list(options), optimizer
        self.runs = {"train": runs[0], "infer": runs[1], "start": 1}  # in one process


SMALL = ("--classes", "10", "--input", "1x28x28", "--small-stem")
WORKS = {work.key: work for work in (
    Work("mlp", "perceptron 784-128-10, batch 64", "mlp", 64, runs=(400, 1000)),
    Work("small_cnn", "small CNN, batch 128, 28×28", "small_cnn", 128, runs=(15, 30)),
    Work("resnet18", "ResNet-18 small stem, batch 128, 28×28", "resnet18", 128, SMALL),
    Work("resnet34", "ResNet-34, batch 16, 224×224", "resnet34", 16),
    Work("resnet50", "ResNet-50, batch 1, 224×224", "resnet50", 1, runs=(5, 15)),
    Work("mobilenet_v2", "MobileNetV2, batch 1, 224×224", "mobilenet_v2", 1, runs=(5, 40)),
    *(Work(f"{model}_b{batch}", f"{words}, batch {batch}, 224×224", model, batch,
           runs=(2, {"mobilenet_v2": 40, "efficientnet_b0": 30, "resnet50": 12}.get(model, 8)
                 // (1 if batch == 1 else 4)))
      for model, words in (("resnet50", "ResNet-50"), ("mobilenet_v2", "MobileNetV2"),
                           ("efficientnet_b0", "EfficientNet-B0"), ("swin_t", "Swin-T"),
                           ("vit_b_16", "ViT-B/16"))
      for batch in (1, 8)),
    Work("swin_t", "Swin-T, batch 8, 224×224", "swin_t", 8, runs=(2, 3)),
    Work("bert_base", "BERT-base-size encoder, batch 8, length 128", "bert_base", 8, runs=(2, 3),
         optimizer="adamw"),
    Work("bilstm", "2-layer bidirectional LSTM 128→256, batch 32, length 200", "bilstm", 32,
         runs=(2, 3)),
)}
TRAINED = ("mlp", "small_cnn", "resnet18", "resnet34", "swin_t", "bert_base", "bilstm")
SUITES = {  # (work, mode)
    "foundation": [(key, mode) for key in ("mlp", "small_cnn", "resnet18", "resnet34")
                   for mode in ("train", "infer", "start")],
    "engine": [(key, "train") for key in TRAINED] +
              [(key, "infer") for key in ("resnet34", "resnet50", "mobilenet_v2", "swin_t",
                                          "bert_base")] + [("resnet50", "start")],
    "inference": [(f"{model}_b{batch}", "infer")
                  for model in ("resnet50", "mobilenet_v2", "efficientnet_b0", "swin_t", "vit_b_16")
                  for batch in (1, 8)],
}
