"""Named values of a model from compiled code: what calibration, comparison and reports look at, some twenty times sooner than from the reference interpreter."""
import tempfile
from pathlib import Path

import numpy as np

from vitrify import evaluate as interpreter
from vitrify.errors import VitrifyError
from vitrify.progress import Progress
from vitrify.runtime import Program
from vitrify.targets import host_target
from vitrify.tools import run_tool

BATCH = 16                # images evaluated at once by the interpreter: bounds the memory
PREFIX = "value:"         # of the results that vit-expose-values adds
VALUE_BYTES = 512 << 20   # of all named values of a batch, by compiled code


class Taps:
    """A model compiled for this machine with every named value as a result; used as a context manager.

    A float32 model with an op that this machine has no kernel for is evaluated by the reference interpreter: `compiled` is False then.
    """

    def __init__(self, module, precision="f32", ranges=None):
        self.module, self.compiled = Path(module), False
        self._options = [f"--precision={precision}"] + ([f"--ranges={ranges}"] if ranges else [])

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="vitrify-taps-")
        bundle = Path(self._folder.name) / "taps.vitrify"
        try:
            run_tool("vitrify-compile", [self.module, f"--target={host_target()}", *self._options, "--no-fuse", "--expose-values", "-o", bundle])
            self._context = Program(bundle).context()
            self.compiled = True
        except VitrifyError:
            pass  # the interpreter says it again if the module itself is wrong
        return self

    def __exit__(self, *_):
        self._context = None
        self._folder.cleanup()

    def visit(self, x, visitor, what="images"):
        """Calls visitor(layers, array, share) for each named value in the order of the program, batch by batch; share: this batch's of all images."""
        step, done = 1 if self.compiled else BATCH, 0
        with Progress(what, len(x)) as progress:
            while done < len(x):
                batch = x[done:done + step]
                if self.compiled:
                    values = self._context.run(batch)
                    for name, array in values.items():
                        if name.startswith(PREFIX):
                            visitor(name.removeprefix(PREFIX).split("+"), array, len(batch) / len(x))
                    step = max(1, VALUE_BYTES * len(batch) // sum(a.nbytes for a in values.values()))
                else:
                    interpreter.evaluate(self.module, batch, lambda layers, array: visitor(layers, array, len(batch) / len(x)))
                done += len(batch)
                progress.update(done)


def dequantised(codes, scales):
    """Codes [rows, K] times scales: one, one a row [rows], or one for each group of a row [rows, groups]. Bytes are codes of int8 plus 128."""
    if codes.dtype == np.uint8:
        codes = codes.astype(np.float32) - 128
    if scales.ndim == 2:
        scales = np.repeat(scales, -(-codes.shape[1] // scales.shape[1]), axis=1)[:, :codes.shape[1]]
    elif scales.size > 1:
        scales = scales.reshape(-1, *[1] * (codes.ndim - 1))
    return codes * scales


def named_values(module, x, precision="f32", ranges=None):
    """What evaluate.named_values gives, from compiled code: codes are multiplied by the scales that the program itself used.

    Comes from the interpreter where this machine has no kernel for an op of the model.
    """
    pieces = {}

    def visit(layers, array, _):
        pieces.setdefault("+".join(layers), []).append(array)

    with Taps(module, precision, ranges) as taps:
        if not taps.compiled:
            return interpreter.named_values(module, x, precision, ranges)
        taps.visit(x, visit, f"images in {precision}")
    found = {}
    for names, arrays in pieces.items():
        layers = names.split("+")
        name, quantised, result = layers[-1].partition("#")
        if quantised:  # codes are result 0, their scales result 1
            if result.endswith(".0") and precision != "f32":
                found[name] = np.concatenate([dequantised(*pair) for pair in zip(arrays, pieces[names[:-1] + "1"])])
        elif interpreter.is_joined(layers):
            found.update(zip(layers, np.split(np.concatenate(arrays), len(layers), axis=1)))
        else:
            found.setdefault(name, np.concatenate(arrays))
    return found
