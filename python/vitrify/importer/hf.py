"""Imports a Hugging Face folder: config.json, safetensors, preprocessor_config.json."""
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from vitrify.errors import VitrifyError
from vitrify.files import read_json, replacing
from vitrify.importer.checkpoint import open_checkpoint
from vitrify.importer.config import parse_config
from vitrify.importer.emit import module_text
from vitrify.importer.mapping import map_weights
from vitrify.importer.preprocess import preprocess
from vitrify.importer.quantization import parse_quantization


@dataclass(frozen=True)
class Imported:
    """What an import wrote: the module, the preprocessing beside it (None if the input is no image), and the model's configuration."""

    module: Path
    preprocess: Path | None
    config: object
    parameters: int


def licence(folder):
    """The licence that the model card (README.md) states in its front matter, or "unknown"."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    front = re.match(r"---\n(.*?)\n---", card, re.S)
    found = re.search(r"^license:\s*[\"']?([\w.+-]+)", front.group(1), re.M) if front else None
    return found.group(1) if found else "unknown"


def import_folder(folder, output, max_batch=256, tuned_batch=1):
    """Writes the model in `folder` as vit dialect text to `output`, and preprocess.json beside it.

    The weights stay where they are: the text names the files, their sizes and the SHA-256 of their headers.
    """
    folder, output = Path(folder), Path(output)
    if not folder.is_dir():
        raise VitrifyError(f"{folder} is not a folder" if folder.exists() else f"{folder} does not exist")
    if not 1 <= tuned_batch <= max_batch:
        raise VitrifyError(f"batch bounds: expected 1 <= tuned <= max, found tuned {tuned_batch} and max {max_batch}")
    if not output.parent.is_dir():
        raise VitrifyError(f"cannot write {output}: folder {output.parent} does not exist")
    values = read_json(folder / "config.json")
    config = parse_config(values, folder / "config.json")
    quantization = parse_quantization(values, folder, folder / "config.json")
    tensors = open_checkpoint(folder)
    weights = map_weights(config, tensors, folder, quantization)
    description = folder / "preprocessor_config.json"
    steps = preprocess(read_json(description) if description.exists() else None, config, description)

    files = {}
    for weight in weights.values():
        for tensor in (weight.tensor, getattr(weight, "scale", None), getattr(weight, "input_scale", None)):
            if tensor is not None:
                files.setdefault(tensor.file.path, tensor.file)
    base = os.path.realpath(output.parent)
    name_of = lambda path: os.path.relpath(os.path.join(os.path.realpath(path.parent), path.name), base)
    sources = {"ckpt" if len(files) == 1 else f"ckpt{i}": (name_of(path), file) for i, (path, file) in enumerate(sorted(files.items()))}
    # Where the folder lay on this machine is nobody's business and would make equal models unequal bundles.
    name = os.path.basename(os.path.realpath(folder))
    info = {"name": name, "family": config.family, "source": name, "license": licence(folder)}
    text = module_text(config, weights, sources, info, (1, tuned_batch, max_batch))

    beside = output.parent / "preprocess.json"
    with replacing(output) as stream:  # opened first: if it cannot be written, nothing is
        stream.write(text)
        if steps is not None:
            with replacing(beside) as other:
                json.dump(steps, other, indent=2)
                other.write("\n")
    if steps is None:
        beside.unlink(missing_ok=True)  # it would describe another model
        beside = None
    return Imported(output, beside, config, sum(int(_count(w.shape)) for w in weights.values()))


def _count(shape):
    total = 1
    for size in shape:
        total *= size
    return total
