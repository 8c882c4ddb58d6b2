"""Loads the compiled module `_runtime`: installed beside this package, or from build/python of its checkout."""
import importlib
import importlib.util
import sys
from pathlib import Path

from vitrify.errors import VitrifyError

BUILD = Path(__file__).resolve().parents[2] / "build" / "python"


def load():
    """The module; VitrifyError if it was not built."""
    name = "vitrify._runtime"
    if name in sys.modules:
        return sys.modules[name]
    built = next(iter(sorted(BUILD.glob("_runtime*.so"))), None)
    if built is None:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise VitrifyError(f"the runtime module is neither installed nor in {BUILD}: build it with make build") from error
    spec = importlib.util.spec_from_file_location(name, built)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
