"""Runs bundles inside this process: `Program` opens one, `Context` is the memory of one run at a time.

Arrays are taken as they are (NumPy, or anything with DLPack, on the CPU or on the program's GPU) and are not copied unless they are not
dense. Runs let other Python threads go on: any number of contexts of one program may run at the same time.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from vitrify.errors import VitrifyError
from vitrify.extension import load

_CODES = {1: "invalid argument", 2: "not found", 3: "data loss", 4: "unsupported", 5: "resource exhausted", 6: "internal", 7: "device error",
          8: "cancelled"}
_NUMPY = {"f32": np.float32, "f16": np.float16, "i8": np.int8, "u8": np.uint8, "i32": np.int32, "i64": np.int64}
# Types that NumPy has from ml_dtypes and cannot hand over itself: their bytes go under an integer's name.
_BITS = {"bfloat16": ("bf16", np.uint16), "float8_e4m3fn": ("f8e4m3", np.uint8)}


@dataclass(frozen=True)
class Argument:
    """An input or output: its name, its element type in the bundle, and its shape (a size, a symbol's name, or None where it is computed)."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class Symbol:
    """A size that a run may choose from min to max; kernels were chosen for `tuned`."""

    name: str
    min: int
    tuned: int
    max: int


@dataclass(frozen=True)
class Entry:
    """A function of the bundle."""

    name: str
    symbols: tuple[Symbol, ...]
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]


@dataclass(frozen=True)
class StepTime:
    """One step of a profiled run."""

    layers: str
    kernel: str
    nanoseconds: int


def _raised(error):
    code, message = error.args
    return VitrifyError(message, code=_CODES.get(code, "internal"))


def _frames(array, argument):
    """u8 images [batch, height, width, channels] for a float input are normalised by the runtime."""
    return getattr(array, "dtype", None) == np.uint8 and argument.dtype != "u8"


def _given(array, argument):
    """An argument as the extension takes it: a dense array, the type its bytes mean, and whether it holds frames."""
    if isinstance(array, (list, tuple, int, float)):
        array = np.asarray(array, dtype=np.float32)
    if isinstance(array, np.ndarray):
        array = np.ascontiguousarray(array)
        name, bits = _BITS.get(array.dtype.name, ("", None))
        if bits:
            return array.view(bits), name, False
    elif not hasattr(array, "__dlpack__"):
        raise VitrifyError(f"{argument.name}: expected an array (NumPy or DLPack), found {type(array).__name__}", code="invalid argument")
    return array, "", bool(_frames(array, argument))


class Program:
    """An opened bundle: code, plan and weights, shared by its contexts.

    path: folder written by `vitrify compile`. device: "cpu", "cuda", "cuda:N" or "emulator". target: one of the bundle's, or the best that the
    device runs. threads: CPU threads of a context (0: all). memory: "fast", or "low" to leave weights in the file's pages. weight_budget: bytes
    of weights to keep resident with memory="low" (0: no limit). require_signature: a PEM file with an Ed25519 public key.
    Raises VitrifyError when the bundle is damaged, or not for this machine.
    """

    def __init__(self, path: str | Path, device: str = "cpu", *, target: str = "", threads: int = 0, memory: str = "fast", weight_budget: int = 0,
                 require_signature: str | Path = ""):
        if memory not in ("fast", "low"):
            raise VitrifyError(f"unknown memory {memory!r}; expected fast or low", code="invalid argument")
        if threads < 0 or weight_budget < 0:
            raise VitrifyError(f"threads and weight_budget: expected 0 or more, found {threads} and {weight_budget}", code="invalid argument")
        self._module = load()
        driver = ""
        if device == "emulator":
            from vitrify.emulator import library

            device, driver = "cuda", str(library())
        try:
            self._program = self._module.open(str(path), device, target, driver, threads, memory == "low", weight_budget, str(require_signature))
        except self._module.Error as error:
            raise _raised(error) from None
        told = self._program.describe()
        self.name, self.precision, self.target, self.device = (told[k] for k in ("name", "precision", "target", "device"))
        self.labels: tuple[str, ...] = tuple(told["labels"])
        self.weight_bytes: int = told["weight_bytes"]
        self.threads: int = told["threads"]
        self.entries: dict[str, Entry] = {
            e["name"]: Entry(e["name"], tuple(Symbol(*s) for s in e["symbols"]), *(tuple(Argument(n, d, tuple(s)) for n, d, s in e[k])
                                                                                   for k in ("inputs", "outputs")))
            for e in told["entries"]}
        self._own: Context | None = None

    def entry(self, name: str = "") -> Entry:
        """An entry by name; the first without one."""
        if not name:
            return next(iter(self.entries.values()))
        if name not in self.entries:
            raise VitrifyError(f"no entry {name!r}; the bundle has {', '.join(self.entries)}", code="not found")
        return self.entries[name]

    def context(self, threads: int = 0) -> Context:
        """Memory for one run at a time, with so many CPU threads (0: the program's)."""
        return Context(self, threads)

    def memory(self, entry: str = "", **symbols: int) -> dict[str, int]:
        """Bytes that a run needs: arena, staging, weights, scratch. Symbols that are not given take their tuned value."""
        found = self.entry(entry)
        unknown = set(symbols) - {s.name for s in found.symbols}
        if unknown:
            raise VitrifyError(f"no symbol {', '.join(sorted(unknown))}; the entry has {', '.join(s.name for s in found.symbols)}", code="invalid argument")
        try:
            return self._program.memory(entry, [symbols.get(s.name, s.tuned) for s in found.symbols])
        except self._module.Error as error:
            raise _raised(error) from None

    def __call__(self, *inputs: Any, entry: str = "") -> Any:
        """Runs an entry in a context of the program's own. One output is returned as it is, several as a tuple."""
        if self._own is None:
            self._own = self.context()
        outputs = tuple(self._own.run(*inputs, entry=entry).values())
        return outputs[0] if len(outputs) == 1 else outputs

    def __repr__(self):
        return f"<vitrify.Program {self.name!r}, {self.precision}, {self.target} on {self.device}>"


