"""A strict reader of safetensors files: what the header says is checked in full before a tensor is looked at."""
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from vitrify.errors import VitrifyError
from vitrify.files import parse_json, read_json, reason

# Element type -> (MLIR type, bits, mask of the exponent bits of a float: all set means infinity or NaN).
DTYPES = {
    "F64": ("f64", 64, 0x7FF0000000000000), "F32": ("f32", 32, 0x7F800000), "F16": ("f16", 16, 0x7C00), "BF16": ("bf16", 16, 0x7F80),
    "F8_E4M3": ("f8E4M3FN", 8, None), "F8_E5M2": ("f8E5M2", 8, 0x7C), "I64": ("i64", 64, None), "I32": ("i32", 32, None), "I16": ("i16", 16, None),
    "I8": ("i8", 8, None), "U64": ("ui64", 64, None), "U32": ("ui32", 32, None), "U16": ("ui16", 16, None), "U8": ("ui8", 8, None), "BOOL": ("i1", 8, None),
}
MAX_HEADER = 100 << 20
CHUNK = 1 << 22


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: element type as safetensors names it, shape, and its bytes' place in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int
    file: "SafeTensorsFile"

    @property
    def mlir_element(self):
        return DTYPES[self.dtype][0]

    def first_not_finite(self):
        """Index of the first NaN or infinity in row-major order, or None. Reads the tensor in pieces of a few MiB."""
        bits, mask = DTYPES[self.dtype][1:]
        if self.dtype == "F8_E4M3":
            bits, mask = 8, 0x7F
        if mask is None:
            return None
        data = np.memmap(self.file.path, dtype=f"<u{bits // 8}", mode="r", offset=self.begin, shape=((self.end - self.begin) * 8 // bits,))
        for start in range(0, len(data), CHUNK):
            bad = (data[start:start + CHUNK] & np.array(mask, data.dtype)) == mask
            if bad.any():
                return start + int(bad.argmax())
        return None

    def first_not_positive(self):
        """Index of the first value of a float tensor that is not above 0 and finite, or None."""
        bits, mask = DTYPES[self.dtype][1:]
        data = self.raw().view(f"<u{bits // 8}") if len(self.raw()) else self.raw()
        bad = (data & np.array(mask, data.dtype)) == mask
        bad |= (data == 0) | (data >> np.array(bits - 1, data.dtype) != 0)
        return int(bad.argmax()) if bad.any() else None

    def raw(self):
        """The tensor's bytes, mapped."""
        return np.memmap(self.file.path, dtype=np.uint8, mode="r", offset=self.begin, shape=(self.end - self.begin,)) if self.end > self.begin else np.zeros(0, np.uint8)

    def first_difference(self, other):
        """What the two tensors differ in, in words, or None if they have one type, one shape and the same bytes."""
        if (self.dtype, self.shape) != (other.dtype, other.shape):
            return f"{self.dtype} {list(self.shape)} and {other.dtype} {list(other.shape)}"
        mine, theirs = self.raw(), other.raw()
        for start in range(0, len(mine), CHUNK):
            bad = mine[start:start + CHUNK] != theirs[start:start + CHUNK]
            if bad.any():
                return f"value {(start + int(bad.argmax())) * 8 // DTYPES[self.dtype][1]}"
        return None


class SafeTensorsFile:
    """Header of one file: `tensors` by name, `size` of the file, `header_sha256` over the length field and the header, `metadata`."""

    def __init__(self, path):
        self.path = Path(path)
        try:
            self.size = self.path.stat().st_size
            with open(self.path, "rb") as stream:
                length_field = stream.read(8)
                if len(length_field) < 8:
                    raise VitrifyError(f"{path} is truncated: {self.size} bytes, expected at least 8")
                length = int.from_bytes(length_field, "little")
                if length > MAX_HEADER:
                    raise VitrifyError(f"{path}: header of {length} bytes, at most {MAX_HEADER} allowed: not a safetensors file?")
                if 8 + length > self.size:
                    raise VitrifyError(f"{path} is truncated: header needs {8 + length} bytes, file has {self.size}")
                header = stream.read(length)
        except FileNotFoundError as error:
            raise VitrifyError(f"{path} does not exist") from error
        except OSError as error:
            raise VitrifyError(f"cannot read {path}: {reason(error)}") from error
        self.header_sha256 = hashlib.sha256(length_field + header).hexdigest()
        try:
            text = header.decode("utf-8")
        except UnicodeDecodeError as error:
            raise VitrifyError(f"{path}: header is not UTF-8: not a safetensors file?") from error
        self.tensors = self._read_entries(parse_json(text, f"{path}: header"), 8 + length)

    def _read_entries(self, entries, data_begin):
        self.metadata = entries.pop("__metadata__", None) or {}
        tensors = {}
        for name, entry in entries.items():
            where = f"{self.path}: tensor {name!r}"
            if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
                raise VitrifyError(f"{where}: expected dtype, shape and data_offsets, found {entry!r:.100}")
            dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
            if dtype not in DTYPES:
                raise VitrifyError(f"{where}: unknown element type {dtype!r}; expected one of {', '.join(DTYPES)}")
            whole = lambda values: isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 63 for v in values)
            if not whole(shape) or not whole(offsets) or len(offsets) != 2:
                raise VitrifyError(f"{where}: shape and data_offsets must be lists of non-negative integers, found {shape!r:.60} and {offsets!r:.60}")
            need = math.prod(shape) * DTYPES[dtype][1] // 8
            if offsets[1] - offsets[0] != need:
                raise VitrifyError(f"{where}: {dtype} {shape} needs {need} bytes, data_offsets {offsets} hold {offsets[1] - offsets[0]}")
            if data_begin + offsets[1] > self.size:
                raise VitrifyError(f"{self.path} is truncated: tensor {name!r} ends at byte {data_begin + offsets[1]}, file has {self.size}")
            tensors[name] = Tensor(name, dtype, tuple(shape), data_begin + offsets[0], data_begin + offsets[1], self)
        end, before = data_begin, None
        for tensor in sorted(tensors.values(), key=lambda t: (t.begin, t.end)):
            if tensor.begin < end:
                raise VitrifyError(f"{self.path}: tensors {before!r} and {tensor.name!r} overlap at byte {tensor.begin}")
            if tensor.begin > end:
                raise VitrifyError(f"{self.path}: {tensor.begin - end} bytes before tensor {tensor.name!r} belong to no tensor")
            end, before = tensor.end, tensor.name
        if end != self.size:
            raise VitrifyError(f"{self.path}: {self.size - end} bytes after the last tensor belong to no tensor")
        return tensors


def open_checkpoint(folder):
    """All tensors of a folder by name: of model.safetensors, or of the files that model.safetensors.index.json names."""
    folder = Path(folder)
    single, index_path = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return SafeTensorsFile(single).tensors
    if not index_path.exists():
        raise VitrifyError(f"{folder} holds neither model.safetensors nor model.safetensors.index.json")
    weight_map = read_json(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise VitrifyError(f"{index_path}: expected a weight_map of tensor names to file names")
    for name, file in weight_map.items():
        if not isinstance(file, str) or not file or PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts or "\0" in file:
            raise VitrifyError(f"{index_path}: tensor {name!r} is in {file!r}, which is not a file inside the folder")
    files = {file: SafeTensorsFile(folder / file) for file in sorted(set(weight_map.values()))}
    tensors = {}
    for name, file in weight_map.items():
        if name not in files[file].tensors:
            raise VitrifyError(f"{index_path}: tensor {name!r} is not in {file}")
        tensors[name] = files[file].tensors[name]
    for file, opened in files.items():
        for name in opened.tensors:
            if weight_map.get(name) != file:
                raise VitrifyError(f"{index_path}: tensor {name!r} of {file} is not in the index as such")
    return tensors
