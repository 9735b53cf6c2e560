"""What `cresset serve` says to those who speak the Open Inference Protocol, TorchServe's language
and Prometheus'."""
import base64
import json
import os
import shutil
import struct
import subprocess
import unittest

from serving import CLASSES, CRESSET, SIDE, Server, ServingTest, binary_request, form


class ProtocolTest(ServingTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = Server(cls.model)
        cls.addClassCleanup(cls.server.__exit__)
        cls.rows = [[value / 255 for value in pixels] for pixels in cls.pixels]

    def test_server_and_health(self):
        about = self.server.get("/v2").json
        self.assertEqual(about["name"], "cresset")
        self.assertIn("binary_tensor_data", about["extensions"])
        self.assertEqual(self.server.get("/v2/health/live").json, {"live": True})
        self.assertEqual(self.server.get("/v2/health/ready").json, {"ready": True})
        self.assertEqual(self.server.get("/v2/models/places/ready").status, 200)
        self.assertEqual(self.server.get("/v2/models/places/versions/1/ready").status, 200)
        self.assertEqual(self.server.ask("HEAD", "/v2/health/live").status, 200)

    def test_metadata(self):
        about = self.server.get("/v2/models/places").json
        self.assertEqual(about["versions"], ["1"])
        self.assertEqual(about["platform"], "cresset_classifier")
        self.assertEqual(about["inputs"], [{"name": "input", "datatype": "FP32",
                                            "shape": [-1, 1, SIDE, SIDE]}])
        self.assertEqual([each["name"] for each in about["outputs"]], ["logits", "probabilities"])
        self.assertEqual(about, self.server.get("/v2/models/places/versions/1").json)

    def test_infer_json(self):
        answer = self.server.infer("places", *self.rows, id="a \"b\"").json
        self.assertEqual(answer["model_name"], "places")
        self.assertEqual(answer["model_version"], "1")
        self.assertEqual(answer["id"], "a \"b\"")
        self.assertEqual(answer["parameters"]["batch_size"], 4)
        self.assertGreaterEqual(answer["parameters"]["queue_us"], 0)
        logits, probabilities = answer["outputs"]
        self.assertEqual(logits["shape"], [4, 10])
        self.assertEqual(len(probabilities["data"]), 40)
        for row in range(4):
            self.assertAlmostEqual(sum(probabilities["data"][row * 10:row * 10 + 10]), 1, 5)

    def test_nested_data_are_flat_data(self):
        flat = self.server.infer("places", self.rows[0]).json["outputs"]
        nested = [[[self.rows[0][y * SIDE:(y + 1) * SIDE] for y in range(SIDE)]]]
        answer = self.server.post("/v2/models/places/versions/1/infer", {
            "inputs": [{"name": "input", "shape": [1, 1, SIDE, SIDE], "datatype": "FP32",
                        "data": nested}]})
        self.assertEqual(answer.json["outputs"], flat)

    def test_binary_extension(self):
        numbers = self.server.infer("places", *self.rows).json["outputs"][0]["data"]
        data = struct.pack(f"<{4 * SIDE * SIDE}f", *(v for row in self.rows for v in row))
        body, headers = binary_request([("input", "FP32", [4, 1, SIDE, SIDE], data)],
                                       parameters={"binary_data_output": True},
                                       outputs=[{"name": "logits"}])
        answer = self.server.post("/v2/models/places/infer", body, **headers)
        length = int(answer.headers["Inference-Header-Content-Length"])
        head = json.loads(answer.body[:length])
        self.assertEqual(len(head["outputs"]), 1)
        self.assertEqual(head["outputs"][0]["parameters"]["binary_data_size"], 160)
        values = struct.unpack("<40f", answer.body[length:])
        for value, number in zip(values, numbers):
            self.assertAlmostEqual(value, number, 4)
        body, headers = binary_request(
            [("input", "FP32", [4, 1, SIDE, SIDE], data)],
            outputs=[{"name": "logits", "parameters": {"binary_data": True}},
                     {"name": "probabilities"}])
        answer = self.server.post("/v2/models/places/infer", body, **headers)
        head = json.loads(answer.body[:int(answer.headers["Inference-Header-Content-Length"])])
        self.assertIn("parameters", head["outputs"][0])
        self.assertEqual(len(head["outputs"][1]["data"]), 40)

    def test_classification_extension(self):
        answer = self.server.infer(
            "places", *self.rows,
            outputs=[{"name": "probabilities", "parameters": {"classification": 2}}]).json
        output = answer["outputs"][0]
        self.assertEqual((output["datatype"], output["shape"]), ("BYTES", [4, 2]))
        self.assertEqual(len(output["data"]), 8)
        score, index, label = output["data"][0].split(":")
        self.assertEqual(index, label)
        self.assertGreater(float(score), 0)
        answer = self.server.infer("places", *self.rows, outputs=[
            {"name": "logits", "parameters": {"classification": 2, "binary_data": True}}])
        length = int(answer.headers["Inference-Header-Content-Length"])
        left, labels = answer.body[length:], []
        while left:
            size = struct.unpack("<I", left[:4])[0]
            labels.append(left[4:4 + size].decode().split(":")[2])
            left = left[4 + size:]
        self.assertEqual(labels, [each.split(":")[2] for each in output["data"]])

    def test_pictures(self):
        for body, headers in ((self.pictures[1], {}), form("data", self.pictures[1]),
                              form("file", self.pictures[1])):
            for method in ("POST", "PUT"):
                answer = self.server.ask(method, "/predictions/places", body, headers)
                self.assertEqual(answer.status, 200, answer.body)
                self.assertEqual(len(answer.json), 5)
                self.assertEqual(next(iter(answer.json)), "1")
        answer = self.server.post("/predictions/places/1?top=2", self.pictures[1])
        self.assertEqual(len(answer.json), 2)
        self.assertEqual(self.server.get("/ping").json, {"status": "Healthy"})

    def test_predictions_are_those_of_the_command(self):
        path = os.path.join(self.folder, "one.png")
        with open(path, "wb") as file:
            file.write(self.pictures[3])
        said = subprocess.run([CRESSET, "predict", self.model, path, "--json", "--top", "4"],
                              capture_output=True, text=True, check=True).stdout
        own = {each["name"]: each["probability"] for each in json.loads(said)[0]["predictions"]}
        served = self.server.post("/predictions/places?top=4", self.pictures[3]).json
        self.assertEqual(list(own), list(served))
        for name in own:
            self.assertAlmostEqual(own[name], served[name], 5)

    def test_explanations(self):
        answer = self.server.post("/explanations/places?top=3", self.pictures[0]).json
        self.assertEqual([answer["model_name"], answer["model_version"]], ["places", "1"])
        self.assertEqual(len(answer["predictions"]), 3)
        self.assertEqual(answer["predictions"][0]["label"], "0")
        self.assertEqual(answer["explanation"]["class"], 0)
        kind, data = answer["explanation"]["picture"].split(",")
        self.assertEqual(kind, "data:image/png;base64")
        self.assertEqual(base64.b64decode(data)[:8], b"\x89PNG\r\n\x1a\n")
        self.assertEqual(answer["parameters"]["batch_size"], 1)
        other = self.server.post("/explanations/places?class=2", self.pictures[0]).json
        self.assertEqual(other["explanation"]["class"], 2)
        self.assertNotEqual(other["explanation"]["picture"], answer["explanation"]["picture"])

    def test_statistics_and_metrics(self):
        before = self.server.get("/v2/models/places/stats").json["model_stats"][0]
        self.server.infer("places", *self.rows)
        after = self.server.get("/v2/models/places/versions/1/stats").json["model_stats"][0]
        self.assertEqual(after["inference_count"] - before["inference_count"], 4)
        self.assertEqual(after["execution_count"] - before["execution_count"], 1)
        self.assertGreater(after["inference_stats"]["success"]["ns"],
                           before["inference_stats"]["success"]["ns"])
        self.assertEqual(len(self.server.get("/v2/models/stats").json["model_stats"]), 1)
        of_model = {"model": "places", "version": "1"}
        count = self.server.metric("nv_inference_count", **of_model)
        self.server.infer("places", *self.rows)
        self.assertEqual(self.server.metric("nv_inference_count", **of_model), count + 4)
        self.assertEqual(self.server.metric("cresset_rows_total", **of_model), count + 4)
        self.assertEqual(self.server.metric("cresset_model_ready", **of_model), 1)
        self.assertGreater(self.server.metric("process_resident_memory_bytes"), 1e6)
        text = self.server.get("/metrics").body.decode()
        for line in text.splitlines():
            self.assertRegex(line, r'^(# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"]*",?)+\})? \S+)$')

    def test_access_log(self):
        self.server.infer("places", self.rows[0], id="in the log")
        line = [each for each in self.server.events() if each.get("id") == "in the log"][0]
        self.assertEqual([line["method"], line["path"], line["status"], line["client"]],
                         ["POST", "/v2/models/places/infer", 200, "127.0.0.1"])
        self.assertEqual([line["model"], line["version"], line["rows"], line["batch_size"]],
                         ["places", 1, 1, 1])
        self.assertGreater(line["ms"], 0)

    def test_repository_index(self):
        index = self.server.post("/v2/repository/index").json
        self.assertEqual(index, [{"name": "places", "version": "1", "state": "READY",
                                  "reason": ""}])
        self.assertEqual(self.server.post("/v2/repository/index", {"ready": True}).json, index)

    def test_page(self):
        answer = self.server.get("/")
        self.assertIn("text/html", answer.headers["Content-Type"])
        self.assertIn("default-src 'none'", answer.headers["Content-Security-Policy"])
        for name in ("style.css", "page.js", "icon.svg"):
            self.assertEqual(self.server.get("/" + name).status, 200)


class RepositoryTest(ServingTest):
    def test_names_versions_and_folders(self):
        folder = os.path.join(self.folder, "many")
        os.makedirs(os.path.join(folder, "digits/2"))
        os.makedirs(os.path.join(folder, "digits/11"))
        weights = os.path.join(self.model, "weights/best.safetensors")
        for place in ("digits/2/model.safetensors", "digits/11/model.safetensors",
                      "a b.safetensors"):
            shutil.copy(weights, os.path.join(folder, place))
        shutil.copytree(self.model, os.path.join(folder, "run"))
        with Server(folder, f"x={self.model}", f"x/7={weights}") as server:
            index = [(each["name"], each["version"])
                     for each in server.post("/v2/repository/index").json]
            self.assertEqual(index, [("a-b", "1"), ("digits", "2"), ("digits", "11"),
                                     ("run", "1"), ("x", "1"), ("x", "7")])
            self.assertEqual(server.get("/v2/models/digits").json["versions"], ["2", "11"])
            answer = server.post("/explanations/digits", self.pictures[0]).json
            self.assertEqual(answer["model_version"], "11")
            answer = server.post("/explanations/digits/2", self.pictures[0]).json
            self.assertEqual(answer["model_version"], "2")
            self.assert_refused(server.get("/v2/models/digits/versions/3"), 404,
                                "digits has no version 3")
            shutil.copy(weights, os.path.join(folder, "new.safetensors"))
            server.wait_for("loaded", 7)
            self.assertEqual(server.get("/v2/models/new/ready").status, 200)

    def test_load_and_unload(self):
        with Server(self.model) as server:
            self.assertEqual(server.post("/v2/repository/models/places/unload").status, 200)
            self.assertEqual(server.post("/v2/repository/index").json[0]["state"], "UNAVAILABLE")
            self.assertEqual(server.post("/v2/repository/index", {"ready": True}).json, [])
            self.assert_refused(server.get("/v2/models/places/ready"), 400, "is not loaded")
            self.assert_refused(server.post("/predictions/places", self.pictures[0]), 400,
                                "is not loaded")
            self.assertEqual(server.post("/v2/repository/models/places/load").status, 200)
            self.assert_alive(server)
            for name in ("config", "file:1/model.onnx"):
                self.assert_refused(server.post("/v2/repository/models/places/load",
                                                {"parameters": {name: "x"}}), 501, name)
            self.assert_refused(server.post("/v2/repository/models/other/load"), 404,
                                "there is no model other")

    def test_exported_classifier(self):
        """An ONNX file that the command wrote takes pictures as the run does."""
        path = os.path.join(self.folder, "exported.onnx")
        done = subprocess.run([CRESSET, "export", self.model, "-o", path], capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        with Server(self.model, path) as server:
            about = server.get("/v2/models/exported").json
            self.assertEqual(about["parameters"]["classes"], 10)
            self.assertEqual([each["name"] for each in about["outputs"]],
                             ["logits", "probabilities"])
            for picture in self.pictures:
                own = server.post("/predictions/places?top=10", picture).json
                exported = server.post("/predictions/exported?top=10", picture).json
                self.assertEqual(next(iter(own)), next(iter(exported)))
                for name, value in own.items():
                    self.assertAlmostEqual(exported[name], value, 5)
            answer = server.post("/explanations/exported", self.pictures[0]).json
            self.assertIsNone(answer["explanation"])
            self.assertIn("not of an ONNX file", answer["unexplained"])
            self.assertEqual(answer["predictions"][0]["label"], "0")

    def test_refusals_at_the_start(self):
        def refuse(words, *arguments):
            done = subprocess.run([CRESSET, "serve", *arguments, "--port", "0"],
                                  capture_output=True, text=True, timeout=60, check=False)
            self.assertIn(done.returncode, (1, 2))
            self.assertIn(words, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)
        refuse("No such file", os.path.join(self.folder, "nowhere"))
        refuse("holds no model", os.path.join(self.folder, "data"))
        refuse("two models are named places", self.model, self.model)
        refuse("given twice", f"a={self.model}", f"a={self.model}")
        refuse("no number from 1", f"a/x={self.model}")
        refuse("not made of letters", f"a b={self.model}")
        refuse("others can reach 0.0.0.0", self.model, "--host", "0.0.0.0")
        refuse("--tls-cert FILE and --tls-key FILE go together", self.model, "--tls-cert", "x")


if __name__ == "__main__":
    assert CLASSES == 4
    unittest.main()
