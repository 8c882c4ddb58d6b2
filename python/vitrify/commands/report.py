"""vitrify report: a bundle as one page."""
from vitrify.files import replacing
from vitrify.report import collect, page

NAME = "report"
HELP = "write one HTML page about a bundle"
DESCRIPTION = """Writes one self-contained page: layers with the precision as built, kernels, the plan and its memory over time, and weights with who shares them.
With --input it also times every step; with --model it adds each layer's error against float32 and which neurons were active over the first image."""
EXAMPLES = """  vitrify report vit.vitrify -o vit.html
  vitrify report vit.vitrify -o vit.html --input photos/ --model ./vit-base-patch16-224 --ranges ranges.json"""


def add_arguments(parser):
    parser.add_argument("bundle", metavar="BUNDLE", help="folder written by vitrify compile")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the page")
    parser.add_argument("--input", nargs="+", default=(), metavar="PATH", help="one .npy, or images and folders of images")
    parser.add_argument("--images", type=int, default=4, metavar="N", help="use the first N images (default: 4)")
    parser.add_argument("--model", metavar="MODEL", help="model folder or model.mlir that the bundle was made from")
    parser.add_argument("--ranges", metavar="FILE", help="ranges.json of vitrify calibrate, needed for errors of an fp8 bundle")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="that steps are timed on: cpu, cuda or emulator (default: cpu)")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="timed runs (default: 10)")


def run(options):
    text = page(collect(options.bundle, options.input, options.model, options.ranges, options.images, options.runs, options.device))
    with replacing(options.output) as out:
        out.write(text)