class Context:
    """Memory of one run at a time. Different contexts of a program run at the same time from different threads."""

    def __init__(self, program: Program, threads: int = 0):
        self.program = program
        self._module = program._module
        try:
            self._context = program._program.context(threads)
        except self._module.Error as error:
            raise _raised(error) from None

    def run(self, *inputs: Any, entry: str = "", out: Mapping[str, Any] | None = None, time_limit: float = 0, profile: bool = False,
            **named: Any) -> dict[str, Any]:
        """Runs an entry and returns its outputs by name.

        inputs: arrays in the entry's order, or by name. u8 images [batch, height, width, channels] are normalised as the bundle's
        preprocess.json says. out: arrays to write to, by output name; others are new, float32 where the output is a float.
        time_limit: seconds, 0 for none. profile: keep the time of every step for `profile()`.
        Raises VitrifyError with code "cancelled" when the limit or `cancel` stopped it.
        """
        e = self.program.entry(entry)
        given = self._inputs(e, inputs, named)
        out = dict(out or {})
        unknown = set(out) - {a.name for a in e.outputs}
        if unknown:
            raise VitrifyError(f"no output {', '.join(sorted(unknown))}; the entry has {', '.join(a.name for a in e.outputs)}", code="invalid argument")
        if time_limit < 0:
            raise VitrifyError(f"time_limit: expected 0 or more seconds, found {time_limit}", code="invalid argument")
        try:
            for argument, (dtype, shape) in zip(e.outputs, self.program._program.outputs_for(e.name, given)):
                if argument.name not in out:
                    out[argument.name] = np.empty(shape, _NUMPY.get(dtype, np.float32))
            outputs = [self._target(out[a.name], a) for a in e.outputs]
            self._context.run(e.name, given, outputs, float(time_limit), profile)
        except self._module.Error as error:
            raise _raised(error) from None
        except TypeError:
            raise VitrifyError("expected dense row-major arrays, found one with other strides or one that may not be written", code="invalid argument") from None
        return {a.name: out[a.name] for a in e.outputs}

    def cancel(self) -> None:
        """Stops the run in progress, from any thread; without one this does nothing."""
        self._context.cancel()

    def profile(self) -> list[StepTime]:
        """The steps of the last run with profile=True."""
        try:
            return [StepTime(*step) for step in self._context.profile()]
        except self._module.Error as error:
            raise _raised(error) from None

    @staticmethod
    def _inputs(entry: Entry, positional: Sequence[Any], named: Mapping[str, Any]):
        names = [a.name for a in entry.inputs]
        if len(positional) > len(names):
            raise VitrifyError(f"{entry.name} takes {len(names)} inputs ({', '.join(names)}), found {len(positional)}", code="invalid argument")
        by_name = dict(zip(names, positional))
        for name, array in named.items():
            if name not in names or name in by_name:
                raise VitrifyError(f"input {name!r} is {'given twice' if name in by_name else 'not one of ' + ', '.join(names)}", code="invalid argument")
            by_name[name] = array
        missing = [n for n in names if n not in by_name]
        if missing:
            raise VitrifyError(f"{entry.name} takes {len(names)} inputs; missing: {', '.join(missing)}", code="invalid argument")
        return [_given(by_name[a.name], a) for a in entry.inputs]

    @staticmethod
    def _target(array, argument):
        if isinstance(array, np.ndarray) and not (array.flags.c_contiguous and array.flags.writeable):
            raise VitrifyError(f"out {argument.name}: expected a dense array that may be written", code="invalid argument")
        array, dtype, _ = _given(array, argument)
        return array, dtype, False
