"""What `cresset serve` answers to requests that are wrong, too large, too slow or cut off: a status
and a sentence each time, and it goes on serving."""
import json
import os
import random
import socket
import struct
import threading
import time
import unittest

from serving import SIDE, Server, ServingTest, binary_request, form, picture, png

SHAPE = [1, 1, SIDE, SIDE]
ZEROS = [0] * (SIDE * SIDE)


class FaultTest(ServingTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = Server(cls.model, "--max-body", 200000, "--client-timeout", 1.5)
        cls.addClassCleanup(cls.server.__exit__)

    def tearDown(self):
        self.assert_alive(self.server)

    def refuse(self, status, words, body, model="places", **headers):
        self.assert_refused(self.server.post(f"/v2/models/{model}/infer", body, **headers), status,
                            words)

    def refuse_input(self, words, status=400, **changes):
        one = {"name": "input", "shape": SHAPE, "datatype": "FP32", "data": ZEROS, **changes}
        one = {key: value for key, value in one.items() if value is not None}
        self.refuse(status, words, {"inputs": [one]})

    def talk(self, *pieces, pause=0):
        """Sends pieces on a raw connection, and gives back all that comes until its end."""
        with socket.create_connection((self.server.host, self.server.port), timeout=20) as peer:
            try:
                for piece in pieces:
                    peer.sendall(piece)
                    time.sleep(pause)
            except OSError:
                pass
            answer = b""
            try:
                while piece := peer.recv(65536):
                    answer += piece
            except ConnectionResetError:
                pass
            return answer.decode(errors="replace")

    def test_json(self):
        self.refuse(400, "cannot be read at line 1", "{\"inputs\": [")
        self.refuse(400, "cannot be read at line 1", "")
        self.refuse(400, "cannot be read", b"\xff\xfe{}")
        self.refuse(400, "cannot be read", "{\"inputs\": [NaN]}")
        self.refuse(400, "duplicate", "{\"id\": \"a\", \"id\": \"b\"}")
        self.refuse(400, "no JSON object", "[1]")
        self.refuse(400, "no list \"inputs\"", "{}")
        self.refuse(400, "no list \"inputs\"", "{\"inputs\": []}")
        self.refuse(400, "the \"id\" is no string", {"id": 3})
        self.refuse(400, "lacks its \"name\"", {"inputs": [7]})
        self.refuse(400, "nested 100000 deep; the limit is 64", "[" * 100000)
        self.refuse(400, "nested 50001 deep", "{\"inputs\": " + "[" * 50000 + "]" * 50000 + "}")

    def test_shapes_and_datatypes(self):
        self.refuse_input("has shape [1, 1, 27, 28], and the model takes [-1, 1, 28, 28]",
                          shape=[1, 1, 27, SIDE])
        self.refuse_input("has shape [784]", shape=[784])
        self.refuse_input("has shape [0, 1, 28, 28]", shape=[0, 1, SIDE, SIDE])
        self.refuse_input("no whole number", shape=[1, 1, SIDE, "28"])
        self.refuse_input("no whole number", shape=[-1, 1, SIDE, SIDE])
        self.refuse_input("has no shape", shape=None)
        self.refuse_input("has no shape", shape=[1] * 9)
        self.refuse_input("limit of 16777216", 413, shape=[10**6, 1, SIDE, SIDE])
        self.refuse_input("limit of 16777216", 413, shape=[2**40, 2**40, 2**40, 1])
        self.refuse_input("the datatype INT64, and the model takes FP32", datatype="INT64")
        self.refuse_input("lacks its \"name\" or its \"datatype\"", datatype=None)
        self.refuse_input("no input \"image\"; its first is \"input\"", name="image")
        self.refuse_input("have 783 elements, and its shape has 784", data=ZEROS[1:])
        self.refuse_input("more elements than its shape, 784", data=ZEROS + [1])
        self.refuse_input("element 1 of input \"input\" is no number", data=[0, "x"])
        self.refuse_input("has no data", data=None)
        one = {"name": "input", "shape": SHAPE, "datatype": "FP32", "data": ZEROS}
        self.refuse(400, "is given twice", {"inputs": [one, one]})
        self.refuse(400, "no output \"labels\"; its first is \"logits\"",
                    {"inputs": [one], "outputs": [{"name": "labels"}]})
        self.refuse(400, "number of microseconds from 1",
                    {"inputs": [one], "parameters": {"timeout": -5}})
        self.refuse(404, "there is no model other", {"inputs": [one]}, model="other")

    def test_values_that_are_no_numbers(self):
        for value in (float("nan"), -float("nan")):
            data = struct.pack(f"<{SIDE * SIDE}f", *ZEROS[:17], value, *ZEROS[18:])
            body, headers = binary_request([("input", "FP32", SHAPE, data)])
            self.refuse(400, "element 17 of input \"input\" is NaN", body, **headers)
        data = struct.pack(f"<{SIDE * SIDE}f", float("inf"), *ZEROS[1:])
        body, headers = binary_request([("input", "FP32", SHAPE, data)])
        answer = self.server.post("/v2/models/places/infer", body, **headers)
        self.assertEqual(answer.status, 200)
        self.assertIn(None, answer.json["outputs"][0]["data"])
        body, headers = binary_request(
            [("input", "FP32", SHAPE, data)],
            outputs=[{"name": "logits", "parameters": {"classification": 3}}])
        answer = self.server.post("/v2/models/places/infer", body, **headers)
        self.assertEqual(len(answer.json["outputs"][0]["data"]), 3)

    def test_binary_extension(self):
        data = bytes(4 * SIDE * SIDE)
        body, headers = binary_request([("input", "FP32", SHAPE, data)])
        self.refuse(400, "the body ends before the 3136 bytes", body[:-1], **headers)
        self.refuse(400, "1 bytes are left behind", body + b"x", **headers)
        self.refuse(400, "and its shape takes 3136 bytes",
                    *binary_request([("input", "FP32", SHAPE, data[4:])])[:1],
                    **binary_request([("input", "FP32", SHAPE, data[4:])])[1])
        for length, words in (("99999999", "and the body has"), ("x", "no number of bytes"),
                              ("-3", "no number of bytes"), ("5", "cannot be read")):
            self.refuse(400, words, body, **{"Inference-Header-Content-Length": length})
        head = body[:int(headers["Inference-Header-Content-Length"])]
        self.refuse(400, "no header Inference-Header-Content-Length", head)

    def test_limits(self):
        self.assert_refused(self.server.post("/predictions/places", bytes(250000)), 413,
                            "larger than the limit of 200000 bytes")
        pieces = (bytes(50000) for _ in range(6))
        connection = self.server.connect()
        connection.request("POST", "/predictions/places", pieces, encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})
        answer = connection.getresponse()
        self.assertEqual(answer.status, 413)
        answer.read()
        connection.close()
        said = self.talk(b"POST /predictions/places HTTP/1.1\r\nHost: localhost\r\n"
                         b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n")
        self.assertIn("413", said.split("\r\n")[0])
        self.assertNotIn("100 Continue", said)
        many = [{"name": f"n{i}", "shape": [1], "datatype": "FP32", "data": [0]}
                for i in range(100)]
        self.refuse(413, "has 100 inputs; the limit is 64", {"inputs": many})
        self.assert_refused(self.server.get("/v2", **{"X-Long": "x" * 20000}), 431,
                            "the limit is 16384")
        said = self.talk(b"GET / HTTP/1.1\r\nX: " + b"x" * 100000 + b"\r\n\r\n")
        self.assertRegex(said.split("\r\n")[0], " (413|431) ")
        large = png(bytes(8000 * 8000), 8000, 8000)
        self.assert_refused(self.server.post("/predictions/places", large), 413,
                            "8000 x 8000 pixels; the limit is 50000000")

    def test_pictures(self):
        def refuse(words, body, status=400, **headers):
            self.assert_refused(self.server.post("/predictions/places", body, **headers), status,
                                words)
        refuse("the request has no picture", b"")
        refuse("the picture", b"this is no picture")
        refuse("the picture", self.pictures[0][:200])
        body, headers = form("data", self.pictures[0])
        refuse("the form breaks off", body[:-40], **headers)
        refuse("the form breaks off", body[:100], **headers)
        refuse("does not hold the boundary", body, **{"Content-Type":
                                                      "multipart/form-data; boundary=other"})
        refuse("names no boundary", body, **{"Content-Type": "multipart/form-data"})
        body = b"--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n" * 65 + b"--b--"
        refuse("more parts than the limit of 64", body, 413,
               **{"Content-Type": "multipart/form-data; boundary=b"})
        body = b"--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n--b--"
        refuse("neither a part named \"data\" nor a file", body,
               **{"Content-Type": "multipart/form-data; boundary=b"})
        refuse("is encoded (gzip)", self.pictures[0], 415, **{"Content-Encoding": "gzip"})
        for parameter in ("top=0", "top=x", "class=10", "class=-1"):
            answer = self.server.post("/explanations/places?" + parameter, self.pictures[0])
            self.assert_refused(answer, 400, "is a number from")

    def test_addresses_and_methods(self):
        self.assert_refused(self.server.get("/v2/models"), 404, "nothing at /v2/models")
        self.assert_refused(self.server.get("/../../etc/passwd"), 404, "nothing at")
        self.assert_refused(self.server.get("/v2/models/places/infer"), 405, "takes POST, not GET")
        answer = self.server.ask("DELETE", "/v2/models/places")
        self.assert_refused(answer, 405, "takes GET, HEAD, not DELETE")
        self.assertEqual(answer.headers["Allow"], "GET, HEAD")

    def test_slow_header(self):
        began = time.monotonic()
        said = self.talk(b"GET /v2 HTTP/1.1\r\n",
                         *(f"X-{i}: y\r\n".encode() for i in range(30)), pause=0.3)
        self.assertIn("408", said.split("\r\n")[0])
        self.assertIn("longer than the limit of 1.5 seconds", said)
        self.assertLess(time.monotonic() - began, 15)
        self.assertGreater(self.server.metric("cresset_clients_slow_total"), 0)

    def test_slow_body(self):
        said = self.talk(b"POST /predictions/places HTTP/1.1\r\nHost: localhost\r\n"
                         b"Content-Length: 10000\r\n\r\n", *[b"x"] * 30, pause=0.2)
        self.assertIn("408", said.split("\r\n")[0])
        self.assertIn("fell behind 16384 bytes a second", said)

    def test_idle_connection_ends(self):
        began = time.monotonic()
        self.assertEqual(self.talk(b""), "")
        self.assertLess(time.monotonic() - began, 10)

    def test_client_that_goes_away(self):
        body, headers = form("data", self.pictures[0])
        head = ("POST /explanations/places HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                + headers["Content-Type"] + f"\r\nContent-Length: {len(body)}\r\n\r\n").encode()
        for size in (0, 60, len(body) // 2, len(body)):
            peers = [socket.create_connection((self.server.host, self.server.port))
                     for _ in range(10)]
            for peer in peers:
                peer.sendall(head + body[:size])
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()
        until = time.monotonic() + 10
        while self.server.metric("cresset_requests_active") > 1 and time.monotonic() < until:
            time.sleep(0.1)
        self.assertEqual(self.server.metric("cresset_requests_active"), 1)
        self.assertEqual(self.server.metric("cresset_body_bytes"), 0)

    def test_noise(self):
        generator = random.Random(3)
        for size in (1, 10, 1000, 20000):
            self.talk(generator.randbytes(size) + b"\r\n\r\n")


class QueueTest(ServingTest):
    def ask_together(self, server, count, body):
        """The answers to requests that are sent at the same time."""
        answers = [None] * count
        gate = threading.Barrier(count)

        def ask(i):
            gate.wait()
            answers[i] = server.post("/v2/models/places/infer", body)
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(count)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return answers

    @staticmethod
    def request(rows=1, **fields):
        return json.dumps({"inputs": [{"name": "input", "shape": [rows, 1, SIDE, SIDE],
                                       "datatype": "FP32", "data": ZEROS * rows}], **fields})

    def test_batches_are_seen(self):
        with Server(self.model, "--max-batch", 8, "--max-delay-ms", 300) as server:
            answers = self.ask_together(server, 8, self.request())
            sizes = [each.json["parameters"]["batch_size"] for each in answers]
            self.assertGreater(max(sizes), 1, sizes)
            self.assertLessEqual(max(sizes), 8)
            alone = server.post("/v2/models/places/infer", self.request()).json
            self.assertEqual(alone["parameters"]["batch_size"], 1)
            self.assertGreater(alone["parameters"]["queue_us"], 200000)
            for each in answers:
                for got, expected in zip(each.json["outputs"][0]["data"],
                                         alone["outputs"][0]["data"]):
                    self.assertAlmostEqual(got, expected, 4)
            large = server.post("/v2/models/places/infer", self.request(20)).json
            self.assertEqual(large["parameters"]["batch_size"], 8)
            self.assertEqual(large["outputs"][0]["shape"], [20, 10])
            rows = large["outputs"][0]["data"]
            for row in range(1, 20):
                for got, expected in zip(rows[row * 10:row * 10 + 10], rows[:10]):
                    self.assertAlmostEqual(got, expected, 4)
            stats = server.get("/v2/models/places/stats").json["model_stats"][0]
            by_size = {each["batch_size"]: each["compute_infer"]["count"]
                       for each in stats["batch_stats"]}
            self.assertGreaterEqual(by_size[8], 2)
            self.assertEqual(sum(size * count for size, count in by_size.items()),
                             stats["inference_count"])
            self.assertEqual(stats["inference_count"], 8 + 1 + 20)
            self.assertEqual(server.metric("cresset_batch_rows_sum", model="places", version="1"),
                             29)

    def test_without_batching(self):
        with Server(self.model, "--max-batch", 1, "--max-delay-ms", 300) as server:
            answers = self.ask_together(server, 8, self.request())
            self.assertEqual({each.json["parameters"]["batch_size"] for each in answers}, {1})

    def test_queue_is_bounded(self):
        with Server(self.model, "--queue", 2, "--max-batch", 8, "--max-delay-ms", 500) as server:
            answers = self.ask_together(server, 12, self.request())
            refused = [each for each in answers if each.status == 503]
            self.assertEqual(len(refused), 10)
            self.assert_refused(refused[0], 503, "2 requests are waiting, which is the limit")
            self.assertEqual(refused[0].headers["Retry-After"], "1")
            self.assertEqual([each.status for each in answers].count(200), 2)
            self.assertEqual(server.metric("cresset_requests_refused_total", model="places",
                                           version="1"), 10)

    def test_deadline(self):
        with Server(self.model, "--max-batch", 8, "--max-delay-ms", 400) as server:
            answer = server.post("/v2/models/places/infer",
                                 self.request(parameters={"timeout": 1000}))
            self.assert_refused(answer, 504, "timeout was over before the model was free")
            self.assertEqual(server.metric("cresset_requests_expired_total", model="places",
                                           version="1"), 1)
            answer = server.post("/v2/models/places/infer",
                                 self.request(parameters={"timeout": 5000000}))
            self.assertEqual(answer.status, 200)


if __name__ == "__main__":
    assert picture and os
    unittest.main()
