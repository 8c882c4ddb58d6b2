"""The figures of a report, each read from the bundle (vitrify-inspect), from a run of it, or from the model compiled with every value exposed."""
import json
import math
import time
from pathlib import Path

import numpy as np

from vitrify.compare import compare
from vitrify.errors import VitrifyError
from vitrify.images import load_inputs
from vitrify.progress import Progress
from vitrify.runtime import Program
from vitrify.taps import named_values
from vitrify.tools import run_tool
from vitrify.workspace import module_of

# A neuron counts as active where it is above this share of its layer's largest value.
ACTIVE = 1e-2


def collect(bundle, inputs=(), model=None, ranges=None, images=4, runs=10, device="cpu"):
    """Everything that `page` shows, as a dictionary that json can write.

    inputs: a .npy, image files, folders; with them steps are timed on `device`. model (a folder or model.mlir) adds errors by layer (fp8 needs
    `ranges`) and which neurons were active on the first image, both from compiled code (taps.named_values).
    """
    report = {"bundle": Path(bundle).name, "inspection": json.loads(run_tool("vitrify-inspect", [bundle, "--json"]))}
    report["memory"] = {target["name"]: {p["name"]: memory_over_time(p) for p in target["programs"]} for target in report["inspection"]["targets"]}
    report["sharing"] = sharing(report["inspection"])
    if model and not inputs:
        raise VitrifyError("errors and activity need images (--input)")
    if inputs:
        x = load_inputs(inputs, Path(bundle) / "preprocess.json", images)
        report["images"] = len(x)
        report["times"] = times(bundle, x, runs, device)
    if model:
        precision = report["inspection"]["precision"]
        with module_of(model) as module:
            expected = named_values(module, x)
            if precision != "f32":
                found = named_values(module, x, precision, ranges)
                report["errors"] = [error(d) for d in compare(expected, found)]
        report["activity"] = activity(expected, len(x))
        report["picture"] = picture(x[0])
    return report


def error(difference):
    """A Difference as JSON takes it: None where there is no finite number (an SQNR without noise, a cosine of NaN)."""
    values = {key: value if isinstance(value, str) or math.isfinite(value) else None for key, value in vars(difference).items()}
    return values | {"bad": bool(difference.bad)}


def memory_over_time(program):
    """Bytes of the arena in use at each step, at the tuned shape: a value lives from the step that writes it to the last that reads it."""
    steps, buffers = program["steps"], {b["name"]: b for b in program["buffers"] if b["kind"] == "arena"}
    life = {}
    for i, step in enumerate(steps):
        for name in step["reads"] + step["writes"]:
            if name in buffers:
                life[name] = (life.get(name, (i, i))[0], i)
    live = [sum(buffers[name]["bytes"]["tuned"] for name, (first, last) in life.items() if first <= i <= last) for i in range(len(steps))]
    return {"live": live, "arena": program["arena_bytes"]["tuned"]}


def sharing(inspection):
    """Weights that several layers of a target use: their layers, bytes, and what a copy for each would add."""
    groups = {}
    for target in inspection["targets"]:
        for group in target["shared_weights"]:
            groups.setdefault((group["tensor"], tuple(group["layers"])), {"tensor": group["tensor"], "layers": group["layers"], "bytes": group["bytes"],
                                                                         "saved": group["saved_bytes"]})
    return list(groups.values())


def times(bundle, x, runs, device):
    """Median time of each step over `runs` profiled runs, and of whole runs without profiling, in nanoseconds."""
    if runs < 1:
        raise VitrifyError(f"runs: expected at least 1, found {runs}")
    program = Program(bundle, device)
    context = program.context()
    context.run(x)
    whole, steps = [], []
    with Progress("runs", runs) as progress:
        for i in range(runs):
            begin = time.perf_counter_ns()
            context.run(x)
            whole.append(time.perf_counter_ns() - begin)
            context.run(x, profile=True)
            steps.append(context.profile())
            progress.update(i + 1)
    return {"target": program.target, "device": program.device, "runs": runs, "batch": len(x), "median_ns": float(np.median(whole)),
            "steps": [{"layers": group[0].layers, "kernel": group[0].kernel, "ns": float(np.median([s.nanoseconds for s in group]))} for group in zip(*steps)]}


def activity(values, images):
    """By layer: the share of active neurons (or gate blocks) of each token of the first image, and over all images and tokens."""
    layers = []
    for name, array in values.items():
        if name.rsplit(".", 1)[-1] not in ("act", "gated", "gate") or array.ndim != 2:
            continue
        active = np.abs(array) > (0 if name.endswith("gate") else ACTIVE * np.abs(array).max())
        tokens = len(array) // images
        by_neuron = active.mean(0)
        layers.append({"name": name, "width": array.shape[1], "share": float(active.mean()), "never": int((by_neuron == 0).sum()),
                       "tokens": [float(v) for v in active[:tokens].mean(1)]})
    patches = len(values["embed.patch"]) // images if "embed.patch" in values else 0
    return {"patches": patches, "layers": layers}


def picture(x):
    """The first image as grey levels 0 to 255, at most 64 on a side."""
    grey = x.mean(0)
    stride = max(1, math.ceil(max(grey.shape) / 64))
    grey = grey[::stride, ::stride]
    low, high = float(grey.min()), float(grey.max())
    return [[round(255 * (float(v) - low) / (high - low or 1)) for v in row] for row in grey]
