"""`cresset serve` over time: model files that change, keys and browsers, TLS, and the end."""
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.request

from serving import CRESSET, SIDE, Server, ServingTest, train

KEY = "0123456789abcdef-key"


class ReloadTest(ServingTest):
    def setUp(self):
        self.path = os.path.join(self.folder, self.id() + ".safetensors")
        self.weights = os.path.join(self.model, "weights/best.safetensors")
        shutil.copy(self.weights, self.path)

    def replace(self, source):
        """Puts a file in the place of the model's, as who deploys one does."""
        shutil.copy(source, self.path + ".new")
        os.rename(self.path + ".new", self.path)

    def test_new_weights_take_over(self):
        other = os.path.join(train(self.folder, "other", seed=9), "weights/best.safetensors")
        with Server(f"places={self.path}", "--reload-seconds", "0.1") as server:
            row = [0.5] * (SIDE * SIDE)
            before = server.infer("places", row).json["outputs"][0]["data"]
            self.replace(other)
            server.wait_for("loaded", 2)
            after = server.infer("places", row).json["outputs"][0]["data"]
            self.assertNotEqual(before, after)
            self.replace(self.weights)
            server.wait_for("loaded", 3)
            self.assertEqual(server.infer("places", row).json["outputs"][0]["data"], before)
            self.assertEqual(server.metric("cresset_model_loads_total", model="places",
                                           version="1"), 3)

    def test_rubbish_does_not(self):
        with open(self.weights, "rb") as file:
            good = file.read()
        with Server(f"places={self.path}", "--reload-seconds", "0.1") as server:
            for count, rubbish in enumerate((b"rubbish", good[:len(good) // 2], b""), 1):
                with open(self.path, "wb") as file: # in place, as a careless copy does
                    file.write(rubbish)
                event = server.wait_for("reload_failed", count)[-1]
                self.assertTrue(event["words"])
                self.assert_alive(server)
                self.assertEqual(server.metric("cresset_model_load_failures_total",
                                               model="places", version="1"), count)
            index = server.post("/v2/repository/index").json[0]
            self.assertEqual(index["state"], "READY")
            self.assertTrue(index["reason"])
            self.assert_refused(server.post("/v2/repository/models/places/load"), 400, self.path)
            os.unlink(self.path)
            time.sleep(0.5)
            self.assert_alive(server)
            self.replace(self.weights)
            server.wait_for("loaded", 2)
            self.assertEqual(server.post("/v2/repository/index").json[0]["reason"], "")

    def test_other_classes_under_load(self):
        """While files change there is an answer to every request, of the old model or the new."""
        other = os.path.join(train(self.folder, "wider", model="small_cnn", seed=3),
                             "weights/best.safetensors")
        statuses, stop = [], threading.Event()
        with Server(f"places={self.path}", "--reload-seconds", "0.1") as server:
            def ask():
                while not stop.is_set():
                    statuses.append(server.post("/predictions/places", self.pictures[0]).status)
            threads = [threading.Thread(target=ask) for _ in range(4)]
            for each in threads:
                each.start()
            for count, source in enumerate((other, self.weights, other), 2):
                self.replace(source)
                server.wait_for("loaded", count)
            stop.set()
            for each in threads:
                each.join()
        self.assertEqual(set(statuses), {200})


class AccessTest(ServingTest):
    def keys(self, text):
        path = os.path.join(self.folder, "keys")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_keys(self):
        path = self.keys(f"# of the clinic\n\nanother-key-of-24-chars\n  {KEY}  \n")
        with Server(self.model, "--host", "0.0.0.0", "--api-key-file", path) as server:
            server.host = "127.0.0.1"
            for headers in ({}, {"Authorization": "Basic " + KEY}):
                answer = server.ask("GET", "/v2/models/places", headers=headers)
                self.assert_refused(answer, 401, "wants a key")
                self.assertEqual(answer.headers["WWW-Authenticate"], "Bearer")
            for wrong in (KEY[:-1], KEY + "x", "x" * len(KEY), ""):
                answer = server.get("/v2/models/places", Authorization="Bearer " + wrong)
                self.assert_refused(answer, 401, "the key is not one")
            for headers in ({"Authorization": "Bearer " + KEY}, {"X-API-Key": KEY},
                            {"authorization": "bearer another-key-of-24-chars"}):
                self.assertEqual(server.ask("GET", "/v2/models/places", headers=headers).status,
                                 200)
            for path in ("/metrics", "/v2", "/v2/models/places/stats"):
                self.assertEqual(server.get(path).status, 401)
            self.assertEqual(server.post("/predictions/places", self.pictures[0]).status, 401)
            self.assertEqual(server.post("/v2/repository/models/places/unload").status, 401)
            for path in ("/", "/page.js", "/v2/health/live", "/v2/health/ready", "/ping"):
                self.assertEqual(server.get(path).status, 200)

    def test_key_files(self):
        for text, words in (("short\n", "16 to 512 characters, this one has 5"),
                            ("# none\n", "holds no key")):
            done = subprocess.run([CRESSET, "serve", self.model, "--api-key-file",
                                   self.keys(text)], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(words, done.stderr)

    def test_other_sites(self):
        with Server(self.model) as server:
            path = "/v2/repository/models/places/unload"
            self.assert_refused(server.post(path, Origin="http://evil.example"), 403,
                                "http://evil.example asked for this")
            self.assert_refused(server.post(path, Origin="null"), 403, "null")
            self.assert_refused(server.get("/v2", Host="evil.example"), 421,
                                "not to \"evil.example\"")
            for host in ("localhost", "127.0.0.1:80", "[::1]:8000"):
                self.assertEqual(server.get("/v2", Host=host).status, 200)
            own = f"http://{server.host}:{server.port}"
            self.assertEqual(server.post("/v2/repository/index", Origin=own).status, 200)
            self.assertEqual(server.get("/v2").headers["Access-Control-Allow-Origin"], None)

    def test_open_to_all(self):
        with Server(self.model, "--host", "0.0.0.0", "--no-auth") as server:
            server.host = "127.0.0.1"
            self.assertEqual(server.get("/v2", Host="gpu.example").status, 200)

    def test_tls(self):
        key, cert = (os.path.join(self.folder, name) for name in ("key.pem", "cert.pem"))
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                               "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out",
                               cert, "-days", "2", "-subj", "/CN=localhost", "-addext",
                               "subjectAltName=IP:127.0.0.1"], capture_output=True, check=False)
        self.assertEqual(made.returncode, 0, made.stderr)
        with Server(self.model, "--tls-cert", cert, "--tls-key", key) as server:
            self.assertEqual(server.scheme, "https")
            trust = ssl.create_default_context(cafile=cert)
            url = f"https://127.0.0.1:{server.port}/predictions/places"
            request = urllib.request.Request(url, data=self.pictures[1])
            with urllib.request.urlopen(request, context=trust) as answer:
                self.assertEqual(next(iter(json.load(answer))), "1")
            with self.assertRaises((urllib.error.URLError, OSError)):
                urllib.request.urlopen(url.replace("https", "http"), timeout=5)
        done = subprocess.run([CRESSET, "serve", self.model, "--tls-cert", key, "--tls-key", cert,
                               "--port", "0"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("are not PEM files that belong together", done.stderr)


class EndTest(ServingTest):
    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server = Server(self.model)
            self.assert_alive(server)
            status, errors = server.stop(number)
            self.assertEqual(status, 0, errors)
            events = [each["event"] for each in server.events() if each["event"] != "request"]
            self.assertEqual(events, ["loaded", "draining", "ended"])
            server.log.close()

    def test_the_end_under_load(self):
        """Whoever was let in gets an answer: clients on kept connections see no error but an
        orderly close, and then a refused connection."""
        server = Server(self.model, "--max-batch", 4)
        body = json.dumps({"inputs": [{"name": "input", "shape": [1, 1, SIDE, SIDE],
                                       "datatype": "FP32", "data": [0] * (SIDE * SIDE)}]})
        answered, lost = [0] * 16, []

        def ask(i):
            connection = None
            while True:
                try:
                    if not connection:
                        connection = server.connect()
                        connection.connect()
                except OSError:
                    return
                try:
                    connection.request("POST", "/v2/models/places/infer", body)
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status != 200:
                        lost.append(answer.status)
                    answered[i] += 1
                    if answer.headers.get("Connection") == "close":
                        connection.close()
                        connection = None
                except OSError as error:
                    if answered[i] == 0 or "reset" not in str(error).lower():
                        lost.append(repr(error))
                    return
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
        for each in threads:
            each.start()
        time.sleep(1)
        began = time.monotonic()
        status, errors = server.stop()
        for each in threads:
            each.join()
        self.assertEqual(status, 0, errors)
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(lost, [])
        requests = [each for each in server.events() if each["event"] == "request"]
        self.assertEqual(len(requests), sum(answered))
        self.assertEqual({each["status"] for each in requests}, {200})
        server.log.close()

    def test_waiting_requests_are_answered(self):
        server = Server(self.model, "--max-delay-ms", 20000, "--max-batch", 8)
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(server.infer("places", [0] * (SIDE * SIDE))))
        thread.start()
        time.sleep(0.5)
        status, errors = server.stop()
        thread.join()
        self.assertEqual((status, [each.status for each in answers]), (0, [200]), errors)
        server.log.close()


if __name__ == "__main__":
    unittest.main()
