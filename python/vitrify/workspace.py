"""From whatever the user names (a model folder, model.mlir, or a bundle) to what a command needs."""
import contextlib
import tempfile
from pathlib import Path

from vitrify.errors import VitrifyError
from vitrify.importer import import_folder


def is_bundle(path):
    return (Path(path) / "manifest.json").is_file()


@contextlib.contextmanager
def module_of(model, max_batch=256):
    """Path of a model.mlir for `model`: itself, or the import of a folder into a temporary place, removed at the end."""
    model = Path(model)
    if is_bundle(model):
        raise VitrifyError(f"{model} is a bundle; expected a model folder or a .mlir file")
    if model.is_file():
        yield model
        return
    with tempfile.TemporaryDirectory(prefix="vitrify-") as folder:
        yield import_folder(model, Path(folder) / "model.mlir", max_batch).module
