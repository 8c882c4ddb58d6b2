"""NVFP4 from its specification, in numpy: E2M1 codes (OCP Microscaling Formats 1.0), an E4M3 scale for 16 elements of a row, one float32 scale of all."""
import ml_dtypes
import numpy as np

E4M3 = ml_dtypes.float8_e4m3fn
# Sign, two bits of exponent (bias 1), one of fraction: subnormals are 0 and 0.5.
VALUES = np.array([(-1)**(c >> 3) * ((c & 1) * 0.5 if (c >> 1 & 3) == 0 else 2.0**((c >> 1 & 3) - 1) * (1 + (c & 1) / 2)) for c in range(16)])


def encode_e2m1(x):
    """Codes nearest to x, of two equally near ones the even one; beyond 6 the largest. By looking at all of them."""
    distance = np.abs(np.minimum(np.abs(x.astype(np.float64)), 6)[..., None] - VALUES[:8])
    nearest = distance == distance.min(-1, keepdims=True)
    code = nearest.argmax(-1)
    tie = nearest.sum(-1) == 2
    code = np.where(tie & (code % 2 == 1), code + 1, code)
    return (code + 8 * np.signbit(x)).astype(np.uint8)


def quantise(w):
    """(codes [N, K] of 0 to 15, scales E4M3 [N, K / 16], scale of all): in float32, as the compiler says that it rounds."""
    n, k = w.shape
    of_all = np.float32(np.float64(np.abs(w).max()) / (6 * 448)) if np.abs(w).max() else np.float32(1)
    most = np.abs(w).reshape(n, k // 16, 16).max(2)
    most = np.where(most > 0, (most.astype(np.float64) / 6).astype(np.float32), np.float32(1))
    scales = np.minimum(most * (np.float32(1) / of_all), np.float32(448)).astype(E4M3)
    each = np.repeat(scales.astype(np.float32) * of_all, 16, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(each > 0, w * (np.float32(1) / each), 0)
    return encode_e2m1(scaled.astype(np.float32)), scales, of_all


def decode(codes, scales):
    """Codes times the scales of their blocks, in float64; the scale of all is left out."""
    return VALUES[codes] * np.repeat(scales.astype(np.float64), 16, 1)


def unpacked(data):
    """Codes of bytes that hold two, the first in the low half."""
    return np.stack([data & 15, data >> 4], -1).reshape(*data.shape[:-1], -1)


def stored(entry, data, n=None):
    """(codes [N, K], scales [N, K / 16]) of a bundle's tensor: rows of blocks, or panels of them. `data` are its bytes, `entry` its header."""
    shape = entry["shape"]
    if len(shape) == 2:
        blocks = data.reshape(shape[0], -1, 9)
        return unpacked(blocks[:, :, :8].reshape(shape[0], -1)), blocks[:, :, 8].view(E4M3)
    panels, groups, width = shape[0], shape[1], shape[2] // 18
    runs = data.reshape(panels, groups, 9, width).transpose(0, 3, 1, 2).reshape(panels * width, groups, 9)[:n]
    return unpacked(np.ascontiguousarray(runs[:, :, :8]).reshape(len(runs), -1)), np.ascontiguousarray(runs[:, :, 8]).view(E4M3)
