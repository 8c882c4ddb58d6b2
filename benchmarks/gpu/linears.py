#===- linears.py - FP8 linears on a real GPU, beside cuBLASLt and Triton -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""Measures a ViT's FP8 linears on a GPU: ours from the profile of a one-block bundle, cuBLASLt through torch._scaled_mm, Triton's best tile.

    build/venv/bin/python benchmarks/gpu/linears.py [--models ViT-B] [--batches 1,8,32] [--json]

VITRIFY_TORCH_PYTHON names a Python with torch (and triton) for the others; what is missing is said to be.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "gpu-static"))
from shapes import MODELS, build  # noqa: E402

from vitrify.errors import VitrifyError  # noqa: E402
from vitrify.tools import run_tool  # noqa: E402

TARGET = "sm_89"
ROLES = {"q": "qkv", "proj": "proj", "fc1": "fc1", "fc2": "fc2"}
NUMBER = re.compile(r"[0-9.]+$")


def ours(model, batch, folder, device, repeats):
    """role -> the least microseconds over some runs; a split product's two launches count together."""
    bundle, _, _ = build(model, batch, folder / model.name, TARGET)
    np.save(folder / "x.npy", np.random.default_rng(0).standard_normal((batch, 3, model.image, model.image), dtype=np.float32))
    best = {}
    for _ in range(repeats):
        seen = {}
        for line in run_tool("vitrify-run", [bundle, f"--device={device}", f"--input={folder / 'x.npy'}", "--profile"]).splitlines():
            words = line.split()  # microseconds, per cent, layers, kernel
            if len(words) >= 4 and NUMBER.match(words[0]) and NUMBER.match(words[1]):
                for layer, role in ROLES.items():
                    if f"b0.{layer}" in words[2:-1]:
                        seen[role] = seen.get(role, 0.0) + float(words[0])
        for role, us in seen.items():
            best[role] = min(us, best.get(role, us))
    if set(best) != set(ROLES.values()):
        raise VitrifyError(f"the profile names {sorted(best)}, expected {sorted(ROLES.values())}")
    return best


def others(shapes):
    """What peers.py measured for [(M, N, K)], or why it could not."""
    python = os.environ.get("VITRIFY_TORCH_PYTHON", sys.executable)
    done = subprocess.run([python, HERE / "peers.py"], input=json.dumps(shapes), capture_output=True, text=True, check=False)
    if done.returncode:
        return {"missing": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"{python} failed"}
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="ViT-B")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--device", default="cuda", help="of vitrify-run (default: cuda)")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="vitrify-gpu-") as folder:
        for model in (m for m in MODELS if m.name in options.models.split(",")):
            for batch in map(int, options.batches.split(",")):
                found = ours(model, batch, Path(folder), options.device, options.repeats)
                sizes = {"qkv": (3 * model.hidden, model.hidden), "proj": (model.hidden, model.hidden), "fc1": (model.mlp, model.hidden),
                         "fc2": (model.hidden, model.mlp)}
                rows += [{"model": model.name, "batch": batch, "role": role, "m": batch * model.tokens, "n": sizes[role][0], "k": sizes[role][1],
                          "us": us} for role, us in found.items()]
    peers = others([[r["m"], r["n"], r["k"]] for r in rows])
    if options.json:
        print(json.dumps({"ours": rows, "peers": peers}))
        return
    print(f"{'model':12} {'batch':>5} {'linear':7} {'M x N x K':>20} {'ours us':>9} {'cuBLASLt':>9} {'Triton':>9}   (ours with its epilogue, cuBLASLt without)")
    for i, r in enumerate(rows):
        other = [f"{peers[p][i]:9.2f}" if p in peers else f"{'-':>9}" for p in ("cublaslt", "triton")]
        print(f"{r['model']:12} {r['batch']:5} {r['role']:7} {r['m']:6} x {r['n']:4} x {r['k']:4} {r['us']:9.2f} {' '.join(other)}")
    if "missing" in peers:
        print(f"the others are missing: {peers['missing']}")


if __name__ == "__main__":
    try:
        main()
    except VitrifyError as error:
        sys.exit(f"linears: error: {error}")
