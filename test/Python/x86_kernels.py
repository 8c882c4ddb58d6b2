#===- x86_kernels.py - builds x86 kernels and calls them through dlopen -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""Builds the kernels of vit ops with vitrify-kernels and calls them by the C signature of KernelABI.h.

Every buffer ends (or begins) at a page that may not be touched, and a call runs in a child process, so an access out of
bounds is a failed test. Results come back through shared memory.
"""
import ctypes
import json
import math
import mmap
import os
import pathlib
import signal
import subprocess
import tempfile

import ml_dtypes
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "build" / "bin" / "vitrify-kernels"
TARGETS = ("x86-64-v3", "x86-64-v4", "x86-64-v4-vnni", "x86-64-v4-bf16")
PAGE = mmap.PAGESIZE
BF16, E4M3 = ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn
NUMPY = {"F32": np.float32, "BF16": BF16, "F16": np.float16, "I32": np.int32, "I8": np.int8, "U8": np.uint8}
MLIR = {np.dtype(np.float32): "f32", np.dtype(BF16): "bf16", np.dtype(np.float16): "f16", np.dtype(E4M3): "f8E4M3FN",
        np.dtype(np.int32): "i32", np.dtype(np.int8): "i8"}
LIBC = ctypes.CDLL(None, use_errno=True)
SOURCE = f'vit.source @ckpt path "model.safetensors" size 1024 header_sha256 "{"0" * 64}"\n'


def host_targets():
    """The rows that this machine can run."""
    flags = pathlib.Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
    needs = {"x86-64-v3": ["avx2", "fma", "f16c"], "x86-64-v4": ["avx512f", "avx512bw", "avx512vl", "avx512dq"],
             "x86-64-v4-vnni": ["avx512vl", "avx512bw", "avx512_vnni"],
             "x86-64-v4-bf16": ["avx512vl", "avx512bw", "avx512_vnni", "avx512_bf16"]}
    return [name for name in TARGETS if all(flag in flags for flag in needs[name])]


def tensor_type(array, dynamic_rows=True):
    dims = [str(d) for d in array.shape]
    if dynamic_rows and dims:
        dims[0] = "?"
    return f"tensor<{'x'.join(dims + [MLIR[array.dtype]])}>"


def weight(name, array):
    """Module-level text of a weight and its type."""
    kind = tensor_type(array, dynamic_rows=False)
    return f'vit.weight @{name} : {kind} {{\n  %0 = vit.read @ckpt "{name}" : {kind}\n  vit.yield %0 : {kind}\n}}\n'


class GuardedBuffer:
    """Shared memory between two pages that cannot be read or written."""

    def __init__(self, array, at_end):
        self.array = np.ascontiguousarray(array)
        size = self.array.nbytes
        body = max(PAGE, (size + PAGE - 1) // PAGE * PAGE)
        self.map = mmap.mmap(-1, body + 2 * PAGE)  # shared and anonymous
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        for guard in (base, base + PAGE + body):
            assert LIBC.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), 0) == 0
        self.address = base + PAGE + (body - size if at_end else 0)
        self.size = size
        ctypes.memmove(self.address, self.array.ctypes.data, size)

    def read(self):
        data = ctypes.string_at(self.address, self.size)
        return np.frombuffer(data, self.array.dtype).reshape(self.array.shape).copy()


def pack(array, layout):
    """A weight [N, K] in the layout that KernelSpec.h defines, written down element by element."""
    if layout == "nk":
        return array
    _, width, depth, dtype, *sums = layout.split(":")
    w, g = int(width[1:]), int(depth[1:])
    n, k = array.shape
    panels, steps = math.ceil(n / w), math.ceil(k / g)
    out = np.zeros((panels, steps, w, g), NUMPY[dtype])
    values = array.astype(np.float32).astype(NUMPY[dtype])
    for p in range(panels):
        for d in range(g):
            rows = values[p * w:(p + 1) * w, d::g]
            out[p, :rows.shape[1], :rows.shape[0], d] = rows.T
    if sums:
        first = np.zeros((panels * w), np.int32)
        first[:n] = -128 * values.astype(np.int32).sum(1)
        first = first.reshape(panels, w).view(np.int8).reshape(panels, 4 // g, w, g)
        out = np.concatenate([first, out], 1)
    return out


def stored(array, dtype, numeric=""):
    """An operand as the kernel finds it in memory: E4M3 as bf16, codes of i8 as bytes plus 128."""
    storage = NUMPY[dtype]
    if numeric == "I8":
        return (array.astype(np.int16) + 128).astype(storage)
    return array if array.dtype == storage else array.astype(np.float32).astype(storage)


def evaluate(expr, scalars):
    if isinstance(expr, int):
        return expr
    if isinstance(expr, str):
        return scalars[int(expr[1:])]
    a, b = evaluate(expr[1], scalars), evaluate(expr[2], scalars)
    return {"+": a + b, "-": a - b, "*": a * b, "ceildiv": -(-a // max(b, 1)), "floordiv": a // max(b, 1), "mod": a % max(b, 1),
            "min": min(a, b), "max": max(a, b)}[expr[0]]


class Kernels:
    """All kernels of one module for one target."""

    def __init__(self, text, target):
        self.folder = tempfile.TemporaryDirectory()
        source, library, specs = (os.path.join(self.folder.name, n) for n in ("in.mlir", "kernels.so", "specs.json"))
        pathlib.Path(source).write_text(SOURCE + text)
        run = subprocess.run([TOOL, source, f"--target={target}", "--emit=so", "-o", library, f"--specs={specs}"],
                             capture_output=True, text=True)
        assert run.returncode == 0, run.stderr + "\n" + text
        self.library_path = library
        self.library = ctypes.CDLL(library)
        self.specs = json.loads(pathlib.Path(specs).read_text())

    @staticmethod
    def assembly(text, target):
        run = subprocess.run([TOOL, "-", f"--target={target}", "--emit=asm"], input=SOURCE + text, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def call(self, operands, results, which=0, at_end=True, parts=2):
        """Runs a kernel on arrays. `operands` by operand number of the op; `results` are arrays of the right shape and
        dtype (E4M3 results come back as E4M3). Views are given as the rows they are views of, with `Columns`."""
        spec = self.specs[which]
        scalars = [(results if s["of"] == "result" else operands)[s["index"]].shape[s["dim"]] for s in spec["scalars"]]
        units = evaluate(spec["units"], scalars)
        buffers, pointers = {}, []
        for operand in spec["operands"]:
            index, storage = operand["index"], NUMPY[operand["dtype"]]
            if operand["role"] == "write":
                filler = np.full(results[index].shape, 77 if storage == np.uint8 else -77, storage)  # what is not written is seen
                buffers[index] = GuardedBuffer(filler, at_end)
                pointers.append(buffers[index].address)
                continue
            array, skip = operands[index], 0
            if isinstance(array, Columns):
                array, skip = array.base, array.first * np.dtype(storage).itemsize
            if operand["role"] == "weight":
                array = pack(array, operand["layout"])
            key = ("read", id(operands[index].base) if isinstance(operands[index], Columns) else index)
            if key not in buffers:
                packed = operand["role"] == "weight"
                buffers[key] = GuardedBuffer(stored(array, operand["dtype"], "" if packed else operand["numeric"]), at_end)
            pointers.append(buffers[key].address + skip)
        function = getattr(self.library, spec["name"])
        function.restype = None
        c_scalars = (ctypes.c_int64 * max(1, len(scalars)))(*scalars)
        c_pointers = (ctypes.c_void_p * len(pointers))(*pointers)
        cuts = sorted({0, units, *(units * i // parts for i in range(parts))})
        child = os.fork()
        if child == 0:
            # Later units first: they may not depend on earlier ones.
            for first, last in reversed(list(zip(cuts, cuts[1:]))):
                function(c_scalars, c_pointers, ctypes.c_int64(first), ctypes.c_int64(last))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert not os.WIFSIGNALED(status), f"{spec['name']} died of {signal.Signals(os.WTERMSIG(status)).name}"
        out = []
        for index, result in enumerate(results):
            data = buffers[index].read()
            if result.dtype == E4M3:
                as_codes = data.astype(np.float32).astype(E4M3)
                assert np.array_equal(as_codes.astype(np.float32), data.astype(np.float32), equal_nan=True), "off the grid"
                data = as_codes
            if result.dtype == np.int8:
                data = (data.astype(np.int16) - 128).astype(np.int8)
            out.append(data)
        return out


class Columns:
    """Columns [first, last) of the rows of a larger array, as tensor.extract_slice sees them."""

    def __init__(self, base, first, last):
        self.base, self.first, self.last = base, first, last
        self.shape = (base.shape[0], last - first)
        self.dtype = base.dtype
        self.values = base[:, first:last]


def ulp_error(found, expected):
    """Distance in units of the last place of f32 at the expected value (f64)."""
    spacing = np.spacing(np.maximum(np.abs(expected), 2.0**-126).astype(np.float32)).astype(np.float64)
    return np.abs(found.astype(np.float64) - expected) / spacing


def op_targets():
    """The rows that differ in the code of most kernels: VNNI adds nothing to them."""
    return [name for name in host_targets() if name != "x86-64-v4-vnni"]
