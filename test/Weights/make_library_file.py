#!/usr/bin/env python3
"""Writes test/Weights/library.safetensors with the safetensors library: one tensor of each element type it takes from numpy.

    pip install numpy ml_dtypes safetensors && test/Weights/make_library_file.py
"""
import pathlib

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

TYPES = {"f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "e4m3": ml_dtypes.float8_e4m3fn,
         "e5m2": ml_dtypes.float8_e5m2, "i8": np.int8, "u8": np.uint8, "i16": np.int16, "u16": np.uint16, "i32": np.int32,
         "u32": np.uint32, "i64": np.int64, "u64": np.uint64, "bool": np.bool_, "c64": np.complex64}


def main() -> None:
    path = pathlib.Path(__file__).resolve().parent / "library.safetensors"
    tensors = {name: np.arange(6).reshape(2, 3).astype(dtype) for name, dtype in TYPES.items()}
    tensors["scalar"] = np.array(2.5, np.float32)
    tensors["empty"] = np.zeros((0, 4), np.float32)
    save_file(tensors, str(path), metadata={"made": "by the library"})
    print(f"wrote {path} ({path.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
