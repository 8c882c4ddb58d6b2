#===- sm89.py - what skipping the blocks that a gate turned off saves on sm_89, without a GPU -===#
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""The MLP of a seeded ViT-B/16 in FP8 with 4 of 16 blocks on a token on sm_89, as the compiler chooses and dense. Nothing here is measured on a GPU.

Estimates are the launch model's for whole bundles at each batch and chip; multiply-adds are those that the emulator counts in both linears of one layer, with gates
drawn at random, up to --emulate images. One line of JSON a batch.

    build/venv/bin/python benchmarks/gates/sm89.py --folder /tmp/gates-sm89 [--batch 1,8,64] [--emulate 1]
"""
import argparse
import json
import pathlib
import re
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
for folder in ("test/Python", "test/Golden"):
    sys.path.insert(0, str(ROOT / folder))
import seeded  # noqa: E402
from gpu_ops import E4M3, F32, Kernels, arguments_of, launch  # noqa: E402
from test_gpu_grouped import columns_case, depth_case  # noqa: E402
from test_gpu_ops import linear_case  # noqa: E402
from vitrify import emulator  # noqa: E402
from vitrify.compiler import calibrate  # noqa: E402
from vitrify.importer import import_folder  # noqa: E402
from vitrify.tools import run_tool  # noqa: E402

TOKENS, HIDDEN, BLOCKS, ON, BLOCK = 197, 768, 16, 4, 192
CHIPS = ("RTX 4090", "L4")
MLP = re.compile(r"b\d+\.(gate|fc1|fc2)")


def estimates(folder, batch, chip, option):
    """Microseconds of the MLP's launches of all layers, and of the whole model, for this chip at this batch, and whether tokens are grouped."""
    module, bundle = folder / f"b{batch}.mlir", folder / f"b{batch}{chip.replace(' ', '-')}{option}.vitrify"
    if not module.exists():
        import_folder(folder / "model", module, max_batch=max(batch, 64), tuned_batch=batch)
    run_tool("vitrify-compile", [module, "-o", bundle, "--target=sm_89", f"--tune={chip}", "--precision=fp8", f"--ranges={folder / 'ranges.json'}", *([option] if option else [])])
    target = json.loads(run_tool("vitrify-inspect", [bundle, "--json"]))["targets"][0]
    mlp = whole = 0

    def walk(steps):
        nonlocal mlp, whole
        for step in steps:
            for e in step.get("estimates", []):
                if e["chip"] == chip:
                    mlp, whole = mlp + e["us"] * any(map(MLP.match, step["layers"])), whole + e["us"]
            if step.get("taken"):
                walk(step["body"])

    walk(next(p for p in target["programs"] if p["name"] == "forward")["steps"])
    return mlp, whole, any(k["name"].startswith("grouped_") for k in target["kernels"])


def macs(cases):
    """Multiply-adds of tensor instructions that the emulator counts, over all cases."""
    kernels, total = Kernels(cases), 0
    with emulator.Session(kernels.ptx, chip="sm_89", counters=True, checks="none") as session:
        for index, case in enumerate(cases):
            for spec in kernels.of(index):
                sizes = launch(spec, case)
                if sizes:
                    done = session.run(spec["name"], sizes[0], spec["block"], arguments_of(spec, case, sizes[1], False)[0], shared=spec["shared"])
                    total += sum(done.counters["tensor_macs"].values())
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where the model and the bundles are kept")
    parser.add_argument("--batch", default="1,8,64")
    parser.add_argument("--emulate", type=int, default=1, help="the largest batch whose products are counted")
    options = parser.parse_args()
    if not (options.folder / "ranges.json").exists():
        generator = seeded.write_vit(options.folder / "model", 0, HIDDEN, 12, gain=1.2, gate=(BLOCKS, ON))
        import_folder(options.folder / "model", options.folder / "model.mlir")
        np.save(options.folder / "x.npy", generator.standard_normal((1, 3, 224, 224), dtype=np.float32))
        calibrate(options.folder / "model.mlir", [options.folder / "x.npy"], options.folder / "ranges.json")
    for batch in map(int, options.batch.split(",")):
        line = {"batch": batch}
        for chip in CHIPS:
            chosen, dense = estimates(options.folder, batch, chip, ""), estimates(options.folder, batch, chip, "--dense-gates")
            line[chip] = {"grouped": chosen[2], "mlp_us": round(chosen[0], 1), "dense_mlp_us": round(dense[0], 1), "mlp_ratio": round(chosen[0] / dense[0], 3),
                          "faster": round(dense[1] / chosen[1], 2)}
        if batch <= options.emulate:
            rng = np.random.default_rng(batch)
            m = batch * TOKENS
            gate = (np.argsort(np.argsort(rng.standard_normal((m, BLOCKS)))) < ON).astype(F32)
            done = macs([columns_case("", gate, BLOCK, HIDDEN, E4M3), depth_case("", gate, BLOCK, HIDDEN, E4M3)])
            whole = macs([linear_case(m, BLOCKS * BLOCK, HIDDEN, E4M3, E4M3), linear_case(m, HIDDEN, BLOCKS * BLOCK, E4M3, F32)])
            line |= {"macs": done, "dense_macs": whole, "macs_ratio": round(done / whole, 3)}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
