"""CUDA C++ kernels, compiled to PTX by nvcc, run on the emulator with all checks on: results against numpy, no reports."""
import math
import zlib

import ml_dtypes
import numpy as np
import pytest
from cuda_sources import ptx

from vitrify import emulator

E4M3 = ml_dtypes.float8_e4m3fn


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def run(source, kernel, grid, block, *arguments, faults=0, **options):
    result = emulator.run(ptx(source), kernel, grid, block, list(arguments), **options)
    assert result.faults == faults, result.reports[:2]
    return result.arrays


def empty(dtype, *shape):
    return emulator.Empty(shape, dtype)


# --- sums and searches


def test_reduce_shared(rng):
    x = rng.random(1000, dtype=np.float32)
    partial = run("reduce.cu", "reduce_shared", 4, 256, x, empty(np.float32, 4), 1000)[1]
    padded = np.append(x, np.zeros(24, np.float32)).reshape(4, 256)
    np.testing.assert_allclose(partial, padded.astype(np.float64).sum(axis=1), rtol=1e-6)


def test_reduce_shuffle(rng):
    x = rng.integers(-(2**31), 2**31, 3000).astype(np.int32)
    total = run("reduce.cu", "reduce_shuffle", 3, 256, x, np.zeros(1, np.int32), 3000)[1]
    assert total[0] == x.sum(dtype=np.int32)


def test_reduce_last_block(rng):
    x = rng.random(5000)
    total = run("reduce.cu", "reduce_last_block", 6, 128, x, empty(np.float64, 6), np.zeros(1, np.uint32), empty(np.float64, 1), 5000)
    np.testing.assert_allclose(total[3][0], math.fsum(x), rtol=1e-13)


def test_argmax_rows(rng):
    x = rng.integers(0, 50, (7, 133)).astype(np.float32)  # many equals
    assert (run("reduce.cu", "argmax_rows", 7, 32, x, empty(np.int32, 7), 133)[1] == x.argmax(axis=1)).all()


def test_reduce_redux(rng):
    x = rng.integers(0, 2**32, (3, 32), dtype=np.uint32)
    out = run("reduce.cu", "reduce_redux", 3, 32, x, empty(np.uint32, 3, 3))[1]
    expected = [[row.sum(dtype=np.uint32), row.max(), np.bitwise_xor.reduce(row)] for row in x]
    assert (out == np.array(expected, np.uint32)).all()


def test_reduce_tiles(rng):
    x = rng.integers(-100, 100, 256).astype(np.int32)
    assert (run("reduce.cu", "reduce_tiles", 2, 128, x, empty(np.int32, 32))[1] == x.reshape(32, 8).sum(axis=1)).all()


def test_reduce_grid(rng):
    x = rng.random(4000, dtype=np.float32)
    out = run("reduce.cu", "reduce_grid", 5, 128, x, empty(np.float32, 20), empty(np.float32, 1), 4000, cooperative=True)[2]
    np.testing.assert_allclose(out[0], x.astype(np.float64).sum(), rtol=1e-6)


def test_count_coalesced(rng):
    x = rng.integers(0, 1000, 500).astype(np.int32)
    assert run("reduce.cu", "count_coalesced", 4, 128, x, np.zeros(1, np.int32), 500)[1][0] == (x % 2 == 0).sum()


# --- prefix sums and sorting


def test_scan_steps(rng):
    x = rng.integers(-100, 100, (3, 256)).astype(np.int32)
    assert (run("scan.cu", "scan_steps", 3, 256, x, empty(np.int32, 3, 256))[1] == x.cumsum(axis=1)).all()


def test_scan_tree(rng):
    x = rng.integers(-100, 100, 512).astype(np.int32)
    out = run("scan.cu", "scan_tree", 1, 256, x, empty(np.int32, 512), shared=2048)[1]
    assert (out == np.append(0, x.cumsum()[:-1])).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scan_lookback(rng, seed):
    n = 40 * 256 - 3
    x = rng.integers(-50, 50, n).astype(np.int32)
    out = run("scan.cu", "scan_lookback", 40, 256, x, empty(np.int32, n), np.zeros(40, np.uint64), np.zeros(1, np.uint32), n, seed=seed)
    assert (out[1] == x.cumsum()).all()


