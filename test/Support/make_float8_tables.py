#!/usr/bin/env python3
"""Writes test/Support/Float8Tables.bin with ml_dtypes, the independent implementation.

The file holds, in this order: the f32 bits of all 256 E4M3 codes, of all 256 E5M2 codes, of all 256 E8M0 codes, of the 16
E2M1 codes; the E4M3 code of all 65,536 f16 inputs, saturating; their E2M1 code, saturating; the f32 bits of all 65,536 f16
values; then 4,096 f32 inputs (special values, rounding boundaries, seeded noise) with their E4M3, E2M1, BF16 and F16 results.

    pip install numpy ml_dtypes && test/Support/make_float8_tables.py
"""
import pathlib

import ml_dtypes
import numpy as np

OUT = pathlib.Path(__file__).resolve().parent / "Float8Tables.bin"


def saturating(x: np.ndarray, dtype, limit: float, nan_code: int) -> np.ndarray:
    """Codes of x: clipped first, so that ml_dtypes' overflow to NaN never happens; any NaN gives nan_code."""
    codes = np.clip(np.nan_to_num(x, nan=0.0, posinf=limit, neginf=-limit), -limit, limit).astype(dtype).view(np.uint8)
    return np.where(np.isnan(x), np.uint8(nan_code), codes)


def bits(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).view(np.uint32)


def inputs() -> np.ndarray:
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 448, 464, 463.99997, 464.00003, 65504, 65519.996, 65520, 3.4e38,
                        1e-45, -1e-45, 2**-10, 2**-9, 2**-24, 2**-25, 2**-14, 6, 7, 0.25, 0.75], np.float32)
    midpoints = []
    for code in range(0x7E):
        a, b = np.array([code, code + 1], np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)
        middle = np.float32((a + b) / 2)
        midpoints += [middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(1000)), -middle]
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(4096).astype(np.float32) * np.exp2(rng.integers(-30, 20, 4096)).astype(np.float32)
    return np.concatenate([special, np.array(midpoints, np.float32), noise])[:4096]


def main() -> None:
    codes = np.arange(256, dtype=np.uint8)
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    x = inputs()
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [
            bits(codes.view(ml_dtypes.float8_e4m3fn)),
            bits(codes.view(ml_dtypes.float8_e5m2)),
            bits(codes.view(ml_dtypes.float8_e8m0fnu)),
            bits(codes[:16].view(ml_dtypes.float4_e2m1fn)),
            saturating(halves, ml_dtypes.float8_e4m3fn, 448, 0x7F),
            saturating(halves, ml_dtypes.float4_e2m1fn, 6, 0x7),
            bits(halves),
            x.view(np.uint32),
            saturating(x, ml_dtypes.float8_e4m3fn, 448, 0x7F),
            saturating(x, ml_dtypes.float4_e2m1fn, 6, 0x7),
            x.astype(ml_dtypes.bfloat16).view(np.uint16),
            x.astype(np.float16).view(np.uint16),
        ]
    OUT.write_bytes(b"".join(part.tobytes() for part in parts))
    print(f"wrote {OUT} ({OUT.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
