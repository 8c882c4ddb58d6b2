"""Files written aside and renamed, so that a reader never sees half of one; JSON with clear errors."""
import contextlib
import json
import os
import tempfile
from pathlib import Path

from vitrify.errors import VitrifyError


def reason(error):
    """The operating system's words for an error, without its number and path."""
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)


@contextlib.contextmanager
def replacing(path, mode="w"):
    """Opens a temporary file beside `path` for writing; it takes the name `path` only if the body ends without an error."""
    path = Path(path)
    if path.exists() and not path.is_file():  # a rename would put a file in the place of a device such as /dev/null
        raise VitrifyError(f"cannot write {path}: not a regular file")
    encoding = None if "b" in mode else "utf-8"
    try:
        handle = tempfile.NamedTemporaryFile(mode, dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False, encoding=encoding)
    except OSError as error:
        raise VitrifyError(f"cannot write {path}: {reason(error)}") from error
    try:
        with handle:
            yield handle
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(handle.name, 0o666 & ~umask)
        os.replace(handle.name, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(handle.name)
        raise VitrifyError(f"cannot write {path}: {reason(error)}") from error
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(handle.name)
        raise


def _unique(pairs):
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"key {next(k for k in keys if keys.count(k) > 1)!r} appears twice")
    return dict(pairs)


def parse_json(text, what):
    """A JSON object in which no key appears twice."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise VitrifyError(f"{what} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise VitrifyError(f"{what}: expected a JSON object, found {type(value).__name__}")
    return value


def read_json(path):
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise VitrifyError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise VitrifyError(f"cannot read {path}: {reason(error)}") from error
    return parse_json(text, str(path))
