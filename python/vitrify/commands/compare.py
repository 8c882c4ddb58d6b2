"""vitrify compare: what a precision costs, layer by layer."""
from vitrify.compare import compare, table
from vitrify.compiler import PRECISIONS
from vitrify.errors import VitrifyError
from vitrify.images import load_inputs
from vitrify.taps import named_values
from vitrify.workspace import module_of

NAME = "compare"
HELP = "compare a model's layers in low precision with float32"
DESCRIPTION = """Runs a model in float32 and as the compiler quantises it, and prints for every named value the cosine, the signal to quantisation noise
ratio, the largest error and the largest value; then the first layer that is bad. Both sides are compiled for this machine, with every value in a buffer of its
own; a model that it has no kernel for runs in the reference interpreter."""
EXAMPLES = """  vitrify compare ./vit-base-patch16-224 --ranges ranges.json --input photos/ --images 4
  vitrify compare model.mlir --precision bf16 --input x.npy"""


def add_arguments(parser):
    parser.add_argument("model", metavar="MODEL", help="model folder or model.mlir")
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="one .npy, or images and folders of images")
    parser.add_argument("--images", type=int, default=8, metavar="N", help="use the first N images (default: 8)")
    parser.add_argument("--precision", choices=[p for p in PRECISIONS if p not in ("f32", "auto")], default="fp8", help="to compare with f32 (default: fp8)")
    parser.add_argument("--ranges", metavar="FILE", help="ranges.json of vitrify calibrate, needed for fp8")


def run(options):
    if options.precision == "fp8" and not options.ranges:
        raise VitrifyError("fp8 needs ranges (--ranges, from vitrify calibrate)")
    with module_of(options.model) as module:
        x = load_inputs(options.input, module.parent / "preprocess.json", options.images)
        expected = named_values(module, x)
        found = named_values(module, x, options.precision, options.ranges)
    print(table(compare(expected, found)))
