"""`cresset models`, `data` and `bench`: tables for people, JSON for programs."""
import hashlib
import os
import tempfile
import unittest

from command import CLASSES, SIDE, CommandTest, FolderTest


# What torchvision says of its models (of GoogLeNet with its auxiliary heads).
PARAMETERS = """
alexnet=61100840 vgg11=132863336 vgg11_bn=132868840 vgg13=133047848 vgg13_bn=133053736
vgg16=138357544 vgg16_bn=138365992 vgg19=143667240 vgg19_bn=143678248 googlenet=13004888
inception_v3=27161264 resnet18=11689512 resnet34=21797672 resnet50=25557032 resnet101=44549160
resnet152=60192808 resnext50_32x4d=25028904 resnext101_32x8d=88791336
resnext101_64x4d=83455272 wide_resnet50_2=68883240 wide_resnet101_2=126886696
squeezenet1_0=1248424 squeezenet1_1=1235496 mobilenet_v2=3504872 mobilenet_v3_large=5483032
mobilenet_v3_small=2542856 shufflenet_v2_x0_5=1366792 shufflenet_v2_x1_0=2278604
shufflenet_v2_x1_5=3503624 shufflenet_v2_x2_0=7393996 mnasnet0_5=2218512 mnasnet0_75=3170208
mnasnet1_0=4383312 mnasnet1_3=6282256 densenet121=7978856 densenet161=28681000
densenet169=14149480 densenet201=20013928 efficientnet_b0=5288548 efficientnet_b1=7794184
efficientnet_b2=9109994 efficientnet_b3=12233232 efficientnet_b4=19341616
efficientnet_b5=30389784 efficientnet_b6=43040704 efficientnet_b7=66347960
efficientnet_v2_s=21458488 efficientnet_v2_m=54139356 efficientnet_v2_l=118515272
regnet_y_400mf=4344144 regnet_y_800mf=6432512 regnet_y_1_6gf=11202430 regnet_y_3_2gf=19436338
regnet_y_8gf=39381472 regnet_y_16gf=83590140 regnet_y_32gf=145046770 regnet_y_128gf=644812894
regnet_x_400mf=5495976 regnet_x_800mf=7259656 regnet_x_1_6gf=9190136 regnet_x_3_2gf=15296552
regnet_x_8gf=39572648 regnet_x_16gf=54278536 regnet_x_32gf=107811560 convnext_tiny=28589128
convnext_small=50223688 convnext_base=88591464 convnext_large=197767336 vit_b_16=86567656
vit_b_32=88224232 vit_l_16=304326632 vit_l_32=306535400 vit_h_14=632045800 swin_t=28288354
swin_s=49606258 swin_b=87768224 swin_v2_t=28351570 swin_v2_s=49737442 swin_v2_b=87930848"""


