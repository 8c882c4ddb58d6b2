"""The whole way from Python: `vitrify.compile(model, images)` imports, calibrates, quantises and compiles."""
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from vitrify import auto
from vitrify.calibration import METHODS, observe, write_activity, write_ranges
from vitrify.errors import VitrifyError
from vitrify.images import load_inputs
from vitrify.progress import Progress
from vitrify.targets import host_target
from vitrify.tools import run_tool
from vitrify.workspace import module_of

ACTIVATIONS = ("auto", "static", "token")
RESIDUALS = ("auto", "f32", "f16", "bf16")
PRECISIONS = ("f32", "bf16", "f16", "fp8", "fp8_tensor", "fp8_token", "fp8_block", "int8", "nvfp4", "auto")


@dataclass(frozen=True)
class CompileOptions:
    """How to compile. Targets are names such as x86-64-v4-bf16 (none: the best that this machine runs); keep: "PRECISION:PATTERN" rules by layer name."""

    precision: str = "fp8"
    targets: tuple[str, ...] = ()
    method: str = "amax"
    calibration_images: int = 200
    keep: tuple[str, ...] = ()
    max_batch: int = 256
    prune_gates: bool = False         # neurons that never do anything leave the MLPs
    tolerance: float | None = None    # with images: those go too that never fired on them or that others can stand for, up to this relative error a layer
    dense_gates: bool = False         # every block of a gated MLP is computed for every token
    skip_zeros: bool = True           # linears after a ReLU or a gate leave out columns of zeros where a tile has many (x86)
    share_low_rank: float = 0.0       # a weight may be another one plus a difference of low rank, up to this relative error
    report: str | None = None         # where a JSON report of what was shared and pruned goes
    max_drop: float | None = None     # of precision auto: largest relative error of the output on the calibration images
    auto_report: str | None = None    # where its measurements go as JSON, and as a plot (.png) beside it
    fp8_sums: str = "f32"             # f16: weights of small FP8 codes, whose products GPUs sum in f16 for a while
    frames: str | None = None         # hwc or chw: entries take images as bytes; what preprocess.json does to them goes into the patch embedding
    residual: str = "auto"            # type of the residual stream on GPUs: auto (16 bits unless all is f32), f32, f16 or bf16
    tune: str | None = None           # the GPU that tiles are chosen for, such as "L4"; None: all that a target's code runs on
    activations: str = "auto"         # where the scales of quantised inputs come from: auto, static or token

    def __post_init__(self):
        for field, value, legal in (("precision", self.precision, PRECISIONS), ("method", self.method, METHODS),
                                    ("activations", self.activations, ACTIVATIONS), ("residual", self.residual, RESIDUALS)):
            if value not in legal:
                raise VitrifyError(f"unknown {field} {value!r}; expected one of {', '.join(legal)}")
        for field, value in (("tolerance", self.tolerance or 0), ("share_low_rank", self.share_low_rank)):
            if not 0 <= value < 1:
                raise VitrifyError(f"{field}: expected a number from 0 to below 1, found {value}")
        if self.tolerance is not None and not self.prune_gates:
            raise VitrifyError("a tolerance is for --vit-prune-gates, which is not given")
        if (self.precision == "auto") != (self.max_drop is not None):
            raise VitrifyError("precision auto needs a bound on the error (--max-drop)" if self.max_drop is None else "--max-drop is for --precision=auto")
        if self.max_drop is not None and not 0 < self.max_drop < 1:
            raise VitrifyError(f"max_drop: expected a number between 0 and 1, found {self.max_drop}")
        if self.calibration_images < 1:
            raise VitrifyError(f"calibration images: expected at least 1, found {self.calibration_images}")


def calibrate(module, inputs, ranges, method="amax", limit=200, activity=None):
    """Runs images through the f32 program and writes the range of every named value to `ranges`, and what neurons did to `activity` if that is given.

    Returns the number of images."""
    module = Path(module)
    x = load_inputs(inputs, module.parent / "preprocess.json", limit)
    if not len(x):
        raise VitrifyError("cannot calibrate on no images; expected at least 1")
    neurons = {} if activity else None
    observers = observe(module, x, neurons)
    if not observers:
        raise VitrifyError(f"{module} names no value that could be calibrated; expected at least one op with layers")
    write_ranges(ranges, observers, len(x), method)
    if activity:
        write_activity(activity, neurons)
    return len(x)


