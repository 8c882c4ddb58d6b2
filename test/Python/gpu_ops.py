#===- gpu_ops.py - single vit ops as GPU kernels on the emulator, against numpy in f64 -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""Builds the kernels of any number of vit ops in one call of vitrify-kernels and runs them on the emulated GPU.

    case = Case("row tail", linear_text..., {"x": x, "w": Weight(w)}, [Result(expected, bound, np.float16)])
    check([case, ...])

Every run has all of the emulator's checks on. What a kernel leaves unwritten is seen: one run starts from memory that was
never written, the next from memory full of NaN, and all must give the same bits. Bounds are those of the formats.
"""
import json
import pathlib
import subprocess
import tempfile
from dataclasses import dataclass, field

import numpy as np
from ptx_mutants import mutants
from x86_kernels import BF16, E4M3, MLIR, SOURCE, Columns, evaluate

from vitrify import emulator

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "build" / "bin" / "vitrify-kernels"
TARGET = "sm_89"
F16, F32, I32, U8 = np.float16, np.float32, np.int32, np.uint8
NAMES = MLIR | {np.dtype(U8): "i8", np.dtype(np.int8): "i8"}
# Half an ulp of the value, and half of the smallest step.
UNIT = {np.dtype(F32): (2.0**-24, 2.0**-150), np.dtype(F16): (2.0**-11, 2.0**-25), np.dtype(BF16): (2.0**-8, 2.0**-134),
        np.dtype(E4M3): (2.0**-4, 2.0**-10)}


@dataclass
class Weight:
    """An operand that is a weight of the module: its type is static and it comes from vit.get. `recipe` is module-level text
    that defines @NAME, where the weight is not simply read."""

    array: np.ndarray
    recipe: str = ""


@dataclass
class Static:
    """An operand whose rows are static too, such as a table that is no weight or a probe."""

    array: np.ndarray


@dataclass
class Result:
    """What one result must be: values in f64, the largest error of each before it is rounded to `dtype`. Where `defined` is
    given and false a kernel may leave anything."""

    expected: np.ndarray
    bound: np.ndarray
    dtype: object
    defined: np.ndarray | None = None

    def check(self, found, what):
        if self.defined is not None:
            found = np.where(self.defined, found.astype(np.float64), self.expected)
        expected = np.clip(self.expected, -448, 448) if self.dtype == E4M3 else self.expected
        unit, least = UNIT.get(np.dtype(self.dtype), (0, 0))
        bound = self.bound + np.maximum((np.abs(expected) + self.bound) * unit, least)
        error = np.abs(found.astype(np.float64) - expected)
        wrong = np.argwhere(~(error <= bound))  # NaN is wrong
        if len(wrong):
            at = tuple(int(i) for i in wrong[0])
            raise AssertionError(f"{what}: {len(wrong)} of {error.size} wrong, the first at {at}: found {found[at]}, expected "
                                 f"{expected[at]} within {bound[at]:.3g}")


@dataclass
class Case:
    """One op. `op` is MLIR text that names the operands as %name, without its function around it."""

    name: str
    op: str
    operands: dict
    results: list
    in_place: dict = field(default_factory=dict)  # result number: name of the operand whose memory it has
    seeds: tuple = (0, 1)


def array_of(operand):
    return operand.array if isinstance(operand, Weight | Static) else operand


def kind(operand):
    """MLIR type of an operand or of a result's array; rows are dynamic unless it is a weight or static."""
    if hasattr(operand, "text"):
        return operand.text
    array = array_of(operand)
    dims = [str(d) for d in array.shape]
    if not isinstance(operand, Weight | Static) and dims:
        dims[0] = "?"
    return f"tensor<{'x'.join([*dims, NAMES[np.dtype(array.dtype)]])}>"


def rows(columns, dtype):
    """Type of [rows, columns]."""
    return f"tensor<?x{columns}x{NAMES[np.dtype(dtype)]}>"


def function_text(name, case):
    """Module-level text of a case: its weights, and a function of the rest."""
    weights, arguments, body = "", [], ""
    for operand, value in case.operands.items():
        if isinstance(value, Weight):
            t = kind(value)
            read = f'vit.weight @NAME : {t} {{\n  %0 = vit.read @ckpt "{operand}" : {t}\n  vit.yield %0 : {t}\n}}\n'
            weights += (value.recipe or read).replace("@NAME", f"@{name}.{operand}")
            body += f"  %{operand} = vit.get @{name}.{operand} : {t}\n"
        elif isinstance(value, Columns):
            base = next((n for n, v in case.operands.items() if isinstance(v, Columns) and v.base is value.base))
            if base == operand:
                arguments += [f"%{base}_base: {kind(value.base)}", f"%{base}_rows: index"]
            body += (f"  %{operand} = tensor.extract_slice %{base}_base[0, {value.first}] [%{base}_rows, {value.shape[1]}] [1, 1] : "
                     f"{kind(value.base)} to {kind(value)}\n")
        else:
            arguments.append(f"%{operand}: {kind(value)}")
    return f"{weights}func.func @{name}({', '.join(arguments)}) {{\n{body}  {case.op}\n  return\n}}\n"


