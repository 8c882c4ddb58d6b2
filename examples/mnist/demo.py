#!/usr/bin/env python3
"""A trained vision transformer becomes an FP8 bundle that classifies handwritten digits. Everything printed is measured in this run."""
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from digits import HERE, digits, pixels
from vitrify.commands.bench import measure
from vitrify.compare import compare
from vitrify.compiler import CompileOptions, calibrate, compile_module
from vitrify.errors import VitrifyError
from vitrify.importer import import_folder
from vitrify.targets import host_target
from vitrify.tools import run_tool

OUT = HERE.parents[1] / "build" / "demo"
PRECISIONS = ("f32", "bf16", "fp8")
BATCH = 50
GPU = "sm_89"     # the RTX 4090, L4 and L40S
EMULATED = 50     # digits for the emulated GPU, some milliseconds each


def step(text, start):
    print(f"  {text:58} {time.monotonic() - start:6.2f} s", flush=True)


def weight_bytes(bundle):
    return json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["weights"]["tensor_bytes"]


def classify(bundle, array, count):
    """Logits [count, 10] of all images in the array."""
    logits = bundle.with_suffix(".npy")
    run_tool("vitrify-run", [bundle, "--device=cpu", f"--input={array}", f"--batch={BATCH}", f"--output={logits}"])
    found = np.load(logits)
    if found.shape != (count, 10):
        raise VitrifyError(f"{bundle}: expected logits of shape {[count, 10]}, found {list(found.shape)}")
    return found


def compile_for_cpu_and_gpu(module, bundle, ranges):
    """One bundle with code for this machine's processor and for a GPU; why there is no GPU code, or ""."""
    try:
        compile_module(module, bundle, CompileOptions(targets=(host_target(), GPU)), ranges)
        return ""
    except VitrifyError as error:
        if "ptxas" not in str(error) and "fatbinary" not in str(error):
            raise
        compile_module(module, bundle, CompileOptions(), ranges)
        return str(error)


def compare_with_gpu(bundle, array, logits):
    """Runs the bundle's GPU code on the emulated GPU, every instruction checked; says how its answers differ from the processor's."""
    some, out = OUT / "some.npy", OUT / "emulated.npy"
    np.save(some, np.load(array)[:EMULATED])
    run_tool("vitrify-run", [bundle, f"--device=emulator:{GPU}", f"--input={some}", f"--output={out}"])
    found, expected = np.load(out), logits[:EMULATED]
    same = int((found.argmax(-1) == expected.argmax(-1)).sum())
    return f"gives the processor's answer on {same} of {EMULATED} digits; its logits differ by at most {100 * np.abs(found - expected).max() / np.ptp(expected):.2f} % of their range"


def picture(path, images, labels, logits, errors):
    """Some digits with their FP8 answers, those first where FP8 and f32 differ or are wrong; and FP8's error layer by layer."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    f32, fp8 = logits["f32"].argmax(-1), logits["fp8"].argmax(-1)
    order = np.concatenate([np.flatnonzero(f32 != fp8)[:6], np.flatnonzero((fp8 != labels) & (f32 == fp8))[:6], np.flatnonzero(fp8 == labels)])[:24]
    figure = plt.figure(figsize=(12, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1))
    for axis, i in zip(left.subplots(4, 6).flat, order):
        axis.imshow(images[i], cmap="gray_r")
        axis.set_axis_off()
        right_answer = fp8[i] == labels[i]
        note = f"{fp8[i]}" if right_answer else f"{fp8[i]}, is {labels[i]}" + ("" if f32[i] == fp8[i] else f"\n(f32: {f32[i]})")
        axis.set_title(note, fontsize=8, color="black" if right_answer else "firebrick")
    left.suptitle("answers of the FP8 bundle", fontsize=11)
    axis = right.subplots()
    names = [d.name for d in errors]
    axis.barh(range(len(names)), [max(d.sqnr_db, 0) for d in errors], color=["firebrick" if d.bad else "steelblue" for d in errors])
    axis.set_yticks(range(len(names)), names, fontsize=6)
    axis.invert_yaxis()
    axis.set_xlabel("signal to quantisation noise, dB (higher is better)")
    axis.set_title("FP8 against f32, layer by layer", fontsize=11)
    figure.savefig(path, dpi=110)


def main():
    start = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    print("A vision transformer trained on MNIST, from its checkpoint to FP8:")
    module = OUT / "model.mlir"
    done = import_folder(HERE / "vit_mnist_gelu_rescaled", module)
    step(f"imported: {done.config.layers} layers, {done.parameters:,} parameters", start)

    images, labels = digits("test-1000")
    test, calibration = OUT / "test.npy", OUT / "calibration.npy"
    np.save(test, pixels(images, done.preprocess))
    np.save(calibration, pixels(digits("calibration-200")[0], done.preprocess))
    count = calibrate(module, [calibration], OUT / "ranges.json")
    step(f"calibrated on {count} other digits", start)

    logits, rows, no_gpu = {}, [], ""
    for precision in PRECISIONS:
        bundle = OUT / f"{precision}.vitrify"
        if precision == "fp8":
            no_gpu = compile_for_cpu_and_gpu(module, bundle, OUT / "ranges.json")
        else:
            compile_module(module, bundle, CompileOptions(precision=precision))
        logits[precision] = classify(bundle, test, len(images))
        speed = measure(bundle, batch=BATCH, runs=20, warmup=3)
        rows.append((precision, 100 * float((logits[precision].argmax(-1) == labels).mean()), speed["images_per_s"], weight_bytes(bundle), speed["peak_rss_bytes"]))
        step(f"{precision}: compiled, {len(images):,} digits classified, measured", start)

    gpu = f"No GPU code: {no_gpu}."
    if not no_gpu:
        gpu = f"The same bundle's GPU code ({GPU}), run on the emulated GPU, {compare_with_gpu(OUT / 'fp8.vitrify', test, logits['fp8'])}."
        step(f"fp8: {EMULATED} digits on the emulated GPU", start)
    errors = layer_errors(module, OUT / "ranges.json", np.load(test)[:32])
    picture(OUT / "demo.png", images, labels, logits, errors)
    print(f"\n{'precision':>9} {'accuracy':>9} {'images/s':>10} {'weights':>12} {'peak memory':>12}")
    for precision, accuracy, speed, size, peak in rows:
        print(f"{precision:>9} {accuracy:8.2f}% {speed:10,.0f} {size / 1024:8.0f} KiB {peak / 2**20:8.1f} MiB")
    same = int((logits["f32"].argmax(-1) == logits["fp8"].argmax(-1)).sum())
    worst = min(errors, key=lambda d: d.sqnr_db)
    print(f"\nfp8 gives f32's answer on {same:,} of {len(images):,} digits; its worst layer is {worst.name} with {worst.sqnr_db:.1f} dB.")
    print(gpu)
    print(f"Bundles, answers and the picture demo.png are in {OUT.relative_to(Path.cwd()) if OUT.is_relative_to(Path.cwd()) else OUT} "
          f"({time.monotonic() - start:.1f} s).")


def layer_errors(module, ranges, x):
    """FP8's difference from f32 for every named value, as vitrify compare finds it."""
    from vitrify.evaluate import named_values

    return compare(named_values(module, x), named_values(module, x, precision="fp8", ranges=ranges))


if __name__ == "__main__":
    try:
        main()
    except VitrifyError as error:
        sys.exit(f"demo: error: {error}")
