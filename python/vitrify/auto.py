"""--precision=auto: in which format each linear computes, chosen by what it costs in accuracy, bytes and time on calibration images.

Every measurement is of compiled programs on this machine. A layer's sensitivity to a format is the relative error (root mean square) of the model's output
when that layer alone computes in it, everything else in 16 bits; it is within the bound for any that is taken. Formats that make the model slower than 16 bits
are left out. From the fewest bytes on, layers take their next wider format, those first that win most error for a byte, until the output of the whole, measured,
is within the bound too. If that program is slower than the one in 16 bits, it is searched for again without the slowest format; 16 bits are what is left in the end.
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

BENCH_RUNS = 100 # of which the quickest counts, on one thread: others wait for each other and for what else the machine does
REPEATS = 3     # of a benchmark whose outcome decides
SLOWER = 1.03   # times within 3 % of each other are equal
WIDE = "16"     # 16 bits, whichever of both the target has
# Format -> bits of a weight, columns that must divide a layer's, what it is in words. In order of what is tried first among equal bytes.
FORMATS = {
    "nvfp4": (4.5, 16, "NVFP4"),
    "fp8": (8, 1, "E4M3 by channel"),
    "fp8_tensor": (8, 1, "E4M3 by tensor"),
    "fp8_token": (8, 1, "E4M3 by token"),
    "fp8_block": (8, 128, "E4M3 by 128-block"),
    WIDE: (16, 1, "16 bits"),
}
CPU_ONLY = ("nvfp4",)


@dataclass(frozen=True)
class Group:
    """Linears that read one value, and get one format: their names, and the shape of their weights together."""

    names: tuple[str, ...]
    rows: int
    columns: int

    def bytes_in(self, form):
        return self.rows * self.columns * FORMATS[form][0] / 8


@dataclass(frozen=True)
class Point:
    """One program of the trade: the format of each group, and what was measured."""

    formats: tuple[tuple[str, str], ...]
    error: float
    weight_bytes: int
    milliseconds: float

    def row(self):
        forms = dict(self.formats)
        return {"formats": forms, "count": {f: n for f in FORMATS if (n := sum(v == f for v in forms.values()))}, "error": self.error,
                "weight_bytes": self.weight_bytes, "milliseconds": self.milliseconds}


def groups_of(module):
    """The linears of encoder blocks, those that read one value (q, k and v) together: name of the group -> Group."""
    found = {}
    text = Path(module).read_text(encoding="utf-8")
    for line in re.finditer(r"vit\.linear (%[\w#]+), (.*?)layers \[\"((?:[^\"/]+/)?b\d+\.[^\"]+)\".*?: tensor<[^>]*>, tensor<(\d+)x(\d+)x(\w+)>", text):
        _, options, name, rows, columns, element = line.groups()
        if "gate" in name.rsplit(".", 1)[-1] or ".gate." in name or element != "f32" or "scales" in options:
            continue
        part = name.rsplit(".", 1)[-1]
        key = f"{name.rsplit('.', 1)[0]}.qkv" if part in "qkv" else name
        known = found.get(key)
        found[key] = Group((known.names if known else ()) + (name,), int(rows) + (known.rows if known else 0), int(columns))
    if not found:
        raise VitrifyError(f"{module} has no linear of an encoder block: there is nothing to choose a precision for")
    return found


class Measure:
    """Compiles and runs candidates on this machine; `compile_module` is compiler.compile_module."""

    def __init__(self, module, x, folder, options, ranges, activity, compile_module):
        self.module, self.folder, self.options, self.ranges, self.activity = module, Path(folder), options, ranges, activity
        self.compile_module, self.groups, self.count = compile_module, groups_of(module), 0
        self.formats = [f for f in FORMATS if f not in CPU_ONLY or all(t.startswith("x86") for t in options.targets)]
        np.save(self.folder / "auto.npy", x)
        self.reference = evaluate(module, x).astype(np.float64)
        self.half = "bf16"  # what 16 bits are on the CPU that measures

    def settings(self, forms, half):
        """Options that give each group its format: the most frequent one as the precision, and rules for all. Rules that were asked for count more."""
        narrow = [form for form in forms.values() if form != WIDE]
        if not narrow:
            return {"precision": half, "keep": self.options.keep}
        rules = tuple(f"{half if form == WIDE else form}:{name}" for group, form in forms.items() for name in self.groups[group].names)
        return {"precision": max(dict.fromkeys(narrow), key=narrow.count), "keep": rules + self.options.keep}

    def compiled(self, forms):
        self.count += 1
        bundle = self.folder / f"auto{self.count}.vitrify"
        wide = all(form == WIDE for form in forms.values())
        options = replace(self.options, targets=(host_target(),), report=None, **self.settings(forms, self.half))
        self.compile_module(self.module, bundle, options, None if wide else self.ranges, self.activity)
        return bundle

    def error_of(self, bundle):
        run_tool("vitrify-run", [bundle, f"--input={self.folder / 'auto.npy'}", f"--output={self.folder / 'auto.out.npy'}"])
        found = np.load(self.folder / "auto.out.npy").astype(np.float64)
        return float(np.sqrt(np.square(found - self.reference).mean() / max(np.square(self.reference).mean(), 1e-300)))

    def error(self, forms):
        return self.error_of(self.compiled(forms))

    def at(self, forms):
        bundle = self.compiled(forms)
        size = json.loads(run_tool("vitrify-inspect", [bundle, "--json"]))["weights"]["tensor_bytes"]
        timed = json.loads(run_tool("vitrify-run", [bundle, f"--bench={BENCH_RUNS}", "--threads=1"]))
        return Point(tuple(forms.items()), self.error_of(bundle), size, timed["min_ms"])


def slower(measure, point, base):
    """Whether a program is slower than the one in 16 bits: both are measured again, side by side, before that is believed. Returns the two as they ended."""
    for _ in range(REPEATS):
        if point.milliseconds <= base.milliseconds * SLOWER:
            return False, point, base
        point = min(point, measure.at(dict(point.formats)), key=lambda p: p.milliseconds)
        base = min(base, measure.at(dict(base.formats)), key=lambda p: p.milliseconds)
    return point.milliseconds > base.milliseconds * SLOWER, point, base


def upgrades(groups, steps, sensitivity, floor):
    """Steps (group, format) in the order they are taken from all at their first format: most squared error for a byte first."""
    at, order = {g: 0 for g in groups}, []
    gain = lambda g, i: max(sensitivity[g, steps[g][i]]**2 - (sensitivity[g, steps[g][i + 1]]**2 if steps[g][i + 1] != WIDE else floor**2), 0)
    cost = lambda g, i: groups[g].bytes_in(steps[g][i + 1]) - groups[g].bytes_in(steps[g][i])
    while open_groups := [g for g in groups if at[g] + 1 < len(steps[g])]:
        best = max(open_groups, key=lambda g: gain(g, at[g]) / cost(g, at[g]))
        at[best] += 1
        order.append((best, steps[best][at[best]]))
    return order


def choose(measure, max_drop, log=print):
    """(the chosen point, all measured points, sensitivity by (group, format)): the fewest bytes whose output error is at most max_drop, in no more time than 16 bits."""
    groups = measure.groups
    every = lambda form: {g: form if groups[g].columns % FORMATS[form][1] == 0 else WIDE for g in groups}
    base = measure.at(every(WIDE))
    if base.error > max_drop:
        raise VitrifyError(f"--max-drop {max_drop}: in 16 bits alone the output's error is {base.error:.3g}; the smallest bound that works is {base.error * 1.01:.3g}")
    points, usable = [base], {}
    for form in measure.formats:
        if form == WIDE or all(f == WIDE for f in every(form).values()):
            continue
        late, point, base = slower(measure, measure.at(every(form)), base)
        points.append(point)
        log(f"all in {FORMATS[form][2]}: error {point.error:.3g}, {point.milliseconds:.3f} ms{', slower than 16 bits: left out' if late else ''}")
        if not late:
            usable[form] = point.milliseconds
    sensitivity = {}
    for group in groups:
        for form in usable:
            if groups[group].columns % FORMATS[form][1] == 0:
                sensitivity[group, form] = measure.error(every(WIDE) | {group: form})
        log(f"{group}: " + ", ".join(f"{FORMATS[f][2]} {sensitivity[group, f]:.3g}" for f in usable if (group, f) in sensitivity))
    while usable:
        steps = {g: steps_of(g, usable, sensitivity, max_drop) for g in groups}
        best = search(measure, steps, sensitivity, max_drop, base, points)
        if best is base:
            break
        late, best, base = slower(measure, best, base)
        if not late:
            break
        slowest = max(usable, key=usable.get)
        log(f"{best.milliseconds:.3f} ms are slower than {base.milliseconds:.3f} ms in 16 bits: without {FORMATS[slowest][2]}")
        del usable[slowest]
    if not usable:
        best = base
    points[0] = base
    return best, points, sensitivity


def steps_of(group, usable, sensitivity, max_drop):
    """The formats that a group takes one after the other: for each number of bytes the one that errs least, if that is within the bound and less than with fewer bytes."""
    by_bytes = {}
    for form in (f for f in usable if sensitivity.get((group, f), np.inf) <= max_drop):
        known = by_bytes.get(FORMATS[form][0])
        if known is None or sensitivity[group, form] < sensitivity[group, known]:
            by_bytes[FORMATS[form][0]] = form
    taken = []
    for bits in sorted(by_bytes):
        if all(sensitivity[group, by_bytes[bits]] < sensitivity[group, f] for f in taken):
            taken.append(by_bytes[bits])
    return taken + [WIDE]


def search(measure, steps, sensitivity, max_drop, base, points):
    """The point after the fewest upgrades (found by halving) whose measured error is within the bound; `base`, all in 16 bits, if no other is. Adds to `points`."""
    order = upgrades(measure.groups, steps, sensitivity, base.error)
    low, high, best = -1, len(order), base  # too few upgrades and enough: after the last all is in 16 bits
    while high - low > 1:
        middle = (low + high) // 2
        point = measure.at({g: steps[g][0] for g in steps} | dict(order[:middle]))
        points.append(point)
        if point.error > max_drop:
            low = middle
        else:
            high, best = middle, point
    return best


def in_words(point):
    count = point.row()["count"]
    return ", ".join(f"{n} {FORMATS[f][2]}" for f, n in count.items())


def table(points, best):
    """The trade as text, from the fewest bytes on."""
    shown = sorted({p.formats: p for p in [*points, best]}.values(), key=lambda p: (p.weight_bytes, p.error))
    lines = [f"{'weight bytes':>13} {'error':>9} {'ms':>9}  linears"]
    for point in shown:
        lines.append(f"{point.weight_bytes:13,} {point.error:9.3g} {point.milliseconds:9.3f}  {in_words(point)}{'  <-- chosen' if point.formats == best.formats else ''}")
    return "\n".join(lines)


def write_report(path, best, points, sensitivity, max_drop):
    by_group = {}
    for (group, form), error in sensitivity.items():
        by_group.setdefault(group, {})[form] = error
    with replacing(path) as stream:
        json.dump({"format": 2, "max_drop": max_drop, "chosen": best.row(), "sensitivity": by_group,
                   "points": [p.row() for p in sorted(points, key=lambda p: (p.weight_bytes, p.error))]}, stream, indent=1)
        stream.write("\n")


def plot(path, points, best, max_drop):
    """Error against bytes and against time, one dot a measured program."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4), sharey=True)
    for axis, value, label in ((axes[0], lambda p: p.weight_bytes / 1e6, "weights, MB"), (axes[1], lambda p: p.milliseconds, "one image, ms")):
        for point in points:
            forms = {form for _, form in point.formats}
            name = FORMATS[forms.pop()][2] if len(forms) == 1 else None
            axis.plot([value(point)], [point.error], "o", color="C0" if name else "C1")
            if name:
                axis.annotate(name, (value(point), point.error), textcoords="offset points", xytext=(4, 3), fontsize=7)
        axis.plot([value(best)], [best.error], "s", markersize=9, fillstyle="none", color="C3", label="chosen")
        axis.axhline(max_drop, linestyle=":", linewidth=1, color="gray")
        axis.set_xlabel(label)
        axis.set_yscale("log")
    axes[0].set_ylabel("relative error of the output")
    axes[1].legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