def yielded(value, dtype):
    """Text that narrows %value (f32) to the result's type and yields it."""
    name = {F16: "f16", BF16: "bf16", E4M3: "f8E4M3FN"}.get(dtype)
    if name is None:
        return f"vit.yield {value} : f32"
    convert = f"vit.convert {value} sat" if dtype == E4M3 else f"arith.truncf {value}"
    return f"%narrow = {convert} : f32 to {name}\n    vit.yield %narrow : {name}"


class Kernels:
    """The kernels of all cases for one target: PTX, and how each is launched."""

    def __init__(self, cases, target=TARGET, assemble=False):
        self.target = target
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "in.mlir").write_text(SOURCE + "".join(function_text(f"f{i}", case) for i, case in enumerate(cases)))
            self.ptx = self._build(folder, "asm").decode()
            if assemble:
                self._build(folder, "binary")
            self.specs = json.loads((folder / "specs.json").read_text())

    def _build(self, folder, emit):
        run = subprocess.run([TOOL, folder / "in.mlir", f"--target={self.target}", f"--emit={emit}", "-o", folder / "out",
                              f"--specs={folder / 'specs.json'}", f"--environment={ROOT / 'build' / 'venv'}"],
                             capture_output=True, text=True)
        assert run.returncode == 0, f"{run.stderr}\n{(folder / 'in.mlir').read_text()}"
        return (folder / "out").read_bytes()

    def of(self, index, launch=0):
        """The variants of case `index`, by rising range; of a later launch, those that run after some of them."""
        return [spec for spec in self.specs if spec["function"] == f"f{index}" and spec["launch"] == launch]


def launch(spec, case):
    """Grid, and scalars, of a variant for the case's shapes; None when the variant serves other sizes."""
    operands = list(case.operands.values())
    shapes = {"operand": [array_of(o).shape for o in operands], "result": [r.expected.shape for r in case.results]}
    scalars = [shapes[s["of"]][s["index"]][s["dim"]] for s in spec["scalars"]]
    low, high = spec["range"]
    if not low <= evaluate(spec["dispatch"], scalars) <= high:
        return None
    return [evaluate(e, scalars) for e in spec["grid"]], scalars


