"""Metrics of vitrify compare, against their definitions on values worked out by hand."""
import math

import numpy as np
import pytest

from vitrify.compare import compare, difference, table
from vitrify.errors import VitrifyError


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
