"""Named values of a model in float32 from compiled code: what calibration looks at, some twenty times sooner than from the reference interpreter."""
import tempfile
from pathlib import Path

from vitrify.errors import VitrifyError
from vitrify.evaluate import evaluate
from vitrify.runtime import Program
from vitrify.targets import host_target
from vitrify.tools import run_tool

BATCH = 16                # images evaluated at once by the interpreter: bounds the memory
PREFIX = "value:"         # of the results that vit-expose-values adds
VALUE_BYTES = 512 << 20   # of all named values of a batch, by compiled code


class Taps:
    """A model compiled for this machine with every named value as a result; used as a context manager.

    A model with an op that this machine has no kernel for is evaluated by the reference interpreter: `compiled` is False then.
    """

    def __init__(self, module):
        self.module, self.compiled = Path(module), False

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="vitrify-taps-")
        bundle = Path(self._folder.name) / "taps.vitrify"
        try:
            run_tool("vitrify-compile", [self.module, f"--target={host_target()}", "--precision=f32", "--no-fuse", "--expose-values", "-o", bundle])
            self._context = Program(bundle).context()
            self.compiled = True
        except VitrifyError:
            pass  # the interpreter says it again if the module itself is wrong
        return self

    def __exit__(self, *_):
        self._context = None
        self._folder.cleanup()

    def visit(self, x, visitor):
        """Calls visitor(layers, array, share) for each named value in the order of the program, batch by batch; share: this batch's of all images."""
        step, done = 1 if self.compiled else BATCH, 0
        while done < len(x):
            batch = x[done:done + step]
            done += len(batch)
            if not self.compiled:
                evaluate(self.module, batch, lambda layers, array: visitor(layers, array, len(batch) / len(x)))
                continue
            values = self._context.run(batch)
            for name, array in values.items():
                if name.startswith(PREFIX):
                    visitor(name.removeprefix(PREFIX).split("+"), array, len(batch) / len(x))
            step = max(1, VALUE_BYTES * len(batch) // sum(a.nbytes for a in values.values()))
