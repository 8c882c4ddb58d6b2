"""Files that the C++ writers made (the fuzzers' seeds, which a gtest compares with what the writers write now), read by the
libraries whose formats they are."""
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

CORPUS = Path(__file__).resolve().parent.parent / "Fuzz" / "corpus"


def test_safetensors_library_reads_our_weights():
    path = CORPUS / "safetensors-fuzz" / "weights.safetensors"
    with safe_open(str(path), framework="numpy") as file:
        names = [name for name in file.keys() if not name.startswith("__pad.")]
        assert sorted(names) == ["b0.sx", "b0.w"]
        weights = file.get_tensor("b0.w")
        assert weights.dtype == np.float32
        np.testing.assert_array_equal(weights, 0.25 * np.arange(1, 16 * 8 + 1, dtype=np.float32).reshape(16, 8))
        np.testing.assert_array_equal(file.get_tensor("b0.sx"), np.array([0.25], np.float32))
    # The data starts at a page, so that the alignments within it are those of the file.
    assert (8 + int.from_bytes(path.read_bytes()[:8], "little")) % 4096 == 0


@pytest.mark.parametrize("name, dtype", [("F32", np.float32), ("F16", np.float16), ("U8", np.uint8)])
def test_numpy_reads_our_npy(name, dtype):
    array = np.load(CORPUS / "npy-fuzz" / f"{name}.npy", allow_pickle=False)
    assert array.dtype == dtype and array.shape == (2, 3) and array.flags.c_contiguous
    assert array.tobytes() == b"\x01" * array.nbytes