def arguments_of(spec, case, scalars, fresh, kept=None):
    """The launch's arguments, and the results' positions. `fresh`: results are memory that was never written. `kept`: what an
    earlier launch of the op left in its scratch memory."""
    operands = list(case.operands.values())
    arguments, results = [np.int64(s) for s in scalars], {}
    for parameter in spec["operands"]:
        index = parameter["index"]
        if parameter["role"] == "scratch":
            results["scratch"] = len(arguments)
            empty = emulator.Empty((evaluate(spec["scratch"], scalars) // 4,), F32)
            arguments.append(empty if kept is None else kept)
        elif parameter["role"] == "write":
            result = case.results[index]
            results[index] = len(arguments)
            if index in case.in_place:
                arguments.append(array_of(case.operands[case.in_place[index]]).copy())
            elif fresh:
                arguments.append(emulator.Empty(result.expected.shape, result.dtype))
            else:
                filled = np.empty(result.expected.shape, result.dtype)
                filled.view(U8)[...] = 0xFF  # NaN in every format
                arguments.append(filled)
        elif isinstance(operands[index], Columns):
            view = operands[index]
            arguments.append(emulator.View(view.base, view.first * view.base.itemsize))
        else:
            arguments.append(np.ascontiguousarray(array_of(operands[index])).copy())
    return arguments, [results[i] for i in [*range(len(case.results)), *["scratch"] * ("scratch" in results)]]


def later(kernels, index, spec, case):
    """The kernels that run after a variant, by rising launch."""
    low, _ = spec["range"]
    return [s for s in kernels.of(index, 1) if s["range"][0] <= low <= s["range"][1]]


def execute(session, spec, case, grid, scalars, fresh=True, after=()):
    """A variant and what runs after it; the results, and the counters of the variant."""
    arguments, places = arguments_of(spec, case, scalars, fresh)
    done = session.run(spec["name"], grid, spec["block"], arguments, shared=spec["shared"])
    assert not done.faults and not done.reports, f"{case.name}, {spec['name']}: {json.dumps(done.reports[:2], indent=1)}"
    found, counters = [done.arrays[place] for place in places], done.counters
    for last in after:
        # What it finds in the results and in the scratch memory is what the launch before left there.
        arguments, places = arguments_of(last, case, scalars, fresh, found[-1])
        done = session.run(last["name"], [evaluate(e, scalars) for e in last["grid"]], last["block"], arguments, shared=last["shared"])
        assert not done.faults and not done.reports, f"{case.name}, {last['name']}: {json.dumps(done.reports[:2], indent=1)}"
        found = [done.arrays[place] for place in places]
    return found[:len(case.results)], counters


def check(cases, target=TARGET, every_variant=False):
    """Builds all cases at once; runs each with each of its seeds and compares with the oracle. Returns the counters of the
    first run by case name. `every_variant`: also those whose range of rows is another; those that sum in the same order must give
    the same bits."""
    kernels = Kernels(cases, target)
    counters, first = {}, {}
    for seed in sorted({seed for case in cases for seed in case.seeds}):
        with emulator.Session(kernels.ptx, chip=target, seed=seed, counters=True) as session:
            for index, case in enumerate(cases):
                if seed not in case.seeds:
                    continue
                for spec in kernels.of(index):
                    sizes = launch(spec, case)
                    if sizes is None and every_variant:
                        sizes = launch(spec | {"range": [0, 1 << 62]}, case)
                    if sizes is None:
                        continue
                    after = later(kernels, index, spec, case)
                    order = (index, *(s["name"] for s in after))
                    found, counted = execute(session, spec, case, *sizes, order not in first, after)
                    if order not in first:
                        first[order] = found
                        counters.setdefault(case.name, counted)
                        for i, result in enumerate(case.results):
                            result.check(found[i], f"{case.name}, result {i}")
                    for a, b, result in zip(first[order], found, case.results):
                        kept = slice(None) if result.defined is None else result.defined.reshape(-1)
                        same = a.reshape(-1)[kept].view(U8) == b.reshape(-1)[kept].view(U8)
                        assert same.all(), f"{case.name}, {spec['name']}: other bits with seed {seed}"
    assert len(counters) == len(cases), f"no kernel serves {[c.name for c in cases if c.name not in counters]}"
    return counters


def refused(case, target=TARGET):
    """What vitrify-kernels says when there is no kernel for the case."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "in.mlir"
        source.write_text(SOURCE + function_text("f", case))
        run = subprocess.run([TOOL, source, f"--target={target}", "-o", pathlib.Path(folder) / "out"], capture_output=True, text=True)
    assert run.returncode == 1, f"{case.name} is not refused"
    return run.stderr


def survivors(cases, target=TARGET, seeds=(0, 1, 2, 3)):
    """Takes one barrier, wait or fence at a time out of every variant that serves a case and runs the case. Returns the number
    of mutants, and those that no seed flags as (case, kernel, number of the instruction, instruction)."""
    kernels, count, missed = Kernels(cases, target), 0, []
    for index, case in enumerate(cases):
        for spec in kernels.of(index):
            sizes = launch(spec, case)
            if sizes is None:
                continue
            text = kernels.ptx
            assert not _faults(text, spec, case, sizes, target, seeds[0]), f"{case.name} is not clean to begin with"
            for number, instruction, mutant in mutants(text, spec["name"]):
                count += 1
                if not any(_faults(mutant, spec, case, sizes, target, seed) for seed in seeds):
                    missed.append((case.name, spec["name"], number, instruction))
    return count, missed


def _faults(ptx, spec, case, sizes, target, seed):
    grid, scalars = sizes
    arguments, _ = arguments_of(spec, case, scalars, fresh=True)
    done = emulator.run(ptx, spec["name"], grid, spec["block"], arguments, shared=spec["shared"], chip=target, seed=seed, check=False,
                        on_fault="continue", limit=1, max_instructions=10_000_000)
    return bool(done.faults or done.error)


# --- bounds and values


def fp8_sum_bound(x, w):
    """Bound of sum_k x[m, k] w[n, k] on tensor cores that keep 13 fraction bits and truncate: one rounding for each 32 of K and
    the last, of the largest partial sum: |err| <= (ceil(K / 32) + 1) 2^-13 max |partial sum|. A partial sum is any subset that
    the hardware may have added up, so its largest value is bounded by the sum of magnitudes within a step on top of the sum
    before it."""
    x, w = (np.asarray(a, np.float64) for a in (x, w))
    steps = -(-x.shape[1] // 32)
    before, largest = np.zeros((x.shape[0], w.shape[0])), np.zeros((x.shape[0], w.shape[0]))
    for step in range(steps):
        a, b = x[:, step * 32:(step + 1) * 32], w[:, step * 32:(step + 1) * 32]
        largest = np.maximum(largest, np.abs(before) + np.abs(a) @ np.abs(b).T)
        before += a @ b.T
    return (steps + 1) * 2.0**-13 * largest


def f32_sum_bound(x, w):
    """Bound of a product of 16-bit values with f32 accumulators, which truncate: K additions of 2^-23 of the magnitudes."""
    x, w = (np.abs(np.asarray(a, np.float64)) for a in (x, w))
    return (x.shape[1] + 2) * 2.0**-23 * (x @ w.T)


def sum_bound(x, w):
    return fp8_sum_bound(x, w) if x.dtype == E4M3 else f32_sum_bound(x, w)


def normal(rng, shape, dtype, scale=1.0):
    """Normal values that the type holds."""
    values = (rng.standard_normal(shape) * scale).astype(F32)
    if dtype == E4M3:
        values = np.clip(values, -448, 448)
    return values.astype(dtype)


def f64(array):
    return (array.values if isinstance(array, Columns) else array_of(array)).astype(np.float64)