def test_compact_warp(rng):
    x = rng.integers(-9, 9, 32).astype(np.int32)
    out = run("scan.cu", "compact_warp", 1, 32, x, np.zeros(32, np.int32), empty(np.int32, 1))
    assert out[2][0] == (x > 0).sum() and (out[1][: out[2][0]] == x[x > 0]).all()


def test_sort_bitonic(rng):
    x = rng.integers(-1000, 1000, (2, 256)).astype(np.int32)
    assert (run("scan.cu", "sort_bitonic", 2, 256, x.copy(), shared=1024)[0] == np.sort(x, axis=1)).all()


def test_sort_radix(rng):
    x = rng.integers(0, 2**32, 128, dtype=np.uint32)
    assert (run("scan.cu", "sort_radix", 1, 128, x.copy())[0] == np.sort(x)).all()


def test_sort_rank(rng):
    x = rng.integers(0, 40, 200).astype(np.float32)
    assert (run("scan.cu", "sort_rank", 2, 128, x, empty(np.float32, 200), 200)[1] == np.sort(x)).all()


def test_histogram_shared(rng):
    x = rng.integers(0, 256, 3000).astype(np.uint8)
    bins = run("scan.cu", "histogram_shared", 3, 256, x, np.zeros(256, np.uint32), 3000)[1]
    assert (bins == np.bincount(x, minlength=256)).all()


# --- rows, transposes, formats


def test_softmax_online(rng):
    x = (rng.random((5, 197), dtype=np.float32) - 0.5) * 20
    y = run("rows.cu", "softmax_online", 5, 32, x, empty(np.float32, 5, 197), 197)[1]
    e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    np.testing.assert_allclose(y, e / e.sum(axis=1, keepdims=True), rtol=3e-6)


def test_layer_norm(rng):
    x, g, b = rng.standard_normal((4, 300), np.float32), rng.random(300, np.float32), rng.random(300, np.float32)
    y = run("rows.cu", "layer_norm", 4, 128, x, g, b, empty(np.float32, 4, 300), 300, np.float32(1e-6))[3]
    d = x.astype(np.float64)
    expected = (d - d.mean(axis=1, keepdims=True)) / np.sqrt(d.var(axis=1, keepdims=True) + 1e-6) * g + b
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-6)


def test_rms_norm_half2(rng):
    x = rng.standard_normal((3, 128)).astype(np.float16)
    y = run("rows.cu", "rms_norm_half2", 3, 32, x, empty(np.float16, 3, 128), 64)[1]
    d = x.astype(np.float64)
    np.testing.assert_allclose(y.astype(np.float64), d / np.sqrt((d**2).mean(axis=1, keepdims=True) + 1e-5), rtol=2e-3)


def test_gelu_bf16(rng):
    x = (rng.standard_normal(200) * 2).astype(ml_dtypes.bfloat16)
    y = run("rows.cu", "gelu_bf16", 2, 128, x, empty(ml_dtypes.bfloat16, 200), 200)[1]
    expected = np.array([0.5 * v * (1 + math.erf(v * 0.70710678)) for v in x.astype(np.float64)])
    np.testing.assert_allclose(y.astype(np.float64), expected, rtol=2**-8, atol=1e-6)


def test_quantise_e4m3(rng):
    x = np.concatenate([rng.standard_normal(500) * 100, [0, -0.0, 1e9, -1e9, 2**-9, 2**-10, 464, 465]]).astype(np.float32)
    y = run("rows.cu", "quantise_e4m3", 4, 128, x, empty(np.uint8, x.size), np.float32(1), x.size)[1]
    expected = np.clip(x, -448, 448).astype(E4M3).view(np.uint8)
    assert (y == expected).all()


def test_dequantise_e5m2():
    x = np.arange(256, dtype=np.uint8)
    y = run("rows.cu", "dequantise_e5m2", 1, 256, x, empty(np.float16, 256), 256)[1]
    expected = x.view(ml_dtypes.float8_e5m2).astype(np.float16)
    same = (y == expected) | (np.isnan(y) & np.isnan(expected))
    assert same.all()


@pytest.mark.parametrize("shape", [(64, 64), (50, 70)])
def test_transpose_tile(rng, shape):
    x = rng.random(shape, dtype=np.float32)
    y = run("rows.cu", "transpose_tile", (3, 2), (32, 8), x, empty(np.float32, *shape[::-1]), *shape)[1]
    assert (y == x.T).all()


