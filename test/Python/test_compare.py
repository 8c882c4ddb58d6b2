"""Metrics of vitrify compare, against their definitions on values worked out by hand."""
import math

import numpy as np
import pytest

import seeded
from vitrify import evaluate, taps
from vitrify.calibration import observe, write_ranges
from vitrify.compare import compare, difference, table
from vitrify.errors import VitrifyError
from vitrify.workspace import module_of


def test_equal_values():
    d = difference("a", np.float32([1, -2]), np.float32([1, -2]))
    assert d.cosine == pytest.approx(1) and d.sqnr_db == math.inf and d.max_error == 0 and d.max_value == 2 and not d.bad


def test_known_error():
    d = difference("a", np.float32([3, 4]), np.float32([3, 5]))
    assert d.cosine == pytest.approx(29 / (5 * math.sqrt(34)))
    assert d.sqnr_db == pytest.approx(10 * math.log10(25)) and d.max_error == 1 and d.bad


def test_zeros_and_not_finite_values():
    zero = np.zeros(3, np.float32)
    assert not difference("a", zero, zero).bad
    assert difference("a", zero, zero + 1).bad and difference("a", zero + 1, zero).bad
    assert difference("a", zero + 1, np.float32([1, np.nan, 1])).bad and difference("a", zero + 1, np.float32([1, np.inf, 1])).bad


def test_first_bad_layer_is_named():
    x = np.arange(8, dtype=np.float32)
    differences = compare({"b0": x, "only here": x, "b1": x, "b2": x}, {"b2": -x, "b1": x[::-1], "b0": x})
    assert [d.name for d in differences] == ["b0", "b1", "b2"]
    assert table(differences).endswith("first bad layer: b1")
    assert "no bad layer" in table(differences[:1])


def test_what_cannot_be_compared():
    with pytest.raises(VitrifyError, match=r"layer a: expected shape \[2\], found \[3\]"):
        difference("a", np.zeros(2), np.zeros(3))
    with pytest.raises(VitrifyError, match="no layer name in common"):
        compare({"a": np.zeros(1)}, {"b": np.zeros(1)})


@pytest.mark.parametrize(("precision", "cosine"), [("f32", 1 - 1e-9), ("bf16", 0.9999), ("fp8", 0.995), ("int8", 0.995)])
def test_compiled_values_are_the_interpreters(precision, cosine, tmp_path, monkeypatch):
    """Each value of the f32 model, and of the quantised one as its codes and scales say, over batches of several sizes."""
    x = seeded.pixels("relu_sharded", 5)
    with module_of(seeded.write_folder("relu_sharded", tmp_path / "m")) as module:
        write_ranges(tmp_path / "ranges.json", observe(module, x), len(x), "amax")
        ranges = tmp_path / "ranges.json" if precision in ("fp8", "int8") else None
        monkeypatch.setattr(taps, "VALUE_BYTES", 1 << 20)
        exact = evaluate.named_values(module, x)
        expected = exact if precision == "f32" else evaluate.named_values(module, x, precision, ranges)
        found = taps.named_values(module, x, precision, ranges)
        monkeypatch.setattr(taps, "host_target", lambda: "x86-64-v0")
        interpreted = taps.named_values(module, x, precision, ranges)
    assert set(exact) == set(found) and list(interpreted) == list(expected)
    for d in compare(exact, found):
        assert d.cosine > cosine, d
    # int8 codes have no name of their own in the interpreter's values: those of f32 are what is near.
    for d in compare({name: value for name, value in expected.items() if precision != "int8"} or exact, found):
        assert d.cosine > cosine, d


def test_codes_times_their_scales():
    codes = np.float32([[1, 2, 3, 4], [5, 6, 7, 8]])
    np.testing.assert_array_equal(taps.dequantised(codes, np.float32([2])), 2 * codes)
    np.testing.assert_array_equal(taps.dequantised(codes, np.float32([1, 10])), [[1, 2, 3, 4], [50, 60, 70, 80]])
    np.testing.assert_array_equal(taps.dequantised(codes, np.float32([[1, 10], [2, 0]])), [[1, 2, 30, 40], [10, 12, 0, 0]])
    np.testing.assert_array_equal(taps.dequantised(np.uint8([[128, 127, 255, 0]]), np.float32([2])), [[0, -2, 254, -256]])
    np.testing.assert_array_equal(taps.dequantised(codes[:, :3], np.float32([[1, 10], [2, 0]])), [[1, 2, 30], [10, 12, 0]])
