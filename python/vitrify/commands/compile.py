"""vitrify compile: the whole way to a bundle."""
from vitrify.compiler import ACTIVATIONS, METHODS, PRECISIONS, RESIDUALS, CompileOptions, compile_model

NAME = "compile"
HELP = "turn a model into a bundle: import, calibrate, quantise, compile"
DESCRIPTION = """Imports a model folder (or takes model.mlir), calibrates it on images, and compiles it for one or more targets into one bundle."""
EXAMPLES = """  vitrify compile ./vit-base-patch16-224 --calibrate photos/ -o vit.vitrify
  vitrify compile model.mlir --ranges ranges.json --target x86-64-v4-bf16 --target x86-64-v3 -o vit.vitrify
  vitrify compile ./deit-small --precision bf16 -o deit.vitrify"""


def add_arguments(parser):
    parser.add_argument("model", metavar="MODEL", help="model folder or model.mlir")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="bundle to write")
    parser.add_argument("--calibrate", nargs="+", metavar="PATH", help="images to calibrate on: one .npy, or images and folders of images")
    parser.add_argument("--calibrate-images", type=int, default=200, metavar="N", help="use the first N of them (default: 200)")
    parser.add_argument("--method", choices=METHODS, default="amax", help="how a range is found from what was observed (default: amax)")
    parser.add_argument("--ranges", metavar="FILE", help="ranges.json of vitrify calibrate, instead of --calibrate")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp8", help="of the linears (default: fp8)")
    parser.add_argument("--max-drop", type=float, metavar="X", help="with --precision=auto: largest relative error of the model's output on the calibration images")
    parser.add_argument("--auto-report", metavar="FILE", help="with --precision=auto: write what was measured as JSON, and a plot beside it")
    parser.add_argument("--fp8-sums", choices=("f32", "f16"), default="f32",
                        help="f16: weights of small FP8 codes, whose products GPUs sum in f16 for a while (twice the rate on GeForce)")
    parser.add_argument("--frames", choices=("hwc", "chw"), help="entries take images as bytes, and preprocess.json's normalisation goes into the model")
    parser.add_argument("--residual", choices=RESIDUALS, default="auto", help="type of the residual stream on GPUs (auto: 16 bits unless the precision is f32)")
    parser.add_argument("--tune", metavar="CHIP", help="the GPU that tiles are chosen for, such as L4")
    parser.add_argument("--activations", choices=ACTIVATIONS, default="auto",
                        help="scales of quantised inputs: static (calibrated), token (found at run time) or auto (default)")
    parser.add_argument("--target", action="append", default=[], metavar="NAME", help="processor to compile for; may be repeated (default: this machine's)")
    parser.add_argument("--keep", action="append", default=[], metavar="PRECISION:PATTERN", help="precision of layers by name, such as bf16:b0.*; may be repeated")
    parser.add_argument("--vit-prune-gates", action="store_true", help="remove neurons that provably never do anything")
    parser.add_argument("--tolerance", type=float, metavar="X", help="with --vit-prune-gates and --calibrate: remove neurons that never fired on the images, and "
                                                                     "those that others can stand for with a relative error of at most X in the layer's output")
    parser.add_argument("--no-skip-zeros", dest="skip_zeros", action="store_false", help="let linears after a ReLU or a gate multiply zeros of their input too (x86)")
    parser.add_argument("--dense-gates", action="store_true", help="compute every block of a gated MLP for every token")
    parser.add_argument("--share-low-rank", type=float, default=0.0, metavar="X", help="let a weight be another one plus a difference of low rank, with a "
                                                                                       "relative error of at most X")
    parser.add_argument("--report", metavar="FILE", help="write what was shared and pruned as JSON")
    parser.add_argument("--max-batch", type=int, default=256, metavar="N", help="largest number of images a run (default: 256)")


def run(options):
    settings = CompileOptions(precision=options.precision, targets=tuple(options.target), method=options.method, keep=tuple(options.keep),
                              calibration_images=options.calibrate_images, max_batch=options.max_batch, prune_gates=options.vit_prune_gates,
                              tolerance=options.tolerance, share_low_rank=options.share_low_rank, report=options.report, activations=options.activations,
                              skip_zeros=options.skip_zeros, dense_gates=options.dense_gates, max_drop=options.max_drop, auto_report=options.auto_report,
                              fp8_sums=options.fp8_sums, residual=options.residual, frames=options.frames, tune=options.tune)
    print(f"{compile_model(options.model, options.calibrate, options.output, settings, options.ranges)}: {options.precision}")