def test_transpose_swizzled(rng):
    x = rng.random((64, 64), dtype=np.float32)
    assert (run("rows.cu", "transpose_swizzled", (2, 2), 256, x, empty(np.float32, 64, 64), 64)[1] == x.T).all()


def test_permute_bytes(rng):
    x = rng.integers(1, 2**32, 32, dtype=np.uint32)
    y = run("rows.cu", "permute_bytes", 1, 32, x, empty(np.uint32, 32, 3))[1]
    for t, v in enumerate(map(int, x)):
        both = v.to_bytes(4, "little") + (0x11223344).to_bytes(4, "little")
        permuted = int.from_bytes(bytes(both[i] for i in (7, 2, 5, 0)), "little")
        brev, clz, ffs = int(f"{v:032b}"[::-1], 2), 32 - v.bit_length(), (v & -v).bit_length()
        wide = ((~v & 0xFFFFFFFF) << 32 | v) << t
        added = int.from_bytes(bytes((b + 1) % 256 for b in v.to_bytes(4, "little")), "little")
        assert list(map(int, y[t])) == [permuted, (brev + clz + ffs) % 2**32, (wide >> 32) % 2**32 ^ added]


def test_stencil(rng):
    x = rng.random((32, 32), dtype=np.float32)
    y = run("rows.cu", "stencil_3x3", (2, 2), (16, 16), x, empty(np.float32, 32, 32), 32)[1]
    padded = np.pad(x.astype(np.float64), 1)
    expected = sum(padded[r : r + 32, c : c + 32] * (3 * r + c + 1) for r in range(3) for c in range(3))
    np.testing.assert_allclose(y, expected, rtol=1e-5)


# --- matrix products


def test_matmul_tiled(rng):
    a, b = rng.random((37, 50), np.float32), rng.random((50, 41), np.float32)
    c = run("matmul.cu", "matmul_tiled", (3, 3), (16, 16), a, b, empty(np.float32, 37, 41), 37, 41, 50)[2]
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, rtol=1e-5)


def test_matmul_wmma_f16(rng):
    a, b = rng.standard_normal((32, 48)).astype(np.float16), rng.standard_normal((48, 32)).astype(np.float16)
    c = run("matmul.cu", "matmul_wmma_f16", (2, 2), 32, a, b, empty(np.float32, 32, 32), 32, 48)[2]
    np.testing.assert_allclose(c, a.astype(np.float64) @ b.astype(np.float64), rtol=1e-4, atol=1e-4)


def test_matmul_wmma_bf16(rng):
    a, b = (rng.standard_normal((32, 48)).astype(ml_dtypes.bfloat16) for _ in range(2))
    c = run("matmul.cu", "matmul_wmma_bf16", (2, 2), 32, a, b, empty(np.float32, 32, 32), 32, 48)[2]
    np.testing.assert_allclose(c, a.astype(np.float64) @ b.astype(np.float64).T, rtol=1e-4, atol=1e-4)


def test_matmul_wmma_s8(rng):
    a, b = (rng.integers(-128, 128, (32, 64)).astype(np.int8) for _ in range(2))
    c = run("matmul.cu", "matmul_wmma_s8", (2, 2), 32, a, b, empty(np.int32, 32, 32), 32, 64)[2]
    assert (c == a.astype(np.int32) @ b.astype(np.int32).T).all()


