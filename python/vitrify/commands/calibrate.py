"""vitrify calibrate: ranges of every named value, from images."""
from vitrify.compiler import METHODS, calibrate
from vitrify.workspace import module_of

NAME = "calibrate"
HELP = "find the range of every value on some images"
DESCRIPTION = """Runs images through the float32 program, observes every named value and writes ranges.json, which may be edited before it is given to
vitrify compile --ranges."""
EXAMPLES = """  vitrify calibrate model.mlir --input photos/ -o ranges.json
  vitrify calibrate ./vit-base-patch16-224 --input x.npy --method percentile -o ranges.json"""


def add_arguments(parser):
    parser.add_argument("model", metavar="MODEL", help="model.mlir (preprocess.json beside it) or a model folder")
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="one .npy, or images and folders of images")
    parser.add_argument("-o", "--output", default="ranges.json", metavar="FILE", help="file to write (default: ranges.json)")
    parser.add_argument("--method", choices=METHODS, default="amax", help="largest magnitude, 99.99th percentile, or least squared error (default: amax)")
    parser.add_argument("--activity", metavar="FILE", help="also write what each neuron of the MLPs did, for vitrify compile --vit-prune-gates")
    parser.add_argument("--images", type=int, default=200, metavar="N", help="use the first N images (default: 200)")


def run(options):
    with module_of(options.model) as module:
        count = calibrate(module, options.input, options.output, options.method, options.images, options.activity)
    print(f"{options.output}: ranges over {count} images")
