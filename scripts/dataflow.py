#!/usr/bin/env python3
"""Writes or checks the IR in docs/dataflow.md: what the tools print for the demo's model at each stage.

In the page, a block between `<!-- stage NAME -->` and `<!-- end -->` belongs to the stage NAME below. `--check` compares, `--write` replaces.
"""
import argparse
import difflib
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "dataflow.md"
MODEL = ROOT / "examples" / "mnist" / "vit_mnist_gelu_rescaled"
sys.path.insert(0, str(ROOT / "python"))


def between(lines, first, last):
    """Lines from the first that holds `first` to the line that closes the op holding `last` after it."""
    start = next(i for i, line in enumerate(lines) if first in line)
    end = next(i for i in range(start, len(lines)) if last in lines[i])
    depth = lines[end].count("{") - lines[end].count("}")
    while depth > 0:
        end += 1
        depth += lines[end].count("{") - lines[end].count("}")
    return lines[start:end + 1]


def dedent(lines):
    width = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return [line[width:].rstrip() for line in lines]


def imported(folder):
    """[2] as imported: the source, one weight, and block 0 in the order of its layers."""
    from vitrify.importer import import_folder

    import_folder(MODEL, folder / "model.mlir")
    lines = (folder / "model.mlir").read_text(encoding="utf-8").splitlines()
    source = re.sub(r'path "[^"]*"', 'path "model.safetensors"', between(lines, "vit.source", "vit.source")[0])
    return dedent([source, *between(lines, "vit.weight @b0.q.w", "}")]) + [""] + dedent(between(lines, "vit.get @b0.ln1.g", '"b0.res2"'))


def compiled(folder, stage):
    """What vitrify-compile prints at a stage for FP8 on x86-64-v4-bf16. Hashes in names of kernels, which change with any kernel, are left out."""
    from vitrify.compiler import calibrate
    from vitrify.tools import run_tool

    sys.path.insert(0, str(ROOT / "examples" / "mnist"))
    from digits import digits, pixels

    if not (folder / "ranges.json").exists():
        np.save(folder / "x.npy", pixels(digits("calibration-200")[0][:8], folder / "preprocess.json"))
        calibrate(folder / "model.mlir", [folder / "x.npy"], folder / "ranges.json")
    run_tool("vitrify-compile", [str(folder / "model.mlir"), "--target=x86-64-v4-bf16", "--precision=fp8", f"--ranges={folder / 'ranges.json'}",
                                 f"--emit={stage}", "-o", str(folder / stage)])
    return re.sub(r"_[0-9a-f]{8}\b", "", (folder / stage).read_text(encoding="utf-8")).splitlines()


def optimised(folder):
    """[3] optimised: the recipes of one linear's weight and scales, and block 0."""
    lines = compiled(folder, "vit")
    weights = [line for name in ("b0.qkv.w", "b0.qkv.w.scale", "b0.qkv.w.e4m3", "b0.q.out_scale")
               for line in between(lines, f"vit.weight @{name} :", f"vit.weight @{name} :")]
    return dedent(weights) + [""] + dedent(between(lines, "vit.get @b0.ln1.g", '"b0.res2"'))


def kernel(folder):
    """[4] a kernel: the epilogue of q, k and v on registers, and the signature of the linear that calls it."""
    lines = compiled(folder, "kernel")
    name = "@linear_bf16_n288_k96"
    return dedent([*between(lines, f"{name}.epilogue(", f"{name}.epilogue("), next(line for line in lines if f"func.func {name}(" in line)])


def plan(folder):
    """[5] the plan: buffers and steps of block 0."""
    lines = compiled(folder, "plan")
    buffers = [line for line in lines if '"kind":"arena"' in line and '{"name":"b0.' in line]
    steps = [line for line in lines if '"kind":"launch"' in line and '"layers":["b0.' in line]
    return dedent([*buffers, *steps])


STAGES = {"imported": imported, "optimised": optimised, "kernel": kernel, "plan": plan}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    folder = Path(tempfile.mkdtemp())
    try:
        found = re.findall(r"<!-- stage (\w+) -->", text)
        if sorted(found) != sorted(STAGES):
            sys.exit(f"docs/dataflow.md: expected the stages {', '.join(STAGES)}, found {', '.join(found)}")
        new = text
        for name, stage in STAGES.items():
            block = f"<!-- stage {name} -->\n```{'json' if name == 'plan' else 'mlir'}\n" + "\n".join(stage(folder)) + "\n```\n<!-- end -->"
            new = re.sub(rf"<!-- stage {name} -->\n.*?<!-- end -->", lambda _: block, new, flags=re.S)
    finally:
        shutil.rmtree(folder)
    if options.write:
        PAGE.write_text(new, encoding="utf-8")
    elif new != text:
        sys.stdout.writelines(difflib.unified_diff(text.splitlines(True), new.splitlines(True), "docs/dataflow.md", "printed by the tools"))
        sys.exit("docs/dataflow.md is not what the tools print: run scripts/dataflow.py --write")
    print(f"dataflow: {len(STAGES)} stages")


main()
