#!/usr/bin/env python3
#===- bench.py - vitrify beside other engines on this CPU -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""Times vitrify, ONNX Runtime, OpenVINO and PyTorch on the same seeded ViTs, interleaved, beside the peak of the same cores.

Every engine runs in a process of its own and waits while another one runs. Engines that are not installed are said to be missing. Ratios
are of medians over all rounds; the peak is measured again in every round.

    build/venv/bin/python benchmarks/peers/bench.py --peers-python build/peers/bin/python --models vit_b --batches 1,8
"""
import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import models
import numpy as np
from engines import ENGINES
from table import plot, print_table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# What a multiply-add of a precision is at best; FP8 weights are multiplied as bf16 on x86.
PEAK_OF = {"f32": "peak_fma512", "bf16": "peak_bf16", "fp8": "peak_bf16", "fp8-low": "peak_bf16", "int8": "peak_int8", "int8-static": "peak_int8"}


class Peaks:
    """Multiply-add loops of ../x86/peak.c on several threads at once."""

    def __init__(self, threads):
        library = Path(tempfile.mkdtemp(prefix="vitrify-peak-")) / "peak.so"
        subprocess.run(["clang-22", "-O2", "-mavx512f", "-mavx512bf16", "-mavx512vnni", "-mfma", "-shared", "-fPIC", "-o", library, ROOT / "benchmarks/x86/peak.c"],
                       check=True)
        self.library, self.threads, self.seen = ctypes.CDLL(library), threads, {}

    def measure(self, name):
        """Operations a second of `name` on all threads; the best of what this run has seen is kept."""
        try:
            function = getattr(self.library, name)
        except AttributeError:
            return
        function.restype = ctypes.c_double
        operations = [0.0] * self.threads

        def work(i):
            operations[i] = function(ctypes.c_int64(4_000_000))

        workers = [threading.Thread(target=work, args=(i,)) for i in range(self.threads)]
        begin = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.seen[name] = max(self.seen.get(name, 0), sum(operations) / (time.perf_counter() - begin))


def operations_of(model, batch):
    """Multiply-adds counted as two, of every product of the model."""
    width, _, layers, distilled = models.MODELS[model]
    tokens = (models.SIDE // models.PATCH)**2 + 1 + distilled
    block = tokens * width * width * (3 + 1 + 4 + 4) + 2 * tokens * tokens * width
    return 2 * batch * (layers * block + (tokens - 1 - distilled) * 3 * models.PATCH**2 * width + width * models.CLASSES)


class Worker:
    """A process of worker.py."""

    def __init__(self, python, key, checkpoint, work, threads):
        self.key = key
        model, batch, engine, precision = key
        self.command = [python, str(HERE / "worker.py"), "--engine", engine, "--precision", precision, "--model", model, "--checkpoint", str(checkpoint),
                        "--work", str(work), "--batch", str(batch), "--threads", str(threads)]
        self.times, self.told = [], {}

    def prepare(self):
        """What was measured, or why it cannot be."""
        done = subprocess.run([*self.command, "--prepare"], capture_output=True, text=True, check=False, cwd=HERE)
        if done.returncode:
            return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
        return json.loads(done.stdout.strip().splitlines()[-1])

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=HERE)
        return self._answer()

    def run(self, seconds, least):
        self.process.stdin.write(f"run {seconds} {least}\n")
        self.process.stdin.flush()
        answer = self._answer()
        self.times += answer.pop("times", [])
        return answer

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def _answer(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                answer = json.loads(line)
                self.told |= answer
                return answer
        self.told["failed"] = f"the process ended with status {self.process.wait()}"
        return self.told


def busy():
    """CPU seconds that the whole machine has spent, and that it has waited."""
    with open("/proc/stat", encoding="ascii") as stat:
        v = [int(x) for x in stat.readline().split()[1:9]]
    return (sum(v) - v[3] - v[4]) / 100


def measure(options, model, batch, work, peaks):
    checkpoint = models.write(model, work / model)
    results = []
    workers = []
    for engine in options.engines:
        python = sys.executable if engine == "vitrify" else options.peers_python
        for precision in ENGINES[engine].precisions:
            if options.precisions and precision not in options.precisions:
                continue
            worker = Worker(python, (model, batch, engine, precision), checkpoint, work, options.threads)
            worker.told |= worker.prepare()
            if "missing" not in worker.told and "failed" not in worker.told:
                worker.start()
            if "failed" in worker.told or "missing" in worker.told:
                results.append(worker)
                continue
            workers.append(worker)
            results.append(worker)
    for round_ in range(options.rounds + 1): # the first warms up and is not counted
        for worker in workers:
            peaks.measure(PEAK_OF[worker.key[3]])
            before, begin = busy(), time.perf_counter()
            answer = worker.run(options.seconds, 3)
            others = (busy() - before - answer.get("cpu_s", 0)) / (time.perf_counter() - begin)
            worker.told["other_cpus"] = max(others, worker.told.get("other_cpus", 0)) if round_ else 0
            if not round_:
                worker.times.clear()
    for worker in workers:
        worker.stop()
    return [summary(w, peaks, work) for w in results]


def summary(worker, peaks, work):
    model, batch, engine, precision = worker.key
    row = {"model": model, "batch": batch, "engine": engine, "precision": precision} | worker.told
    if worker.times:
        ms = np.array(worker.times) * 1e3
        row |= {"p50_ms": float(np.median(ms)), "p90_ms": float(np.percentile(ms, 90)), "p99_ms": float(np.percentile(ms, 99)), "min_ms": float(ms.min()), "runs": len(ms)}
        peak = peaks.seen.get(PEAK_OF[precision])
        row["limit_ms"] = operations_of(model, batch) / peak * 1e3 if peak else None
        expected, found = (np.load(work / f"{model}_{e}_{p}_b{batch}.npy").astype(np.float64).reshape(batch, -1) for e, p in (("vitrify", "f32"), (engine, precision)))
        row["cosine"] = float(((expected * found).sum(1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(found, axis=1)).min())
    return row


def listed(text):
    return text.split(",")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=listed, default=["vit_ti", "vit_s", "vit_b", "deit_s"], metavar="A,B", help=f"of {', '.join(models.MODELS)}")
    parser.add_argument("--batches", type=lambda t: [int(x) for x in listed(t)], default=[1, 8, 32], metavar="N,M")
    parser.add_argument("--engines", type=listed, default=list(ENGINES), metavar="A,B", help=f"of {', '.join(ENGINES)}")
    parser.add_argument("--precisions", type=listed, default=[], metavar="A,B", help="only these")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4, help="each engine runs once a round")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each engine in a round")
    parser.add_argument("--peers-python", default=sys.executable, help="an interpreter with requirements.txt of this folder")
    parser.add_argument("--work", type=Path, default=ROOT / "build/benchmarks/peers", help="where models and artifacts are kept")
    parser.add_argument("--output", type=Path, help="JSON lines; a plot is written beside it")
    options = parser.parse_args()
    for given, known, what in ((options.models, models.MODELS, "model"), (options.engines, ENGINES, "engine")):
        for name in given:
            if name not in known:
                parser.error(f"unknown {what} {name!r}; expected one of {', '.join(known)}")
    if "vitrify" not in options.engines or (options.precisions and "f32" not in options.precisions):
        parser.error("vitrify in f32 is what the cosines are taken against: leave it in --engines and --precisions")
    options.work.mkdir(parents=True, exist_ok=True)
    np.save(options.work / "images.npy", models.pictures(max(options.batches), 1))
    np.save(options.work / "calibration.npy", models.pictures(16, 2))
    rows = []
    for model in options.models:
        for batch in options.batches:
            peaks = Peaks(options.threads)
            rows += measure(options, model, batch, options.work, peaks)
            print_table([r for r in rows if (r["model"], r["batch"]) == (model, batch)], peaks.seen)
            sys.stdout.flush()
    if options.output:
        options.output.write_text("".join(json.dumps(r) + "\n" for r in rows))
        plot(rows, options.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
