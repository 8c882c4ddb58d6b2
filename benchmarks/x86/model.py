#===- model.py - a whole ViT-B on x86 as a share of the machine's peak -===#
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""Compiles a seeded ViT-B/16 in several precisions and times batches beside the peak of all cores, in turns.

The limit of a precision is the time that its multiply-adds take at the peak: linears of the blocks at the precision's own peak,
patch embedding, attention and head at that of bf16 (f32 for f32). Rounds alternate between the peak and every bundle, and the best of
all rounds counts, so that another process on the machine spoils few figures. With --cpu one thread's processor time is compared instead,
which other processes do not lengthen. One line of JSON a precision and batch.

    build/venv/bin/python benchmarks/x86/model.py --folder /tmp/vit-b [--precision f32,bf16,fp8,fp8-low,int8] [--batch 1,8] [--rounds 3]
"""
import argparse
import ctypes
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
for folder in ("test/Python", "test/Golden", "benchmarks/x86"):
    sys.path.insert(0, str(ROOT / folder))
import seeded  # noqa: E402
from kernels import build_peak, gflops  # noqa: E402
from vitrify.compiler import CompileOptions, calibrate, compile_module  # noqa: E402
from vitrify.importer import import_folder  # noqa: E402
from vitrify.targets import host_target  # noqa: E402
from vitrify.tools import find_tool  # noqa: E402

PEAKS = {"f32": "peak_fma512", "bf16": "peak_bf16", "fp8": "peak_bf16", "int8": "peak_int8"}


def make_model(folder, hidden=768, heads=12, layers=12, mlp=3072):
    """model.mlir and ranges.json of a seeded ViT of this size at 224 x 224, patch 16, 1,000 classes."""
    if (folder / "ranges.json").exists():
        return
    generator = seeded.write_vit(folder / "model", 0, hidden, heads, layers, mlp, gain=1.2)
    import_folder(folder / "model", folder / "model.mlir")
    np.save(folder / "x.npy", generator.standard_normal((1, 3, 224, 224), dtype=np.float32))
    calibrate(folder / "model.mlir", [folder / "x.npy"], folder / "ranges.json")


def operations(hidden=768, layers=12, mlp=3072, tokens=197, classes=1000):
    """Multiply-adds times two of one image: (linears of the blocks, all else)."""
    blocks = layers * 2.0 * tokens * (4 * hidden * hidden + 2 * hidden * mlp)
    return blocks, layers * 4.0 * tokens * tokens * hidden + 2.0 * 196 * 768 * hidden + 2.0 * hidden * classes


def peak_of_all_cores(peak, name, count, iterations=300_000):
    """Operations a second of `count` threads together; ctypes lets them run at the same time."""
    done = [0.0] * count

    def work(i):
        done[i] = getattr(peak, name)(ctypes.c_int64(iterations))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - start)


def bench(bundle, batch, runs, threads, low):
    arguments = [find_tool("vitrify-run"), bundle, f"--bench={runs}", "--warmup=2", f"--batch={batch}", f"--threads={threads}"]
    done = subprocess.run(list(map(str, arguments)) + (["--low-memory"] if low else []), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where the model and the bundles are kept")
    parser.add_argument("--precision", default="f32,bf16,fp8,fp8-low,int8")
    parser.add_argument("--batch", default="1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=12, help="of a batch of 1; fewer for larger ones")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread")
    parser.add_argument("--recompile", action="store_true")
    options = parser.parse_args()
    if options.cpu:
        options.threads = 1
    make_model(options.folder)
    peak = build_peak()
    cases = [(precision, int(batch)) for precision in options.precision.split(",") for batch in options.batch.split(",")]
    for name in dict.fromkeys(precision.removesuffix("-low") for precision, _ in cases):
        bundle = options.folder / f"{name}.vitrify"
        if options.recompile or not bundle.exists():
            start = time.perf_counter()
            compile_module(options.folder / "model.mlir", bundle, CompileOptions(precision=name, targets=(host_target(),)),
                           options.folder / "ranges.json")
            print(json.dumps({"compiled": name, "seconds": round(time.perf_counter() - start, 2)}), flush=True)
    peaks, best = {}, {}
    for _ in range(options.rounds):
        for precision, batch in cases:
            name = precision.removesuffix("-low")
            for kind in {PEAKS[name], PEAKS["f32" if name == "f32" else "bf16"]}:
                found = gflops(peak, kind) * 1e9 if options.cpu else peak_of_all_cores(peak, kind, options.threads)
                peaks[kind] = max(peaks.get(kind, 0), found)
            found = bench(options.folder / f"{name}.vitrify", batch, max(3, options.runs // batch), options.threads, precision != name)
            known = best.setdefault((precision, batch), found)
            for field in ("min_ms", "cpu_ms", "p50_ms", "p90_ms", "first_ms", "peak_rss_bytes"):
                known[field] = min(known.get(field, float("inf")), found.get(field, float("inf")))
    blocks, rest = operations()
    for (precision, batch), found in best.items():
        name = precision.removesuffix("-low")
        limit = batch * 1e3 * (blocks / peaks[PEAKS[name]] + rest / peaks[PEAKS["f32" if name == "f32" else "bf16"]])
        ms = found["cpu_ms" if options.cpu else "min_ms"]
        print(json.dumps({"precision": precision, "batch": batch, "best_ms": ms, "p50_ms": found["p50_ms"], "limit_ms": round(limit, 2),
                          "share": round(limit / ms, 3), "first_ms": found["first_ms"], "rss_mib": round(found["peak_rss_bytes"] / 2**20, 1),
                          "peak_gflops": round(peaks[PEAKS[name]] / 1e9)}), flush=True)


if __name__ == "__main__":
    main()
