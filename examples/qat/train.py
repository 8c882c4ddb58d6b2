#!/usr/bin/env python3
"""Trains the demo's model for FP8 or NVFP4 in about a minute, exports it, compiles it, and shows that what runs is what was trained.

    python examples/qat/train.py --digits test/Golden/mnist/t10k --output build/qat

Needs PyTorch and this package. The first 8,000 of the digits train, the rest test; nobody's labels are needed but to print accuracy.
"""
import argparse
import copy
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "examples/mnist"), str(ROOT / "examples/qat"), str(ROOT / "python")]
from digits import read_idx  # noqa: E402
from vit import ViT  # noqa: E402

import vitrify  # noqa: E402
from vitrify import qat  # noqa: E402


def accuracy(model, x, labels):
    with torch.no_grad():
        return 100 * float((torch.cat([model(b) for b in x.split(500)]).argmax(1) == labels).float().mean())


def spread(model, factor):
    """Gives every 16th column of the weights after a norm `factor` times its size, and that norm's output so much less: the model computes what it did, but has
    columns of different sizes in each block, as large models have and this small one has not."""
    with torch.no_grad():
        for layer in model.vit.encoder.layer:
            inner = layer.attention.attention
            for norm, linears in ((layer.layernorm_before, (inner.query, inner.key, inner.value)), (layer.layernorm_after, (layer.intermediate.dense,))):
                for tensor in (norm.weight, norm.bias):
                    tensor[::16] /= factor
                for linear in linears:
                    linear.weight[:, ::16] *= factor


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "examples/mnist/vit_mnist_gelu_rescaled")
    parser.add_argument("--digits", default=str(ROOT / "test/Golden/mnist/t10k"), help="path before -images-idx3-ubyte.gz")
    parser.add_argument("--output", type=Path, default=ROOT / "build/qat")
    parser.add_argument("--seconds", type=float, default=50, help="of training")
    parser.add_argument("--steps", type=int, help="of training, instead of seconds: the same work on any machine")
    parser.add_argument("--precision", choices=qat.LINEARS, default="e4m3")
    parser.add_argument("--spread", type=float, default=1, help="columns of a weight differ in size by this factor (a power of two)")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    images, labels = (read_idx(f"{options.digits}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    x = (torch.from_numpy(images.copy())[:, None].float() / 255 - 0.1307) / 0.3081
    y = torch.from_numpy(labels.astype(np.int64))
    train, test, wanted = x[:8000], x[8000:], y[8000:]

    teacher = ViT(options.model).eval()
    spread(teacher, options.spread)
    student = copy.deepcopy(teacher)
    names = qat.prepare(student, precision=options.precision)
    qat.calibrate(student, train[:500].split(100))
    told = {"linears": len(names), "float": accuracy(teacher, test, wanted), "before": accuracy(student, test, wanted)}

    layers = [f"vit.encoder.layer.{i}" for i in range(len(teacher.vit.encoder.layer))] + ["classifier"]
    aligned = qat.Alignment(student, teacher, layers)
    with torch.no_grad():
        told["loss_before"] = float(aligned(test[:500])[1])
    # Steps in proportion to each tensor: the model's tensors differ in size by a factor of 2^16.
    groups = [{"params": [p], "lr": 3e-4 * float(p.detach().square().mean().sqrt())} for p in student.parameters()]
    optimizer = torch.optim.AdamW(groups, weight_decay=0)
    begin, steps = time.monotonic(), 0
    while (passed := steps / options.steps if options.steps else (time.monotonic() - begin) / options.seconds) < 1:
        for group in optimizer.param_groups: # down to nothing at the end
            group["lr"] = group.setdefault("first_lr", group["lr"]) * (1 - passed)
        loss = aligned(train[torch.randint(len(train), (128,))])[1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    with torch.no_grad():
        told |= {"steps": steps, "loss_after": float(aligned(test[:500])[1]), "after": accuracy(student, test, wanted)}

    checkpoint, bundle = options.output / "checkpoint", options.output / "trained.vitrify"
    qat.export(student, options.model, checkpoint)
    # Norms, attention and the head stay in float32: only what was trained in codes is in codes.
    vitrify.compile(checkpoint, None, bundle, vitrify.CompileOptions(precision="f32"))
    program = vitrify.Program(bundle)
    found = np.concatenate([program(batch.numpy()) for batch in test.split(200)])
    with torch.no_grad():
        expected = torch.cat([student(batch) for batch in test.split(200)]).numpy()
    told["compiled"] = 100 * float((found.argmax(1) == wanted.numpy()).mean())
    told["same_answers"] = int((found.argmax(1) == expected.argmax(1)).sum())
    told["images"] = len(test)
    told["median_error"] = float(np.median(np.abs(found - expected).max(1)) / np.abs(expected).max())
    print(json.dumps(told))


if __name__ == "__main__":
    main()
