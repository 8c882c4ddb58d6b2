#===- kernels.py - x86 kernels as shares of the peak of the same core -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""Times single kernels on one thread, beside a loop of multiply-adds that does nothing else.

Times are CPU time of the thread (other processes may hold the core), the best of several calls, and the peak is measured
again before each kernel: cores change their clock. Prints one line of JSON a kernel.

    build/venv/bin/python benchmarks/x86/kernels.py [--target x86-64-v4-bf16] [--rows 197] [--only linear]
"""
import argparse
import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "Python"))
from x86_kernels import BF16, E4M3, Kernels, evaluate, pack, stored, tensor_type, weight  # noqa: E402

VIT_B = [("qkv", 2304, 768), ("proj", 768, 768), ("fc1", 3072, 768), ("fc2", 768, 3072)]
EPILOGUES = {
    "qkv": ("bf16", "%h = arith.truncf %r : f32 to bf16\n vit.yield %h : bf16"),
    "proj": ("f32", "%z = arith.addf %r, %res : f32\n vit.yield %z : f32"),
    "fc1": ("bf16", "%g = vit.act gelu_erf %r : f32\n %h = arith.truncf %g : f32 to bf16\n vit.yield %h : bf16"),
    "fc2": ("f32", "%z = arith.addf %r, %res : f32\n vit.yield %z : f32"),
}


def build_peak():
    folder = tempfile.mkdtemp()
    library = f"{folder}/peak.so"
    subprocess.run(["clang-22", "-O2", "-mavx512f", "-mavx512bf16", "-mavx512vnni", "-mfma", "-shared", "-fPIC", "-o", library,
                    ROOT / "benchmarks" / "x86" / "peak.c"], check=True)
    peak = ctypes.CDLL(library)
    for name in ("peak_fma512", "peak_fma256", "peak_bf16", "peak_int8", "peak_madd256"):
        getattr(peak, name).restype = ctypes.c_double
    return peak


def best(call, seconds=0.4, least=5):
    times, begin = [], time.thread_time_ns()
    while len(times) < least or time.thread_time_ns() - begin < seconds * 1e9:
        start = time.thread_time_ns()
        call()
        times.append(time.thread_time_ns() - start)
    return min(times) * 1e-9


def gflops(peak, name):
    operations = []
    seconds = best(lambda: operations.append(getattr(peak, name)(ctypes.c_int64(400_000))), 0.2)
    return operations[0] / seconds / 1e9


def bind(kernels, operands, results):
    """A call without the copies and guard pages of the tests."""
    spec = kernels.specs[0]
    scalars = [(results if s["of"] == "result" else operands)[s["index"]].shape[s["dim"]] for s in spec["scalars"]]
    keep, pointers = [], []
    for operand in spec["operands"]:
        array = results[operand["index"]] if operand["role"] == "write" else operands[operand["index"]]
        if operand["role"] == "weight":
            array = pack(array, operand["layout"])
        array = stored(array, operand["dtype"], "" if operand["role"] == "weight" else operand["numeric"])
        aligned = np.empty(array.nbytes + 64, np.uint8)
        start = -aligned.ctypes.data % 64
        view = aligned[start:start + array.nbytes].view(array.dtype).reshape(array.shape)
        view[...] = array
        keep.append(view)
        pointers.append(view.ctypes.data)
    function = getattr(kernels.library, spec["name"])
    function.restype = None
    arguments = ((ctypes.c_int64 * max(1, len(scalars)))(*scalars), (ctypes.c_void_p * len(pointers))(*pointers))
    units = ctypes.c_int64(evaluate(spec["units"], scalars))

    def call():
        function(*arguments, ctypes.c_int64(0), units)

    call.keep = keep
    return call


def linear(target, name, rows, n, k, precision):
    dtype = {"f32": np.float32, "bf16": BF16, "fp8": E4M3, "int8": np.int8}[precision]
    rng = np.random.default_rng(0)
    if precision == "int8":
        x, w = (rng.integers(-127, 128, size).astype(dtype) for size in ((rows, k), (n, k)))
    else:
        x = rng.standard_normal((rows, k)).astype(np.float32).astype(dtype)
        w = (rng.standard_normal((n, k)) / k**0.5).astype(np.float32).astype(dtype)
    out, tail = EPILOGUES[name]
    if precision == "f32":
        out, tail = "f32", tail.replace("%h = arith.truncf %r : f32 to bf16\n vit.yield %h : bf16", "vit.yield %r : f32") \
            .replace("%h = arith.truncf %g : f32 to bf16\n vit.yield %h : bf16", "vit.yield %g : f32")
    scaled = precision in ("fp8", "int8")
    if scaled and name == "fc1":  # requantised as it leaves
        kind = {"fp8": "f8E4M3FN", "int8": "i8"}[precision]
        out, tail = kind, f"%g = vit.act gelu_erf %r : f32\n %c = vit.convert %g sat : f32 to {kind}\n vit.yield %c : {kind}"
    ins = [("bias", "(n)", f"tensor<{n}xf32>"), ("residual", "(m, n)", f"tensor<?x{n}xf32>"), ("scale", "(n)", f"tensor<{n}xf32>")]
    ins = ins[:3 if scaled else 2]
    first = "%r = math.fma %acc, %s, %b : f32" if scaled else "%r = arith.addf %acc, %b : f32"
    types = f"{tensor_type(x)}, {tensor_type(w, False)}"
    text = weight("w", w) + f"""func.func @f(%x: {tensor_type(x)}, {", ".join(f"%{i}: {t}" for i, _, t in ins)}) {{
  %w = vit.get @w : {tensor_type(w, False)}
  %y = vit.linear %x, %w layers ["l"] : {types} -> tensor<?x{n}x{out}>
    epilogue({", ".join(f"%{i} [(m, n) -> {m}] : {t}" for i, m, t in ins)}) group 1 {{
  ^bb0(%acc: f32, %b: f32, %res: f32{", %s: f32" if scaled else ""}):
    {first}
    {tail}
  }}
  return
}}
"""
    operands = {0: x, 1: w, 2: rng.standard_normal(n).astype(np.float32), 3: rng.standard_normal((rows, n)).astype(np.float32),
                4: np.full(n, 0.01, np.float32)}
    kernels = Kernels(text, target)
    result = np.zeros((rows, n), {"bf16": BF16, "f32": np.float32, "f8E4M3FN": E4M3, "i8": np.int8}[out])
    return kernels, bind(kernels, operands, [result]), 2.0 * rows * n * k


def attention(target, rows, precision, heads=12, hd=64):
    dtype = np.float32 if precision == "f32" else BF16
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((rows, heads * hd)).astype(np.float32).astype(dtype) for _ in range(3))
    kind = tensor_type(q)
    text = (f"func.func @f(%q: {kind}, %k: {kind}, %v: {kind}) {{\n%r = vit.attention %q, %k, %v heads {heads} kv_heads "
            f'{heads} scale 0.125 uniform {rows} layers ["a"] : {kind}, {kind}, {kind} -> {kind}\nreturn\n}}\n')
    kernels = Kernels(text, target)
    return kernels, bind(kernels, {0: q, 1: k, 2: v}, [np.zeros(q.shape, dtype)]), 4.0 * rows * rows * heads * hd


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="x86-64-v4-bf16")
    parser.add_argument("--rows", default="197", help="numbers of rows; from one token to a batch of 32: 1,8,64,197,1576,6304")
    parser.add_argument("--precision", default="f32,bf16,fp8,int8")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    peak = build_peak()
    for rows in map(int, options.rows.split(",")):
        for precision in options.precision.split(","):
            measure(options, peak, rows, precision)


def measure(options, peak, rows, precision):
    works = [(name, lambda n=n, k=k, name=name: linear(options.target, name, rows, n, k, precision)) for name, n, k in VIT_B]
    if precision in ("f32", "bf16"):
        works.append(("attention", lambda: attention(options.target, rows, precision)))
    for name, make in works:
        if options.only and options.only not in name:
            continue
        kernels, call, operations = make()
        kind = kernels.specs[0]["precision"]
        v3 = options.target == "x86-64-v3"
        loop = {"bf16": "peak_bf16", "int8": "peak_madd256" if v3 else "peak_int8", "f32": "peak_fma256" if v3 else "peak_fma512"}[kind]
        limit = gflops(peak, loop)
        seconds = best(call)
        limit = max(limit, gflops(peak, loop))
        print(json.dumps({"kernel": kernels.specs[0]["name"], "layer": name, "precision": precision, "rows": rows,
                          "ms": round(seconds * 1e3, 4), "gflops": round(operations / seconds / 1e9, 1),
                          "peak_gflops": round(limit, 1), "share": round(operations / seconds / 1e9 / limit, 3)}), flush=True)


if __name__ == "__main__":
    main()
