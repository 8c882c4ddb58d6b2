"""The whole way from Python: `vitrify.compile(model, images)` imports, calibrates, quantises and compiles."""
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vitrify.calibration import METHODS, observe, write_ranges
from vitrify.errors import VitrifyError
from vitrify.images import load_inputs
from vitrify.targets import host_target
from vitrify.tools import run_tool
from vitrify.workspace import module_of

PRECISIONS = ("f32", "bf16", "f16", "fp8")


@dataclass(frozen=True)
class CompileOptions:
    """How to compile. Targets are names such as x86-64-v4-bf16 (none: the best that this machine runs); keep: "PRECISION:PATTERN" rules by layer name."""

    precision: str = "fp8"
    targets: tuple[str, ...] = ()
    method: str = "amax"
    calibration_images: int = 200
    keep: tuple[str, ...] = ()
    max_batch: int = 256

    def __post_init__(self):
        for field, value, legal in (("precision", self.precision, PRECISIONS), ("method", self.method, METHODS)):
            if value not in legal:
                raise VitrifyError(f"unknown {field} {value!r}; expected one of {', '.join(legal)}")
        if self.calibration_images < 1:
            raise VitrifyError(f"calibration images: expected at least 1, found {self.calibration_images}")


def calibrate(module, inputs, ranges, method="amax", limit=200):
    """Runs images through the f32 program and writes the range of every named value to `ranges`. Returns the number of images."""
    module = Path(module)
    x = load_inputs(inputs, module.parent / "preprocess.json", limit)
    if not len(x):
        raise VitrifyError("cannot calibrate on no images; expected at least 1")
    observers = observe(module, x)
    if not observers:
        raise VitrifyError(f"{module} names no value that could be calibrated; expected at least one op with layers")
    write_ranges(ranges, observers, len(x), method)
    return len(x)


def compile_module(module, output, options=CompileOptions(), ranges=None):
    """model.mlir (with ranges.json for FP8) to a bundle; returns what the compiler printed."""
    targets = options.targets or (host_target(),)
    arguments = [module, "-o", output, f"--precision={options.precision}", *(f"--target={t}" for t in targets), *(f"--keep={k}" for k in options.keep)]
    return run_tool("vitrify-compile", arguments + ([f"--ranges={ranges}"] if ranges else []))


def compile_model(model, images=None, output=None, options=CompileOptions(), ranges=None):
    """A model folder or model.mlir to a bundle at `output` (default: the model's name with .vitrify, here); returns its path.

    FP8 needs `images` to calibrate on (a .npy, image files, folders; one or a list of them) or `ranges`.
    """
    output = Path(f"{Path(model).resolve().stem}.vitrify" if output is None else output)
    if options.precision == "fp8" and not images and not ranges:
        raise VitrifyError("fp8 needs images to calibrate on (--calibrate) or ranges (--ranges)")
    images = [images] if isinstance(images, (str, Path)) else images
    with module_of(model, options.max_batch) as module, tempfile.TemporaryDirectory(prefix="vitrify-") as folder:
        if images and not ranges:
            ranges = Path(folder) / "ranges.json"
            calibrate(module, images, ranges, options.method, options.calibration_images)
        compile_module(module, output, options, ranges)
    return output