class ModelsTest(CommandTest):
    def test_list(self):
        names = [model["name"] for model in self.assert_json("models", "--json")]
        text = self.assert_done("models")
        for name in ("mlp", "lenet5", "convnet", "resnet18", "resnet34", "resnet50",
                     "mobilenet_v2", "swin_t", "swin_s", "swin_b", "bert_base", "bilstm"):
            self.assertIn(name, names)
            self.assertRegex(text, rf"(?m)^{name} ")

    def test_sizes_are_torchvisions(self):
        models = {model["name"]: model for model in self.assert_json("models", "--json")}
        for name, parameters in map(lambda pair: pair.split("="), PARAMETERS.split()):
            self.assertEqual(models[name]["parameters"], int(parameters), name)
        for name, side, multiply_adds in (
                ("alexnet", 224, 0.714e9), ("vgg16", 224, 15.47e9), ("googlenet", 224, 1.498e9),
                ("inception_v3", 299, 5.713e9), ("densenet121", 224, 2.834e9),
                ("resnext50_32x4d", 224, 4.230e9), ("wide_resnet50_2", 224, 11.398e9),
                ("squeezenet1_1", 224, 0.349e9), ("shufflenet_v2_x1_0", 224, 0.145e9),
                ("mnasnet1_0", 224, 0.314e9), ("mobilenet_v3_large", 224, 0.217e9),
                ("efficientnet_b0", 224, 0.386e9), ("efficientnet_v2_s", 384, 8.366e9),
                ("regnet_y_400mf", 224, 0.402e9), ("convnext_tiny", 224, 4.456e9),
                ("vit_b_16", 224, 17.564e9), ("swin_v2_t", 256, 5.94e9)):
            self.assertEqual(models[name]["input"], [3, side, side], name)
            self.assertAlmostEqual(models[name]["multiply_adds"] / multiply_adds, 1, delta=0.05,
                                   msg=name)

    def test_resnet18_is_torchvisions(self):
        answer = self.assert_json("models", "resnet18", "--json")
        self.assertEqual(answer["parameters"], 11689512)
        self.assertEqual(answer["input"], [3, 224, 224])
        self.assertEqual(answer["output"], [1000])
        self.assertAlmostEqual(answer["multiply_adds"] / 1.814e9, 1, delta=0.02)
        layers = {layer["name"]: layer for layer in answer["layers"]}
        self.assertEqual(layers["conv1"]["output"], [64, 112, 112])
        self.assertEqual(layers["conv1"]["parameters"], 9408)
        self.assertEqual(layers["fc"]["parameters"], 513000)
        text = self.assert_done("models", "resnet18")
        self.assertRegex(text, r"(?m)^total .* 11,689,512 ")

    def test_settings(self):
        answer = self.assert_json("models", "resnet18", "--input", "1x28x28", "--small-stem",
                                  "--classes", "10", "--json")
        layers = {layer["name"]: layer for layer in answer["layers"]}
        self.assertEqual(layers["conv1"]["output"], [64, 28, 28])
        self.assertEqual(answer["output"], [10])

    def test_weights(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "lenet5.safetensors")
            self.assert_done("bench", "lenet5", "--batch-size", "1", "--repeat", "1", "--save",
                             path)
            text = self.assert_done("models", "lenet5", "--weights", path)
            self.assertIn("safetensors: 10 of 10 tensors of the model found in the file", text)
            answer = self.assert_json("models", "lenet5", "--classes", "4", "--weights", path,
                                      "--json")["weights"]
            self.assertEqual(len(answer["matched"]), 8)
            self.assertEqual(answer["mismatched"][0], {"name": "fc3.weight", "in_file": [10, 84],
                                                       "in_model": [4, 84]})
            self.assert_refused(2, "--weights needs a model", "models", "--weights", path)
            with open(path, "wb") as file:
                file.write(b"no such thing")
            self.assert_refused(1, path, "models", "lenet5", "--weights", path)

    def test_mistakes(self):
        self.assert_refused(2, "resnet18", "models", "resnet81")
        self.assert_refused(2, "--input of mlp must be like 1x28x28", "models", "mlp", "--input",
                            "28x28")
        self.assert_refused(2, "--input needs a model", "models", "--input", "1x28x28")
        self.assert_refused(1, "", "models", "lenet5", "--input", "1x2x2")


class DataTest(FolderTest):
    def test_text_and_json(self):
        data = self.make_data()
        text = self.assert_done("data", data)
        self.assertRegex(text, r"(?m)^all +400 +100$")
        answer = self.assert_json("data", data, "--json")
        self.assertEqual(answer["sample_shape"], [1, SIDE, SIDE])
        self.assertEqual([split["samples"] for split in answer["splits"]], [400, 100])
        self.assertEqual(sum(answer["splits"][0]["class_counts"].values()), 400)
        pixels = [value for image, _ in self.samples for value in image]
        mean = sum(pixels) / len(pixels) / 255
        self.assertAlmostEqual(answer["splits"][1]["channel_means"][0], mean, places=6)

    def test_pictures(self):
        text = self.assert_done("data", self.make_data(), "--show", "2")
        self.assertIn("0: 0", text)
        self.assertIn("#", text)

    def test_mistakes(self):
        self.assert_refused(1, "there is no data set nowhere", "data", "nowhere")
        data = self.make_data()
        path = os.path.join(data, "train-images-idx3-ubyte.gz")
        with open(path, "r+b") as file:
            file.truncate(100)
        self.assert_refused(1, "train-images-idx3-ubyte.gz", "data", data)


