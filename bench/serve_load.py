"""The work of bench/serve.sh."""
import argparse
import json
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
os.environ["CRESSET"] = os.path.join(ROOT, "build", "cresset")
sys.path.insert(0, os.path.join(ROOT, "tests", "serve"))
import serving  # noqa: E402

SHAPE = [1, 1, serving.SIDE, serving.SIDE]


class Peer:
    """ONNX Runtime behind Node's HTTP server."""

    def __init__(self, peers, model, threads):
        self.process = subprocess.Popen(
            ["node", os.path.join(HERE, "ort_server.js"), peers, model, str(threads)],
            stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def write_request(folder):
    """A request of the binary extension, and its header for wrk."""
    values = [(i * 37 % 101) / 101 for i in range(serving.SIDE ** 2)]
    body, headers = serving.binary_request(
        [("input", "FP32", SHAPE, struct.pack(f"<{len(values)}f", *values))],
        outputs=[{"name": "logits"}])
    with open(os.path.join(folder, "body"), "wb") as file:
        file.write(body)
    with open(os.path.join(folder, "post.lua"), "w", encoding="utf-8") as file:
        file.write(f"""wrk.method = "POST"
wrk.body = io.open("{folder}/body", "rb"):read("*a")
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.headers["Inference-Header-Content-Length"] = "{headers['Inference-Header-Content-Length']}"
""")
    return body, headers


def ask(port, body, headers):
    connection = serving.http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/v2/models/net/infer", body, headers)
    answer = serving.Answer(connection.getresponse())
    assert answer.status == 200, answer.body
    return answer.json["outputs"][0]["data"]


def memory(process):
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024


def seconds_of(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def load(server, port, seconds, clients, folder):
    """One load by wrk, after a short one that is not counted."""
    def run(duration):
        return subprocess.run(["wrk", "-t", "2", "-c", str(clients), "-d", f"{duration}s",
                               "--timeout", "10s", "--latency", "-s", f"{folder}/post.lua",
                               f"http://127.0.0.1:{port}/v2/models/net/infer"],
                              capture_output=True, text=True, check=True).stdout
    run(max(1, seconds // 10))
    before, text = memory(server.process), run(seconds)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)",
                       text)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return {"rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
            "p50": seconds_of(re.search(r"^\s+50%\s+(\S+)", text, re.M)[1]),
            "p99": seconds_of(re.search(r"^\s+99%\s+(\S+)", text, re.M)[1]),
            "errors": (sum(map(int, errors.groups())) if errors else 0)
            + (int(refused[1]) if refused else 0),
            "before": before, "after": memory(server.process)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", default=os.path.join(ROOT, "build", "peers"))
    parser.add_argument("--json")
    args = parser.parse_args()
    folder = tempfile.mkdtemp()
    net = serving.train(folder, "net", model="small_cnn", epochs=1)
    body, headers = write_request(folder)
    makers = {
        "cresset serve": lambda: serving.Server(net, "--threads", args.threads),
        "cresset serve --max-batch 1":
            lambda: serving.Server(net, "--threads", args.threads, "--max-batch", 1),
    }
    if shutil.which("node") and os.path.isdir(f"{args.peers}/node_modules/onnxruntime-node"):
        subprocess.run([os.environ["CRESSET"], "export", net, "-o", f"{folder}/net.onnx"],
                       stdout=subprocess.DEVNULL, check=True)
        makers["ONNX Runtime behind Node"] = lambda: Peer(args.peers, f"{folder}/net.onnx",
                                                          args.threads)
    else:
        print("left out: ONNX Runtime behind Node (bench/run.sh --install-peers)")
    found, expected = {name: [] for name in makers}, None
    for _ in range(args.rounds):
        for name, make in makers.items():
            server = make()
            logits = ask(server.port, body, headers)
            expected = expected or logits
            worst = max(abs(a - b) for a, b in zip(logits, expected))
            assert worst < 1e-4, f"{name} answers something else: {worst}"
            found[name].append(load(server, server.port, args.seconds, args.clients, folder))
            server.stop()
            time.sleep(1)
    print("| server | requests/s | p50 ms | p99 ms | errors | memory before, after, MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows = []
    for name, results in found.items():
        row = {key: statistics.median(each[key] for each in results) for key in results[0]}
        rows.append({"work": name, **row})
        print(f"| {name} | {row['rate']:.0f} | {1e3 * row['p50']:.1f} | {1e3 * row['p99']:.1f} | "
              f"{row['errors']:.0f} | {row['before']:.0f}, {row['after']:.0f} |")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"rows": rows}, file, indent=1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
