"""Loads a folder of pictures in Cresset and, with torchvision's transforms, in PyTorch's DataLoader
by turns: decoded, resized, cropped and normalised, the same number of workers.

    bench/loader.py FOLDER [--workers 2] [--batch-size 32] [--epochs 4] [--rounds 3] [--json FILE]

FOLDER has JPEG pictures, in subfolders or not. Prints images per second and processor seconds of
each round (the latter hardly depend on what else the machine does), ratios with their spread
(larger is better for us), and the time of decoding alone, which is libjpeg-turbo in both. The
samples are compared first."""
import argparse
import array
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
OURS = os.path.join(ROOT, "build", "bench", "bench_loader")
TORCH_PYTHON = "/usr/bin/python3"  # Debian's python3-torch belongs to the system's interpreter
MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ENDINGS = (".jpg", ".jpeg")


def transforms_of(resize, crop):
    numbers = ":".join(map(str, MEANS + DEVIATIONS))
    return f"resize:{resize},center_crop:{crop},normalize:{numbers}"


def arrange(folder, to):
    """One class with links to all JPEG pictures below the folder, for both loaders."""
    os.makedirs(os.path.join(to, "all"))
    count = 0
    for path, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            if name.lower().endswith(ENDINGS):
                os.symlink(os.path.abspath(os.path.join(path, name)),
                           os.path.join(to, "all", f"{count:06}.jpg"))
                count += 1
    if not count:
        sys.exit(f"{folder} has no JPEG pictures")


# ---- the peer, in a process of its own ----

def processor_seconds(pids):
    """Of processes that still run, all of their threads."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])
    return total * 1e-9


def peer(words):
    import torch
    import torchvision
    folder, resize, crop, batch, workers, epochs = words[0], *map(int, words[1:6])
    if resize == 0:
        return peer_decode(folder, epochs)
    t = torchvision.transforms
    change = t.Compose([t.Resize(resize), t.CenterCrop(crop), t.ToTensor(),
                        t.Normalize(MEANS, DEVIATIONS)])
    data = torchvision.datasets.ImageFolder(folder, change)
    loader = torch.utils.data.DataLoader(data, batch_size=batch, num_workers=workers,
                                         persistent_workers=workers > 0)
    first = list(loader)
    if len(words) > 6:
        with open(words[6], "wb") as file:
            file.write(torch.cat([samples for samples, _ in first]).numpy().tobytes())
    del first
    pids = [os.getpid()] + [w.pid for w in loader._iterator._workers] if workers else [os.getpid()]
    used, begun = processor_seconds(pids), time.perf_counter()
    for _ in range(epochs):
        for _ in loader:
            pass
    seconds = time.perf_counter() - begun
    used = processor_seconds(pids) - used
    return {"pictures": len(data), "seconds": seconds / epochs, "processor": used / epochs}


def peer_decode(folder, epochs):
    from PIL import Image
    paths = [os.path.join(path, name) for path, _, names in os.walk(folder) for name in names]
    for epoch in range(epochs + 1):
        if epoch == 1:
            used, begun = time.process_time(), time.perf_counter()
        for path in paths:
            Image.open(path).convert("RGB")
    return {"pictures": len(paths), "seconds": (time.perf_counter() - begun) / epochs,
            "processor": (time.process_time() - used) / epochs}


# ---- the comparison ----

def run(words):
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE,
                                     env=environment).stdout)


class Comparison:
    """The two loaders on one folder."""

    def __init__(self, args, folder):
        self.args, self.folder = args, folder

    def ours(self, work, *more):
        return run([OURS, self.folder, work, str(self.args.batch_size), str(self.args.workers),
                    str(self.args.epochs), *more])

    def torch(self, resize, *more):
        return run([TORCH_PYTHON, "-B", os.path.abspath(__file__), "--peer", self.folder,
                    str(resize), str(self.args.crop), str(self.args.batch_size),
                    str(self.args.workers), str(self.args.epochs), *more])

    def check(self, work, scratch):
        """The largest difference of a sample."""
        paths = [os.path.join(scratch, name) for name in ("ours", "theirs")]
        self.ours(work, paths[0])
        self.torch(self.args.resize, paths[1])
        both = []
        for path in paths:
            with open(path, "rb") as file:
                both.append(array.array("f", file.read()))
            os.remove(path)
        if len(both[0]) != len(both[1]):
            sys.exit("the two loaders made different numbers of samples")
        return max(abs(a - b) for a, b in zip(*both))

    def rounds(self):
        """[(work, [ours], [theirs])] of all rounds, in turns."""
        work = transforms_of(self.args.resize, self.args.crop)
        results = [("load", [], []), ("decode", [], [])]
        for _ in range(self.args.rounds):
            results[0][1].append(self.ours(work))
            results[0][2].append(self.torch(self.args.resize))
            results[1][1].append(self.ours("decode"))
            results[1][2].append(self.torch(0))
        return results


def report(name, ours, theirs):
    """A line for the clock and one for the processors; the row for the JSON file."""
    row = {"work": name}
    for field in ("seconds", "processor"):
        mine, other = [r[field] for r in ours], [r[field] for r in theirs]
        ratios = [b / a for a, b in zip(mine, other)]
        count = ours[0]["pictures"]
        row[field] = statistics.median(mine)
        row["peer_" + field] = statistics.median(other)
        row[field + "_ratio"] = statistics.median(ratios)
        print(f"{name:7} {'clock' if field == 'seconds' else field:10}"
              f"{count / row[field]:8.0f} {count / row['peer_' + field]:8.0f} images/s"
              f"{row[field + '_ratio']:8.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return row


def main():
    if sys.argv[1:2] == ["--peer"]:
        print(json.dumps(peer(sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("folder")
    parser.add_argument("--resize", type=int, default=256)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    args = parser.parse_args()
    if not os.path.exists(OURS):
        sys.exit("bench/loader.py: build first: ninja -C build bench_loader")
    with tempfile.TemporaryDirectory() as scratch:
        folder = os.path.join(scratch, "pictures")
        arrange(args.folder, folder)
        comparison = Comparison(args, folder)
        difference = comparison.check(transforms_of(args.resize, args.crop), scratch)
        print(f"largest difference of a sample: {difference:.1e}")
        if difference > 1e-6:
            sys.exit("the samples differ")
        print("                    Cresset  PyTorch           ratio")
        rows = [report(*result) for result in comparison.rounds()]
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