class BenchTest(CommandTest):
    def test_json(self):
        answer = self.assert_json("bench", "mlp", "--batch-size", "8", "--repeat", "3", "--json")
        self.assertEqual([row["mode"] for row in answer["timings"]], ["train", "infer"])
        for row in answer["timings"]:
            self.assertLessEqual(row["fastest_seconds"], row["seconds"])
            self.assertLessEqual(row["seconds"], row["slowest_seconds"])
            self.assertGreater(row["tensor_bytes"], 0)

    def test_tokens_and_sequences(self):
        for options in (("bert_base", "--width", "64", "--input", "9"),
                        ("bert_base", "--width", "64", "--input", "5", "--classes", "3"),
                        ("bilstm", "--width", "16", "--input", "7x12")):
            answer = self.assert_json("bench", *options, "--batch-size", "2", "--repeat", "1",
                                      "--optimizer", "adamw", "--json")
            self.assertEqual([row["mode"] for row in answer["timings"]], ["train", "infer"])
        self.assert_refused(2, "--input of bert_base must be like 128", "bench", "bert_base",
                            "--input", "3x4")

    def test_same_bits_at_any_number_of_threads(self):
        """A training step of every kind of model ends with the same weights."""
        works = (("mlp",), ("small_cnn", "--input", "1x12x12"),
                 ("resnet18", "--small-stem", "--input", "1x8x8"),
                 ("resnet34", "--input", "3x32x32"), ("mobilenet_v2", "--input", "3x32x32"),
                 ("swin_t", "--input", "3x60x32"), ("bert_base", "--width", "64", "--input", "19"),
                 ("bilstm", "--width", "16", "--input", "7x12"))
        for work in works:
            with tempfile.TemporaryDirectory() as folder:
                begin, end = (os.path.join(folder, name) for name in ("begin", "end"))
                words = ("bench", *work, "--batch-size", "3", "--warm-up", "0", "--repeat", "1")
                self.assert_done(*words, "--mode", "infer", "--save", begin)
                digests = set()
                for threads in "124":
                    self.assert_done(*words, "--mode", "train", "--optimizer", "adamw",
                                     "--threads", threads, "--load", begin, "--save", end)
                    with open(end, "rb") as file:
                        digests.add(hashlib.sha256(file.read()).hexdigest())
                self.assertEqual(len(digests), 1, work[0])

    def test_load_and_save(self):
        with tempfile.TemporaryDirectory() as folder:
            first, second = (os.path.join(folder, name) for name in "ab")
            words = ("bench", "bilstm", "--width", "16", "--input", "7x12", "--batch-size", "2",
                     "--warm-up", "0", "--repeat", "1")
            self.assert_done(*words, "--save", first)
            self.assert_done(*words, "--mode", "infer", "--load", first, "--save", second)
            with open(first, "rb") as a, open(second, "rb") as b:
                self.assertEqual(a.read(), b.read())
            self.assert_refused(1, "weight_ih_l0", "bench", "bilstm", "--load", first)

    def test_text(self):
        text = self.assert_done("bench", "mlp", "--mode", "infer", "--repeat", "2", "-t", "1")
        self.assertIn("inference", text)
        self.assertNotIn("training step", text)

    def test_mistakes(self):
        self.assert_refused(2, "mlp", "bench", "mpl")
        self.assert_refused(2, "cresset bench MODEL", "bench")


if __name__ == "__main__":
    unittest.main()
