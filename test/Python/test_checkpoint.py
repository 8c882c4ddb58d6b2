"""The safetensors reader: files that are damaged, or that say two things at once, are refused with one message."""
import json
import struct

import numpy as np
import pytest

import seeded
from vitrify.errors import VitrifyError
from vitrify.importer.checkpoint import SafeTensorsFile, open_checkpoint


def write(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(begin, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD = {"a": entry(0, 8, [2]), "b": entry(8, 20, [3, 1])}


def test_reads_what_the_library_writes(tmp_path):
    file = SafeTensorsFile(seeded.write_folder("new_names", tmp_path) / "model.safetensors")
    expected = seeded.tensors("new_names")
    assert set(file.tensors) == set(expected)
    for name, tensor in file.tensors.items():
        assert tensor.shape == expected[name].shape
        assert np.array_equal(np.fromfile(file.path, np.float32, expected[name].size, offset=tensor.begin).reshape(tensor.shape), expected[name])


def test_padded_header_and_metadata_are_fine(tmp_path):
    text = json.dumps({"__metadata__": {"format": "pt"}} | GOOD).encode() + b"     "
    assert set(SafeTensorsFile(write(tmp_path / "x", text, bytes(20))).tensors) == {"a", "b"}


@pytest.mark.parametrize("header, data, part", [
    (GOOD, bytes(19), "truncated"),
    (GOOD, bytes(21), "1 bytes after the last tensor"),
    ({"a": entry(0, 8, [2]), "b": entry(4, 16, [3])}, bytes(16), "overlap"),
    ({"a": entry(0, 8, [2]), "b": entry(12, 24, [3])}, bytes(24), "4 bytes before tensor 'b'"),
    ({"a": entry(0, 8, [3])}, bytes(8), "needs 12 bytes"),
    ({"a": entry(8, 0, [2])}, bytes(8), "needs 8 bytes"),
    ({"a": entry(0, 8, [1 << 62, 1 << 62])}, bytes(8), "needs"),
    ({"a": entry(0, 8, [-2])}, bytes(8), "non-negative"),
    ({"a": entry(0, 8, [2.0])}, bytes(8), "non-negative"),
    ({"a": entry(0, 8, [2], "F33")}, bytes(8), "unknown element type 'F33'"),
    ({"a": {"dtype": "F32"}}, bytes(8), "expected dtype, shape and data_offsets"),
    ({"a": 7}, bytes(8), "expected dtype, shape and data_offsets"),
    (b'{"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}, "a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4), "'a' appears twice"),
    (b"{not json", b"", "not valid JSON"),
    (b"[]", b"", "expected a JSON object"),
    (b"\xff\xfe{}", b"", "not UTF-8"),
    (b"[" * 100000, b"", "not valid JSON"),
], ids=range(17))
def test_damaged_files(header, data, part, tmp_path):
    with pytest.raises(VitrifyError, match=part.replace("(", r"\(")) as caught:
        SafeTensorsFile(write(tmp_path / "x.safetensors", header, data))
    assert "x.safetensors" in str(caught.value) and "\n" not in str(caught.value)


def test_header_lengths(tmp_path):
    for content, part in ((b"", "truncated"), (b"\0\0\0", "truncated"), (struct.pack("<Q", 1 << 60) + b"{}", "header of 1152921504606846976 bytes"),
                          (struct.pack("<Q", 100) + b"{}", "truncated"), (b"#!/bin/sh\necho this is a script\n", "header of")):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(VitrifyError, match=part):
            SafeTensorsFile(tmp_path / "x")
    with pytest.raises(VitrifyError, match="does not exist"):
        SafeTensorsFile(tmp_path / "none")
    with pytest.raises(VitrifyError, match="cannot read"):
        SafeTensorsFile(tmp_path)


@pytest.mark.parametrize("dtype, bits", [("F32", 0x7FC00000), ("F16", 0x7C01), ("BF16", 0x7F81), ("F8_E4M3", 0x7F), ("F64", 0x7FF8 << 48)])
def test_not_finite_values_are_found_in_every_float_type(dtype, bits, tmp_path):
    width = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F64": 8}[dtype]
    data = bytearray(8 * width)
    path = write(tmp_path / "x", {"a": entry(0, len(data), [8], dtype)}, bytes(data))
    assert SafeTensorsFile(path).tensors["a"].first_not_finite() is None
    data[5 * width:6 * width] = bits.to_bytes(width, "little")
    path = write(tmp_path / "x", {"a": entry(0, len(data), [8], dtype)}, bytes(data))
    assert SafeTensorsFile(path).tensors["a"].first_not_finite() == 5


def sharded(tmp_path):
    folder = seeded.write_folder("relu_sharded", tmp_path / "m")
    path = folder / "model.safetensors.index.json"
    return folder, path, json.loads(path.read_text())


def test_sharded_checkpoint(tmp_path):
    folder, _, index = sharded(tmp_path)
    tensors = open_checkpoint(folder)
    assert {name: tensor.file.path.name for name, tensor in tensors.items()} == index["weight_map"]


@pytest.mark.parametrize("target", ["../other.safetensors", "/etc/passwd", "a/../../b", "", 5])
def test_index_must_stay_inside_the_folder(target, tmp_path):
    folder, path, index = sharded(tmp_path)
    name = next(iter(index["weight_map"]))
    index["weight_map"][name] = target
    path.write_text(json.dumps(index))
    with pytest.raises(VitrifyError, match="not a file inside the folder") as caught:
        open_checkpoint(folder)
    assert name in str(caught.value)


def test_index_that_does_not_fit_its_files(tmp_path):
    folder, path, index = sharded(tmp_path)
    names, files = list(index["weight_map"]), sorted(set(index["weight_map"].values()))
    for change, part in ((lambda m: m.update({names[0]: next(f for f in files if f != m[names[0]])}), "is not in model-"),
                         (lambda m: m.pop(names[1]), "is not in the index"), (lambda m: m.update({names[0]: "gone.safetensors"}), "does not exist"),
                         (lambda m: m.clear(), "expected a weight_map")):
        changed = json.loads(json.dumps(index))
        change(changed["weight_map"])
        path.write_text(json.dumps(changed))
        with pytest.raises(VitrifyError, match=part):
            open_checkpoint(folder)
    path.unlink()
    with pytest.raises(VitrifyError, match="neither model.safetensors nor"):
        open_checkpoint(folder)