def compile_module(module, output, options=CompileOptions(), ranges=None, activity=None):
    """model.mlir (with ranges.json for FP8 and static int8, activity.safetensors for approximate pruning) to a bundle; returns what the compiler printed."""
    targets = options.targets or (host_target(),)
    arguments = [module, "-o", output, f"--precision={options.precision}", f"--activations={options.activations}",
                 *(f"--target={t}" for t in targets), *(f"--keep={k}" for k in options.keep)]
    arguments += ["--vit-prune-gates"] * options.prune_gates + ["--skip-zeros=false"] * (not options.skip_zeros) + ["--dense-gates"] * options.dense_gates
    if options.fp8_sums != "f32":
        arguments.append(f"--fp8-sums={options.fp8_sums}")
    if options.frames:
        arguments.append(f"--frames={options.frames}")
    if options.residual != "auto":
        arguments.append(f"--residual={options.residual}")
    for name, value in (("ranges", ranges), ("tune", options.tune), ("activity", activity), ("report-json", options.report), ("share-low-rank", options.share_low_rank),
                        ("tolerance", options.tolerance)):
        if value:
            arguments.append(f"--{name}={value}")
    return run_tool("vitrify-compile", arguments)


def measured(module, images, options, ranges, activity, folder):
    """The options that measurement on `images` chooses for precision auto."""
    x = load_inputs(images, Path(module).parent / "preprocess.json", options.calibration_images)
    plain = replace(options, precision="bf16", max_drop=None, auto_report=None)
    with Progress("programs to measure") as progress:

        def compiled(*arguments):
            progress.update(0, f"program {measure.count} to measure")
            return compile_module(*arguments)

        def log(line):
            progress.clear()
            print(line)

        measure = auto.Measure(module, x, folder, plain, ranges, activity, compiled)
        best, points, sensitivity = auto.choose(measure, options.max_drop, log)
    print(auto.table(points, best))
    if options.auto_report:
        auto.write_report(options.auto_report, best, points, sensitivity, options.max_drop)
        auto.plot(Path(options.auto_report).with_suffix(".png"), points, best, options.max_drop)
    targets = options.targets or (host_target(),)
    half = "bf16" if all(t.startswith("x86") for t in targets) else "f16"
    return replace(plain, **measure.settings(dict(best.formats), half))


def compile_model(model, images=None, output=None, options=CompileOptions(), ranges=None):
    """A model folder or model.mlir to a bundle at `output` (default: the model's name with .vitrify, here); returns its path.

    FP8 needs `images` to calibrate on (a .npy, image files, folders; one or a list of them) or `ranges`; int8 is closer with them,
    and runs without. A tolerance needs images.
    """
    output = Path(f"{Path(model).resolve().stem}.vitrify" if output is None else output)
    if options.precision == "auto" and not images:
        raise VitrifyError("precision auto needs images to measure on (--calibrate)")
    if options.precision == "fp8" and not images and not ranges:
        raise VitrifyError("fp8 needs images to calibrate on (--calibrate) or ranges (--ranges)")
    if options.tolerance is not None and not images:
        raise VitrifyError("a tolerance needs images to measure on (--calibrate)")
    images = [images] if isinstance(images, (str, Path)) else images
    with module_of(model, options.max_batch) as module, tempfile.TemporaryDirectory(prefix="vitrify-") as folder:
        activity = Path(folder) / "activity.safetensors" if options.tolerance is not None else None
        if images and (not ranges or activity):
            seen = Path(folder) / "ranges.json"
            calibrate(module, images, seen, options.method, options.calibration_images, activity)
            ranges = ranges or seen
        if options.precision == "auto":
            options = measured(module, images, options, ranges, activity, folder)
            ranges = ranges if options.keep or options.precision in auto.FORMATS else None
        compile_module(module, output, options, ranges, activity)
    return output