def test_matmul_ldmatrix(rng):
    a, b = rng.standard_normal((32, 64)).astype(np.float16), rng.standard_normal((24, 64)).astype(np.float16)
    c = run("matmul.cu", "matmul_ldmatrix", (3, 2), 32, a, b, empty(np.float32, 32, 24), 24, 64)[2]
    np.testing.assert_allclose(c, a.astype(np.float64) @ b.astype(np.float64).T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("arithmetic", ["chip", "plain"])
def test_matmul_e4m3(rng, arithmetic):
    a, b = rng.standard_normal((32, 64)).astype(E4M3), rng.standard_normal((16, 64)).astype(E4M3)
    c = run("matmul.cu", "matmul_e4m3", (2, 2), 32, a.view(np.uint8), b.view(np.uint8), empty(np.float32, 32, 16), 16, 64,
            arithmetic=arithmetic)[2]
    exact = a.astype(np.float64) @ b.astype(np.float64).T
    # 13 fraction bits of the largest term on the chip, f32 otherwise.
    np.testing.assert_allclose(c, exact, rtol=0, atol=0.05 if arithmetic == "chip" else 1e-4)
    if arithmetic == "chip":
        assert (c.view(np.uint32) & 0x3FF == 0).all()  # results keep 13 fraction bits


def test_matmul_tf32(rng):
    a, b = rng.standard_normal((16, 24)).astype(np.float32), rng.standard_normal((24, 32)).astype(np.float32)
    c = run("matmul.cu", "matmul_tf32", (2, 1), 32, a, b, empty(np.float32, 16, 32), 32, 24)[2]
    np.testing.assert_allclose(c, a.astype(np.float64) @ b.astype(np.float64), rtol=0, atol=2e-2)
    assert not np.array_equal(c, a @ b)


def test_matmul_f64(rng):
    a, b = rng.standard_normal((16, 12)), rng.standard_normal((12, 24))
    c = run("matmul.cu", "matmul_f64", (3, 2), 32, a, b, empty(np.float64, 16, 24), 24, 12)[2]
    np.testing.assert_allclose(c, a @ b, rtol=1e-12, atol=1e-13)


def test_dot_dp4a(rng):
    a, b = rng.integers(-128, 128, (5, 32)).astype(np.int8), rng.integers(-128, 128, (64, 32)).astype(np.int8)
    c = run("matmul.cu", "dot_dp4a", (2, 5), 32, a.view(np.int32), b.view(np.int32), empty(np.int32, 5, 64), 64, 8)[2]
    assert (c == a.astype(np.int32) @ b.astype(np.int32).T).all()


def test_matmul_pipelined(rng):
    a, b = rng.random((128, 40), np.float32), rng.random((40, 64), np.float32)
    c = run("matmul.cu", "matmul_pipelined", (1, 2), 256, a, b, empty(np.float32, 128, 64), 64, 40)[2]
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, rtol=1e-5)


@pytest.mark.parametrize("blocks,seed", [(5, 0), (7, 3)])
def test_matmul_stream_k(rng, blocks, seed):
    a, b = rng.random((48, 80), np.float32), rng.random((80, 32), np.float32)
    c = run("matmul.cu", "matmul_stream_k", blocks, (16, 16), a, b, empty(np.float32, 48, 32), empty(np.float32, blocks, 256),
            np.zeros(blocks, np.uint32), 32, 80, 6, 5, seed=seed)[2]
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, rtol=1e-5)


# --- locks, queues, control flow


def test_spin_lock():
    assert run("atomics.cu", "spin_lock", 3, 64, np.zeros(1, np.int32), np.zeros(1, np.int32))[1][0] == 192


def test_atomic_max_float(rng):
    x = rng.random(300, dtype=np.float32)
    assert run("atomics.cu", "atomic_max_float", 3, 128, x, np.zeros(1, np.float32), 300)[1][0] == x.max()


def test_work_queue(rng):
    cost = rng.integers(0, 60, 30).astype(np.uint32)
    result = run("atomics.cu", "work_queue", 4, 64, np.zeros(1, np.uint32), cost, np.zeros(30, np.uint32), 30)[2]
    for item in range(30):
        value = np.arange(64, dtype=np.uint32)
        for _ in range(cost[item]):
            value = value * np.uint32(1664525) + np.uint32(1013904223)
        assert result[item] == np.bitwise_xor.reduce(value)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_producer_consumer(seed):
    out = run("atomics.cu", "producer_consumer", 2, 64, empty(np.int32, 64), np.zeros(1, np.int32), empty(np.int32, 64), seed=seed)[2]
    assert (out == (np.arange(64) * 3 + 1) * 2).all()


def test_split_barrier(rng):
    x = rng.integers(0, 100, 128).astype(np.int32)
    out = run("atomics.cu", "split_barrier", 1, 128, x, empty(np.int32, 3, 128))[1]
    expected = [np.roll(x, -(37 + r)) + r for r in range(3)]
    assert (out == np.array(expected)).all()


