"""--precision=auto: which linears compute in E4M3, chosen by what each costs in accuracy on calibration images.

Every measurement is of compiled programs on this machine: a linear's sensitivity is the relative error (root mean square) of the model's output when that
linear alone computes in E4M3, everything else in 16 bits. From all in E4M3 on, the most sensitive ones go to 16 bits until the output of the whole is
within the bound. A program that is not faster than the one in 16 bits is not taken.
"""
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vitrify.errors import VitrifyError
from vitrify.evaluate import evaluate
from vitrify.files import replacing
from vitrify.targets import host_target
from vitrify.tools import run_tool

BENCH_RUNS = 30


@dataclass(frozen=True)
class Point:
    """One program of the trade-off: which groups of linears are in 16 bits, and what was measured."""

    wide: tuple[str, ...]
    error: float
    weight_bytes: int
    milliseconds: float

    def row(self, groups):
        return {"e4m3": len(groups) - len(self.wide), "in_16_bits": list(self.wide), "error": self.error, "weight_bytes": self.weight_bytes,
                "milliseconds": self.milliseconds}


def groups_of(module):
    """Names of the linears of encoder blocks, those that read one value (q, k and v) together: name of the group -> names."""
    found = {}
    text = Path(module).read_text(encoding="utf-8")
    for value, name in re.findall(r"vit\.linear (%\w+), .*?layers \[\"((?:[^\"/]+/)?b\d+\.[^\"]+)\"", text):
        if "gate" in name.rsplit(".", 1)[-1] or ".gate." in name:
            continue
        part = name.rsplit(".", 1)[-1]
        key = f"{name.rsplit('.', 1)[0]}.qkv" if part in "qkv" else name
        found.setdefault(key, []).append(name)
    if not found:
        raise VitrifyError(f"{module} has no linear of an encoder block: there is nothing to choose a precision for")
    return found


class Measure:
    """Compiles and runs candidates on this machine; `compile_module` is compiler.compile_module."""

    def __init__(self, module, x, folder, options, ranges, activity, compile_module):
        self.module, self.folder, self.options, self.ranges, self.activity = module, Path(folder), options, ranges, activity
        self.compile_module, self.groups, self.count = compile_module, groups_of(module), 0
        np.save(self.folder / "auto.npy", x)
        self.reference = evaluate(module, x).astype(np.float64)
        self.half = "bf16"  # what 16 bits are on the CPU that measures

    def rules(self, wide, half):
        return tuple(f"{half}:{name}" for group in wide for name in self.groups[group])

    def at(self, wide, bench=True):
        self.count += 1
        bundle = self.folder / f"auto{self.count}.vitrify"
        everything = len(wide) == len(self.groups)
        options = replace(self.options, precision=self.half if everything else "fp8", targets=(host_target(),), report=None,
                          keep=self.options.keep + (() if everything else self.rules(wide, self.half)))
        self.compile_module(self.module, bundle, options, None if everything else self.ranges, self.activity)
        run_tool("vitrify-run", [bundle, f"--input={self.folder / 'auto.npy'}", f"--output={self.folder / 'auto.out.npy'}"])
        found = np.load(self.folder / "auto.out.npy").astype(np.float64)
        error = float(np.sqrt(np.square(found - self.reference).mean() / max(np.square(self.reference).mean(), 1e-300)))
        if not bench:
            return error
        size = json.loads(run_tool("vitrify-inspect", [bundle, "--json"]))["weights"]["tensor_bytes"]
        timed = json.loads(run_tool("vitrify-run", [bundle, f"--bench={BENCH_RUNS}"]))
        return Point(tuple(wide), error, size, timed["p50_ms"])


def choose(measure, max_drop, log=print):
    """(the chosen point, all points by number in 16 bits, sensitivities): the fewest groups in 16 bits whose output error is at most max_drop."""
    groups = list(measure.groups)
    base = measure.at(groups)
    if base.error > max_drop:
        raise VitrifyError(f"--max-drop {max_drop}: in 16 bits alone the output's error is {base.error:.3g}; the smallest bound that works is {base.error * 1.01:.3g}")
    points = {len(groups): base, 0: measure.at(())}
    sensitivity = {}
    if points[0].error > max_drop:
        for group in groups:
            sensitivity[group] = measure.at([g for g in groups if g != group], bench=False)
            log(f"{group}: error {sensitivity[group]:.3g} in E4M3 alone")
        order = sorted(groups, key=lambda g: -sensitivity[g])
        low, high = 0, len(groups)  # too few and enough in 16 bits
        while high - low > 1:
            middle = (low + high) // 2
            points[middle] = measure.at(order[:middle])
            low, high = (middle, high) if points[middle].error > max_drop else (low, middle)
        best = points[high]
    else:
        best = points[0]
    if best.milliseconds > base.milliseconds:
        log(f"{best.milliseconds:.3f} ms are no faster than {base.milliseconds:.3f} ms in 16 bits, which are taken")
        best = base
    return best, points, sensitivity


def table(points, groups, best):
    """The trade-off as text, from all in E4M3 to all in 16 bits."""
    lines = [f"{'E4M3':>5} {'16 bits':>8} {'error':>9} {'weight bytes':>13} {'ms':>9}"]
    for count, point in sorted(points.items()):
        lines.append(f"{len(groups) - count:5} {count:8} {point.error:9.3g} {point.weight_bytes:13,} {point.milliseconds:9.3f}{'  <-- chosen' if point is best else ''}")
    return "\n".join(lines)


def write_report(path, best, points, sensitivity, groups, max_drop):
    with replacing(path) as stream:
        json.dump({"format": 1, "max_drop": max_drop, "chosen": best.row(groups), "sensitivity": sensitivity,
                   "points": [p.row(groups) for _, p in sorted(points.items())]}, stream, indent=1)
        stream.write("\n")


def plot(path, points, best):
    """Error against bytes and against time, one dot a measured program."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4), sharey=True)
    for axis, value, label in ((axes[0], lambda p: p.weight_bytes / 1e6, "weights, MB"), (axes[1], lambda p: p.milliseconds, "one image, ms")):
        axis.plot([value(p) for p in points.values()], [p.error for p in points.values()], "o")
        axis.plot([value(best)], [best.error], "s", markersize=9, fillstyle="none", label="chosen")
        axis.set_xlabel(label)
        axis.set_yscale("log")
    axes[0].set_ylabel("relative error of the output")
    axes[1].legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
