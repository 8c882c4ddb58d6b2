"""Shared by all tests: paths, model folders, and a way to break them."""
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "test" / "Golden"
EXAMPLE = ROOT / "examples" / "mnist"
BIN = ROOT / "build" / "bin"
sys.path.insert(0, str(GOLDEN))
# Tests share what they compile with each other, and with nobody else.
os.environ.setdefault("VITRIFY_CACHE", str(ROOT / "build" / "test-cache"))


@pytest.fixture
def small_model(tmp_path):
    """A copy of a tiny seeded ViT that a test may break."""
    import seeded

    return seeded.write_folder("new_names", tmp_path / "model")


@pytest.fixture
def edit_config():
    """edit_config(folder, key=value, ...): changes config.json; a value of None removes the key."""

    def edit(folder, **values):
        path = folder / "config.json"
        config = json.loads(path.read_text()) | values
        path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
        return folder

    return edit


@pytest.fixture
def edit_tensors():
    """edit_tensors(folder, change): loads the tensors as a dict, lets `change` alter it, writes it back."""
    from safetensors.numpy import load_file, save_file

    def edit(folder, change):
        path = folder / "model.safetensors"
        tensors = {k: v.copy() for k, v in load_file(path).items()}
        change(tensors)
        save_file(tensors, path)
        return folder

    return edit


@pytest.fixture
def mnist_copy(tmp_path):
    return Path(shutil.copytree(EXAMPLE / "vit_mnist_gelu_rescaled", tmp_path / "mnist"))
