"""Every named value of a model, from the reference interpreter: of the model as imported, or as the compiler quantised it."""
import tempfile
from pathlib import Path

import numpy as np

from vitrify.files import read_json
from vitrify.tools import run_tool

E4M3_MAX = 448.0


def evaluate(module, x, visit=None):
    """Results of @forward on x. visit(layers, array) sees each named value in order; layers is the list of the names that the value implements."""
    with tempfile.TemporaryDirectory(prefix="vitrify-") as folder:
        folder = Path(folder)
        np.save(folder / "x.npy", x)
        arguments = [module, f"--input={folder / 'x.npy'}", f"--output={folder / 'y.npy'}"]
        printed = run_tool("vitrify-evaluate", arguments + ([f"--values={folder / 'values'}"] if visit else []))
        for name in printed.splitlines() if visit else ():
            visit(name.split("+"), np.load(folder / "values" / f"{name}.npy"))
        return np.load(folder / "y.npy")


def optimised(module, output, precision, ranges=None, keep=()):
    """Writes the module as kernels are built from it. It lies beside nothing, so paths of checkpoints are kept by writing it beside the original."""
    options = [f"precision={precision}"] + ([f"ranges={ranges}"] if ranges else []) + ([f"keep={','.join(keep)}"] if keep else [])
    run_tool("vitrify-opt", [module, f"--vit-optimize={' '.join(options)}", "-o", output])


def named_values(module, x, precision="f32", ranges=None):
    """Name -> array of every value of the model on x, in the order of the imported model; E4M3 codes are multiplied by their scale.

    A value that implements several layers has the last one's name; one that joins linears (q, k and v) is split again.
    """
    found = {}
    if precision == "f32":
        evaluate(module, x, lambda layers, array: found.__setitem__(layers[-1], array))
        return found
    scales = {name: value["range"] / E4M3_MAX for name, value in read_json(ranges)["values"].items()} if ranges else {}

    def visit(layers, array):
        name = layers[-1].removesuffix("#q")
        if layers[-1] != name:
            if name in scales:  # else the checkpoint's own codes, whose scale may be found as the program runs
                found[name] = array * np.float32(scales[name])
        elif is_joined(layers):
            for part, columns in zip(layers, np.split(array, len(layers), axis=1)):
                found[part] = columns
        else:
            found.setdefault(name, array)

    module = Path(module)
    with tempfile.NamedTemporaryFile(dir=module.parent, prefix=f".{module.stem}.", suffix=".mlir") as stage:
        optimised(module, stage.name, precision, ranges)
        evaluate(stage.name, x, visit)
    return found


def is_joined(layers):
    """True for the names of linears that were joined into one: b0.q, b0.k, b0.v."""
    return len(layers) == 3 and [name.rsplit(".", 1)[-1] for name in layers] == ["q", "k", "v"]
