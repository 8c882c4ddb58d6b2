"""vitrify run: a bundle on images."""
from vitrify.tools import exec_tool

NAME = "run"
HELP = "run a bundle on images or an array"
DESCRIPTION = """Runs a bundle on images (through its preprocess.json) or on one .npy of [batch, channels, height, width] float32, and prints the best classes."""
EXAMPLES = """  vitrify run vit.vitrify --input cat.jpg dog.png --top-k 3
  vitrify run vit.vitrify --input x.npy --output logits.npy"""


def add_arguments(parser):
    parser.add_argument("bundle", metavar="BUNDLE", help="folder written by vitrify compile")
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH", help="one .npy, or .png and .jpg files")
    parser.add_argument("--output", metavar="FILE", help="write the result as float32 .npy")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda or emulator (default: cpu)")
    parser.add_argument("--top-k", type=int, metavar="K", help="print the K best classes of each image")
    parser.add_argument("--batch", type=int, metavar="N", help="images a run")
    parser.add_argument("--profile", action="store_true", help="print the time of every step")


def run(options):
    arguments = [options.bundle, f"--device={options.device}", *(a for path in options.input for a in ("--input", path))]
    for flag, value in (("--output", options.output), ("--top-k", options.top_k), ("--batch", options.batch)):
        if value is not None:
            arguments += [flag, value]
    exec_tool("vitrify-run", arguments + (["--profile"] if options.profile else []))
