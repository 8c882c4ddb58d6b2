#!/usr/bin/env python3
"""Streams a stack of large FP8 linears through a weight budget and compares with the disk: compiler's memory, runtime's memory, bytes a second.

The stack is shaped like the text layers of an 8B vision-language model: hidden 4096, MLP 12288, fine-grained E4M3 in blocks of 128 x 128. Everything is seeded
and written to --folder, which must be on the disk to measure. --layers 36 is the full depth, 6.6 GB of codes, --layers 54 are 10 GB, and as much again for the bundle.

    benchmarks/streaming/streaming.py --folder /tmp/stream --layers 4 --budget 256
"""
import argparse
import hashlib
import json
import mmap
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
HIDDEN, MLP, BLOCK = 4096, 12288, 128
LINEARS = {"q": (HIDDEN, HIDDEN), "o": (HIDDEN, HIDDEN), "gate": (MLP, HIDDEN), "up": (MLP, HIDDEN), "down": (HIDDEN, MLP)}


def write_checkpoint(path, layers):
    """Codes and scales of all linears; codes repeat one block of 32 MiB from another place in each tensor, so that no two are equal."""
    entries, at = {}, 0
    for layer in range(layers):
        for name, (n, k) in LINEARS.items():
            for suffix, dtype, shape, size in ((".weight", "F8_E4M3", [n, k], n * k), (".weight_scale_inv", "F32", [n // BLOCK, k // BLOCK], 4 * n * k // BLOCK**2)):
                entries[f"{layer}.{name}{suffix}"] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
                at += size
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    random = np.random.RandomState(0)
    pattern = (random.randint(0, 2, 32 << 20, np.uint8) << 7 | random.randint(0x20, 0x50, 32 << 20).astype(np.uint8)).tobytes() * 3
    with open(path, "wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        for index, entry in enumerate(entries.values()):
            size = entry["data_offsets"][1] - entry["data_offsets"][0]
            if entry["dtype"] == "F32":
                stream.write((random.uniform(0.5, 1.5, size // 4) / 448 / HIDDEN**0.5).astype(np.float32).tobytes())
            else:
                stream.write(pattern[7919 * index % (32 << 20):][:size])
    return hashlib.sha256(len(header).to_bytes(8, "little") + header).hexdigest(), os.path.getsize(path)


def module_text(name, digest, size, layers):
    text, body, count = f'vit.source @ckpt path "{name}" size {size} header_sha256 "{digest}"\n', [], 0
    rows = lambda n, element="f32": f"tensor<?x{n}x{element}>"

    def emit(line):
        nonlocal count
        count += 1
        body.append(f"  %{count}{':2' if 'vit.quantize' in line else ''} = {line}")
        return f"%{count}"

    def linear(layer, part, codes):
        n, k = LINEARS[part]
        w, s = f"tensor<{n}x{k}xf8E4M3FN>", f"tensor<{n // BLOCK}x{k // BLOCK}xf32>"
        nonlocal text
        for suffix, kind, stored in (("w", w, "weight"), ("s", s, "weight_scale_inv")):
            text += (f'vit.weight @b{layer}.{part}.{suffix} : {kind} {{ %0 = vit.read @ckpt "{layer}.{part}.{stored}" : {kind}  vit.yield %0 : {kind} }}\n')
        wv, sv = emit(f"vit.get @b{layer}.{part}.w : {w}"), emit(f"vit.get @b{layer}.{part}.s : {s}")
        return emit(f'vit.linear {codes}#0, {wv} x_scales({codes}#1 : {rows(k // BLOCK)}) w_scales({sv} : {s}) layers ["b{layer}.{part}"] : '
                    f"{rows(k, 'f8E4M3FN')}, {w} -> {rows(n)}")

    def quantise(x, n, layer):
        return emit(f'vit.quantize block {x} block {BLOCK} layers ["{layer}#q"] : {rows(n)} -> {rows(n, "f8E4M3FN")}, {rows(n // BLOCK)}')

    x = "%x"
    for i in range(layers):
        q = linear(i, "q", quantise(x, HIDDEN, f"b{i}.in"))
        o = linear(i, "o", quantise(q, HIDDEN, f"b{i}.q"))
        x = emit(f'vit.residual {x}, {o} layers ["b{i}.res1"] : {rows(HIDDEN)}, {rows(HIDDEN)} -> {rows(HIDDEN)}')
        c = quantise(x, HIDDEN, f"b{i}.res1")
        g, u = linear(i, "gate", c), linear(i, "up", c)
        h = emit(f'vit.glu silu {g}, {u} layers ["b{i}.glu"] : {rows(MLP)}, {rows(MLP)} -> {rows(MLP)}')
        d = linear(i, "down", quantise(h, MLP, f"b{i}.glu"))
        x = emit(f'vit.residual {x}, {d} layers ["b{i}.res2"] : {rows(HIDDEN)}, {rows(HIDDEN)} -> {rows(HIDDEN)}')
    return (text + f'func.func @forward(%x: {rows(HIDDEN)} {{vit.name = "x", vit.dims = [#vit.dim<"tokens", 1, 1, 64>]}}) -> ({rows(HIDDEN)} {{vit.name = "y"}}) {{\n'
            + "\n".join(body) + f"\n  return {x} : {rows(HIDDEN)}\n}}\n")


def run(*command):
    """Seconds, peak resident bytes and processor seconds of a command. This process stays small: a child's peak counts what its parent held."""
    begin = time.perf_counter()
    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE)
    child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command[0]} failed")
    return time.perf_counter() - begin, used.ru_maxrss * 1024, used.ru_utime + used.ru_stime


def forget(path):
    """Takes a file out of the system's cache."""
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def disk_rate(path):
    """Bytes a second of reading a file from the disk in order, past the system's cache, in requests of 8 MiB of which two are under way."""
    size, piece = os.path.getsize(path), 8 << 20
    file = os.open(path, os.O_RDONLY | os.O_DIRECT)

    def read(first):
        buffer = mmap.mmap(-1, piece)  # begins at a page, as O_DIRECT wants
        for at in range(first * piece, size, 2 * piece):
            os.preadv(file, [buffer], at)

    begin = time.perf_counter()
    threads = [threading.Thread(target=read, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    os.close(file)
    return size / seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--budget", type=int, default=256, help="MiB")
    parser.add_argument("--repeat", type=int, default=3, help="runs, in turn with the disk's rate")
    parser.add_argument("--write", action="store_true", help="write the checkpoint only")
    parser.add_argument("--target", default="x86-64-v4-bf16")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.write:
        digest, size = write_checkpoint(options.folder / "stack.safetensors", options.layers)
        (options.folder / "stack.mlir").write_text(module_text("stack.safetensors", digest, size, options.layers))
        np.save(options.folder / "x.npy", np.random.RandomState(1).standard_normal((1, HIDDEN)).astype(np.float32))
        return
    subprocess.run([sys.executable, __file__, *sys.argv[1:], "--write"], check=True)
    size = (options.folder / "stack.safetensors").stat().st_size
    bundle, tools = options.folder / "stack.vitrify", ROOT / "build" / "bin"
    seconds, compiler, compile_cpu = run(tools / "vitrify-compile", options.folder / "stack.mlir", "-o", bundle, f"--target={options.target}", "--precision=bf16")
    weights = bundle / "weights.safetensors"
    budget, bytes_ = options.budget << 20, weights.stat().st_size
    command = [tools / "vitrify-run", bundle, f"--input={options.folder / 'x.npy'}", f"--output={options.folder / 'y.npy'}"]
    # In turn, so that whatever else the machine does slows both.
    rates, streamed = [], []
    for _ in range(options.repeat):
        forget(weights)
        rates.append(disk_rate(weights))
        streamed.append(run(*command, f"--weight-budget={budget}"))
    answer = np.load(options.folder / "y.npy")
    rates.append(disk_rate(weights))
    rate, took = statistics.median(rates), statistics.median(seconds for seconds, *_ in streamed)
    # The oracle: all pages of the file at once where they fit, else another budget and so other things read at other times.
    _, whole, _ = run(*command, "--low-memory") if bytes_ < 4 << 30 else run(*command, f"--weight-budget={budget * 2}")
    same = bool(np.array_equal(answer, np.load(options.folder / "y.npy")) and np.isfinite(answer).all())
    print(json.dumps({"layers": options.layers, "checkpoint_bytes": size, "weights_bytes": bytes_, "compile_seconds": round(seconds, 2),
                      "compile_processor_seconds": round(compile_cpu, 2), "compiler_peak_bytes": compiler, "budget_bytes": budget,
                      "run_peak_bytes": max(peak for _, peak, _ in streamed), "other_run_peak_bytes": whole,
                      "disk_bytes_per_second": [int(r) for r in rates], "run_seconds": [round(seconds, 2) for seconds, *_ in streamed],
                      "run_processor_seconds": round(min(cpu for *_, cpu in streamed), 2), "streamed_bytes_per_second": int(bytes_ / took),
                      "share_of_disk": round(bytes_ / took / rate, 3), "same_answer": same, "cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}))


main()
