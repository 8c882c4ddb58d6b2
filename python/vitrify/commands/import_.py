"""vitrify import: a model folder to the vit dialect."""
from vitrify.importer import import_folder

NAME = "import"
HELP = "turn a model folder into model.mlir"
DESCRIPTION = """Reads config.json and the safetensors files of a Hugging Face folder (ViT, DeiT) and writes the model in the vit dialect, with
preprocess.json beside it. The weights are not copied: model.mlir names the files that hold them."""
EXAMPLES = """  vitrify import ./vit-base-patch16-224 -o build/vit.mlir
  vitrify import ./deit-small --max-batch 64 -o deit.mlir"""


def add_arguments(parser):
    parser.add_argument("model", metavar="MODEL", help="folder with config.json and model.safetensors")
    parser.add_argument("-o", "--output", metavar="FILE", default="model.mlir", help="module to write (default: model.mlir)")
    parser.add_argument("--max-batch", type=int, default=256, metavar="N", help="largest number of images a run (default: 256)")
    parser.add_argument("--tuned-batch", type=int, default=1, metavar="N", help="number of images that kernels are tuned for (default: 1)")


def run(options):
    done = import_folder(options.model, options.output, options.max_batch, options.tuned_batch)
    c = done.config
    print(f"{done.module}: {c.family}, {c.layers} layers, hidden size {c.hidden}, {c.tokens} tokens, {done.parameters:,} parameters"
          + (f"; {done.preprocess.name} beside it" if done.preprocess else ""))