def test_votes(rng):
    x = rng.integers(0, 100, 32).astype(np.int32)
    out = run("atomics.cu", "votes", 1, 32, x, empty(np.uint32, 35))[1]
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    assert (out[:32] == [bits[x % 4 == v % 4].sum() for v in x]).all()
    assert out[32] == (x > 90).any() and out[33] == 1 and out[34] == bits[x % 2 == 1].sum()


def test_recursion():
    out = run("atomics.cu", "recursion", 1, 32, empty(np.uint32, 32))[0]
    table = [0, 1]
    while len(table) < 12:
        table.append(table[-1] + table[-2])
    assert (out == [table[t % 12] for t in range(32)]).all()


def test_mandelbrot():
    out = run("atomics.cu", "mandelbrot", (2, 30), 32, empty(np.int32, 30, 50), 50, 60)[0]
    x, y = np.meshgrid(np.arange(50), np.arange(30))
    cr, ci = x * 3.0 / 50 - 2, y * 2.0 / 30 - 1
    zr, zi, steps = np.zeros_like(cr), np.zeros_like(cr), np.zeros(cr.shape, int)
    for _ in range(60):
        inside = zr * zr + zi * zi <= 4
        steps += inside
        zr, zi = np.where(inside, (zr * zr - zi * zi) + cr, zr), np.where(inside, (2 * zr) * zi + ci, zi)
    assert (out != steps).mean() < 0.005  # the loop's test may use a fused multiply-add


def test_long_division(rng):
    a = rng.integers(0, 2**64, 32, dtype=np.uint64)
    b = np.maximum(rng.integers(0, 2**64, 32, dtype=np.uint64) >> rng.integers(0, 63, 32).astype(np.uint64), 1)
    out = run("atomics.cu", "long_division", 1, 32, a, b, empty(np.uint64, 32, 4))[2]

    def signed(v):
        return v - 2**64 if v >= 2**63 else v

    for row, x, y in zip(out, map(int, a), map(int, b)):
        s, t = signed(x), signed(y | 1)
        quotient = abs(s) // abs(t) * (1 if (s < 0) == (t < 0) else -1)
        assert list(map(int, row)) == [x // y, x % y, x * y >> 64, quotient % 2**64]


def test_switch_case(rng):
    x = rng.integers(0, 100000, 500).astype(np.int32)
    out = run("atomics.cu", "switch_case", 4, 128, x, empty(np.int32, 500), 500)[1]
    cases = [lambda v: v * 3, lambda v: v + 17, lambda v: v ^ 0x55, lambda v: v // 7, lambda v: -v, lambda v: v << 3, lambda v: v | 0x100,
             lambda v: v - 1000, lambda v: ~v, lambda v: v % 5, lambda v: 42]
    assert (out == [cases[v % 11](v) for v in map(int, x)]).all()


def test_crc32(rng):
    data = rng.integers(0, 256, (32, 20)).astype(np.uint8)
    out = run("atomics.cu", "crc32", 1, 32, data, empty(np.uint32, 32), 20)[1]
    assert (out == [zlib.crc32(row.tobytes()) for row in data]).all()


def test_spaces(rng):
    x = rng.integers(0, 8, 32).astype(np.int32)
    params = np.zeros(1, np.dtype({"names": ["scale", "offset", "factor"], "formats": [np.int32, (np.int16, 3), np.float64],
                                   "offsets": [0, 4, 16], "itemsize": 24}))
    params["scale"], params["offset"], params["factor"] = 5, [10, -20, 30], 0.25
    out = run("atomics.cu", "spaces", 1, 32, params.tobytes(), x, empty(np.float64, 32))[2]
    for t in range(32):
        local = [0] * 8
        for i in range(8):
            local[(i * 3 + 5) % 8] = x[(t + i) % 32]
        total = sum(int(local[(x[t] + i) & 7]) * (i + 1) for i in range(8))
        assert out[t] == total * 0.25 + [10, -20, 30][t % 3] + [0.5, -1.5, 2.0, 0.25][t % 4]


def test_say(capfd):
    run("atomics.cu", "say", 3, 32, 3, threads=1)
    lines = sorted(line for line in capfd.readouterr().out.splitlines() if line.startswith("block"))
    assert lines == [f"block {b} of 3 says {1.5 * b:.2f} so" for b in range(3)]
