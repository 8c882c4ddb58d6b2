#===- gates.py - what skipping the blocks that a gate turned off saves on x86 -===#
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""Times a seeded ViT-B/16 whose MLPs are gated (4 of 16 blocks of 192 neurons a token) with tokens grouped by block and with every block computed.

Both forms are bundles of the same model; runs of the two alternate, and the best of all rounds counts for each step, so that another process on the
machine spoils few figures. The MLP is all that differs: the gate's linear, the gate, the lists and both linears. Answers are compared bit by bit. One line
of JSON a precision and batch.

    build/venv/bin/python benchmarks/gates/gates.py --folder /tmp/gates [--precision f32,bf16,fp8,int8] [--batch 1,8,64] [--rounds 3]
"""
import argparse
import json
import os
import pathlib
import re
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/Golden"))
import seeded  # noqa: E402
from vitrify.compiler import calibrate  # noqa: E402
from vitrify.importer import import_folder  # noqa: E402
from vitrify.targets import host_target  # noqa: E402
from vitrify.tools import run_tool  # noqa: E402

MLP = re.compile(r"b\d+\.(gate|fc1|fc2)")
STEP = re.compile(r"^\s*([0-9.]+)\s+[0-9.]+\s+(\S.*?)\s{2,}(\S+)$")


def make_model(folder, blocks, on, images):
    """model.mlir, ranges.json and x.npy of a seeded ViT-B/16 with gates."""
    if (folder / "ranges.json").exists():
        return
    generator = seeded.write_vit(folder / "model", 0, 768, 12, gain=1.2, gate=(blocks, on))
    import_folder(folder / "model", folder / "model.mlir")
    np.save(folder / "x.npy", generator.standard_normal((images, 3, 224, 224), dtype=np.float32))
    np.save(folder / "calibration.npy", generator.standard_normal((1, 3, 224, 224), dtype=np.float32))
    calibrate(folder / "model.mlir", [folder / "calibration.npy"], folder / "ranges.json")


def profile(bundle, batch, x, threads):
    """Answers, and microseconds of every step of one batch, by the step's layers."""
    answers = bundle.with_suffix(".npy")
    text = run_tool("vitrify-run", [bundle, f"--input={x}", f"--batch={batch}", f"--threads={threads}", "--profile", f"--output={answers}"])
    steps = {m[2]: float(m[1]) for m in map(STEP.match, text.splitlines()) if m}
    if not steps:
        raise SystemExit(f"vitrify-run --profile printed no steps:\n{text}")
    return np.load(answers), steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where the model and the bundles are kept")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--batch", default="1,8,64")
    parser.add_argument("--blocks", type=int, default=16)
    parser.add_argument("--on", type=int, default=4, help="blocks that are on for a token")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    batches = [int(batch) for batch in options.batch.split(",")]
    make_model(options.folder, options.blocks, options.on, max(batches))
    images = np.load(options.folder / "x.npy", mmap_mode="r")
    for precision in options.precision.split(","):
        bundles = {}
        for form, option in (("grouped", []), ("dense", ["--dense-gates"])):
            bundles[form] = options.folder / f"{precision}-{form}.vitrify"
            run_tool("vitrify-compile", [options.folder / "model.mlir", f"--target={host_target()}", f"--precision={precision}",
                                         f"--ranges={options.folder / 'ranges.json'}", *option, "-o", bundles[form]])
        for batch in batches:
            x = options.folder / f"x{batch}.npy"
            np.save(x, images[:batch])
            best, answers = {form: {} for form in bundles}, {}
            for _ in range(options.rounds):
                for form, bundle in bundles.items():
                    answers[form], steps = profile(bundle, batch, x, options.threads)
                    for name, us in steps.items():
                        best[form][name] = min(best[form].get(name, float("inf")), us)
            ms = {form: sum(steps.values()) / 1e3 for form, steps in best.items()}
            mlp = {form: sum(us for name, us in steps.items() if MLP.match(name)) / 1e3 for form, steps in best.items()}
            print(json.dumps({"precision": precision, "batch": batch, "threads": options.threads, "mlp_ms": round(mlp["grouped"], 2), "dense_mlp_ms": round(mlp["dense"], 2),
                              "mlp_ratio": round(mlp["grouped"] / mlp["dense"], 3), "ms": round(ms["grouped"], 2), "dense_ms": round(ms["dense"], 2),
                              "faster": round(ms["dense"] / ms["grouped"], 2), "same_bits": bool(np.array_equal(answers["grouped"], answers["dense"]))}), flush=True)


if __name__ == "__main__":
    main()
