#===- counts.py - what a plan's launches do, counted by the emulator -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""Counts of a launch over its whole grid, from a part of it that is emulated.

A grid of ceildiv(rows, R) x ... has full row blocks, which all do the same work, and at most one that is not full: one launch over R
rows and one over the rest, times the number of full ones, is exact. A grid in proportion to the images (attention) is that of
one image times their number. What is emulated otherwise is the whole launch.
"""
import json
from pathlib import Path

import numpy as np

from vitrify import emulator

WIDTHS = {"F32": 4, "I32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I8": 1}
FIELDS = ("warp_instructions", "barrier_waits", "async_waits", "macs", "global_sectors", "global_bytes", "shared_wavefronts", "shared_least")


def value_of(expression, symbols):
    """A plan's expression at these values of its symbols."""
    if isinstance(expression, int):
        return expression
    if isinstance(expression, str):
        return symbols[expression]
    op, left, right = expression[0], value_of(expression[1], symbols), value_of(expression[2], symbols)
    return {"+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right, "ceildiv": lambda: -(-left // right),
            "floordiv": lambda: left // right, "mod": lambda: left % right, "min": lambda: min(left, right), "max": lambda: max(left, right)}[op]()


def executed(steps, symbols):
    """Launches that run at these values, those in bodies of conditions among them."""
    for step in steps:
        if step["kind"] == "launch":
            yield step
        if step["kind"] == "if" and value_of(step["condition"], symbols):
            yield from executed(step["body"], symbols)


class Counter:
    """Counts the launches of a bundle's program on one target."""

    def __init__(self, bundle, target, ptx, known, program="forward"):
        """`ptx` gives the text; `known` is what was counted before, of bundles that share kernels: a kernel's name says what it is."""
        self.plan = json.loads((Path(bundle) / "targets" / target / "plan.json").read_text(encoding="utf-8"))
        self.program = next(p for p in self.plan["programs"] if p["name"] == program)
        self.give_ptx, self.ptx, self.target, self.known = ptx, None, target, known

    def launches(self, images):
        """Of the program: (step, kernel's name, grid, counts) of every launch."""
        symbols = {s["name"]: s["tuned"] for s in self.program["symbols"]} | {self.program["symbols"][0]["name"]: images}
        for step in executed(self.program["steps"], symbols):
            yield step, *self._count(step, symbols, images)

    def _count(self, step, symbols, images):
        dispatch = value_of(step.get("dispatch", 0), symbols)
        variant = next(v for v in step["variants"] if v["min"] <= dispatch <= v["max"])
        kernel, grid = self.plan["kernels"][variant["kernel"]]["name"], variant["grid"]
        full = [value_of(e, symbols) for e in grid]
        args = [value_of(e, symbols) for e in step["args"]]
        one = symbols | {self.program["symbols"][0]["name"]: 1}
        rows = args[0] if args else 0
        unit = grid[0][2] if isinstance(grid[0], list) and grid[0][0] == "ceildiv" and isinstance(grid[0][2], int) else 0
        if unit and -(-rows // unit) == full[0] and rows > unit:
            parts = [(rows // unit, unit, [1, *full[1:]])] + ([(1, rows % unit, [1, *full[1:]])] if rows % unit else [])
            total = dict.fromkeys(FIELDS, 0)
            for times, some, blocks in parts:
                counted = self._emulate(step, variant, kernel, blocks, [some, *args[1:]], symbols)
                total = {f: total[f] + times * counted[f] for f in FIELDS}
            return kernel, full, total
        small = [value_of(e, one) for e in grid]
        if images > 1 and full == [images * small[0], *small[1:]]:
            counted = self._emulate(step, variant, kernel, small, [value_of(e, one) for e in step["args"]], one)
            return kernel, full, {f: images * counted[f] for f in FIELDS}
        return kernel, full, self._emulate(step, variant, kernel, full, args, symbols)

    def _emulate(self, step, variant, kernel, grid, args, symbols):
        key = (kernel, tuple(grid), tuple(args))
        if key not in self.known:
            self.ptx = self.ptx or self.give_ptx()
            arrays = [np.int64(a) for a in args] + [self._weight(i) for i in step["weights"]]
            memory = {}
            for operand in step["reads"] + step["writes"]:
                index = operand["buffer"]
                if index not in memory:
                    memory[index] = self._buffer(index, symbols)
                arrays.append(emulator.View(memory[index], value_of(operand["offset"], symbols)))
            done = emulator.run(self.ptx, kernel, grid, variant["block"], arrays, shared=variant["shared_bytes"], chip=self.target, counters=True,
                                checks="none")
            self.known[key] = self._fields(done.counters)
        return self.known[key]

    @staticmethod
    def _fields(counters):
        memory = counters["memory"]
        macs = sum(counters["tensor_macs"].values())
        return {"warp_instructions": counters["warp_instructions"], "barrier_waits": counters["barrier_waits"], "async_waits": counters["async_waits"],
                "macs": macs, "global_sectors": memory["global_sectors"], "global_bytes": memory["global_bytes"],
                "shared_wavefronts": memory["shared_wavefronts"], "shared_least": memory["shared_least_wavefronts"]}

    def _weight(self, index):
        weight = self.plan["weights"][index]
        return np.zeros(max(1, int(np.prod(weight["shape"])) * WIDTHS[weight["dtype"]]), np.uint8)

    def _buffer(self, index, symbols):
        return np.zeros(max(1, value_of(self.program["buffers"][index]["size"], symbols)), np.uint8)
