#===- test_x86_rows.py - row and gather kernels against numpy in f64 -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
import math

import numpy as np
import pytest

from x86_kernels import BF16, E4M3, Columns, Kernels, op_targets, tensor_type, ulp_error, weight

TARGETS = pytest.mark.parametrize("target", op_targets())
COLUMNS = pytest.mark.parametrize("columns", [1, 7, 16, 72, 197, 768])


def normal(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(np.float32).astype(dtype)


def one_op(arguments, op):
    """A function of named arguments with one op; arguments: name -> array or type text."""
    kinds = (f"%{n}: {a if isinstance(a, str) else tensor_type(a)}" for n, a in arguments.items())
    return f"func.func @f({', '.join(kinds)}) {{\n  %r = {op}\n  return\n}}\n"


ACTS = {"gelu_erf": lambda x: x * 0.5 * np.vectorize(math.erfc)(-x / math.sqrt(2)),
        "gelu_tanh": lambda x: x / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)), "silu": lambda x: x / (1 + np.exp(-x)),
        "relu": lambda x: np.maximum(x, 0), "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


def norm_reference(x, kind, width, gamma, beta, eps):
    g = x.astype(np.float64).reshape(len(x), -1, width)
    if kind == "layer":
        g = g - g.mean(-1, keepdims=True)
    g = g / np.sqrt((g**2).mean(-1, keepdims=True) + eps)
    return (g * (1 if gamma is None else gamma.astype(np.float64)) + (0 if beta is None else beta)).reshape(x.shape)


@TARGETS
@COLUMNS
@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_norm(target, columns, kind):
    rng = np.random.default_rng(columns)
    x, gamma, beta = normal(rng, 19, columns) * 3 + 1, normal(rng, columns), normal(rng, columns)
    extra = "" if kind == "rms" else f" beta(%b : tensor<{columns}xf32>)"
    source = one_op({"x": x, "g": f"tensor<{columns}xf32>", "b": f"tensor<{columns}xf32>"},
                    f"vit.norm {kind} %x gamma(%g : tensor<{columns}xf32>){extra} eps 1.0e-5 layers [\"n\"] : "
                    f"{tensor_type(x)} -> {tensor_type(x)}")
    out, = Kernels(source, target).call({0: x, 1: gamma, 2: beta}, [np.empty(x.shape, np.float32)], parts=3)
    expected = norm_reference(x, kind, columns, gamma, beta if kind == "layer" else None, 1e-5)
    assert np.max(np.abs(out - expected)) < 4e-6 * max(1, np.abs(expected).max())


@TARGETS
@pytest.mark.parametrize("dtype", [np.float32, BF16, np.float16], ids=["f32", "bf16", "f16"])
def test_norm_over_heads_of_a_view_with_static_requantise(target, dtype):
    rng = np.random.default_rng(2)
    base, gamma = normal(rng, 5, 200, dtype=dtype), normal(rng, 24)
    x = Columns(base, 32, 32 + 96)
    rows = tensor_type(np.empty(x.shape, dtype))
    source = (f"func.func @f(%base: {tensor_type(base)}, %n: index, %g: tensor<24xf32>, %i: tensor<1xf32>) {{\n"
              f"  %x = tensor.extract_slice %base[0, 32] [%n, 96] [1, 1] : {tensor_type(base)} to {rows}\n"
              f'  %r = vit.norm rms %x gamma(%g : tensor<24xf32>) eps 1.0e-6 width 24 layers ["n"] : {rows} -> '
              "tensor<?x96xf8E4M3FN> epilogue(%i [(m, n) -> ()] : tensor<1xf32>) group 1 {\n"
              "  ^bb0(%v: f32, %s: f32):\n    %t = arith.mulf %v, %s : f32\n"
              "    %c = vit.convert %t sat : f32 to f8E4M3FN\n    vit.yield %c : f8E4M3FN\n  }\n  return\n}\n")
    out, = Kernels(source, target).call({0: x, 1: gamma, 2: np.float32([60])}, [np.empty(x.shape, E4M3)])
    expected = norm_reference(x.values, "rms", 24, gamma, None, 1e-6) * 60
    exact = expected.astype(np.float32).astype(E4M3).astype(np.float64)
    assert np.mean(out.astype(np.float64) != exact) < 0.01  # f32 rounding may cross a tie
    assert np.all(np.abs(out.astype(np.float64) - np.clip(expected, -448, 448)) <= np.maximum(np.abs(expected) / 15, 2.0**-9))


@TARGETS
@pytest.mark.parametrize("columns", [5, 96, 770])
@pytest.mark.parametrize("code, largest", [(E4M3, 448), (np.int8, 127)], ids=["e4m3", "i8"])
def test_norm_with_a_scale_per_token(target, columns, code, largest):
    """A group of all columns: a reduction in the epilogue, codes and scales as two results."""
    rng = np.random.default_rng(columns)
    x = normal(rng, 9, columns)
    d, name = columns, tensor_type(np.empty(1, code), False)[9:-1]
    source = one_op({"x": x}, f"""vit.norm layer %x eps 1.0e-5 layers ["n", "q"] : {tensor_type(x)} ->
      tensor<?x{d}x{name}>, tensor<?x1xf32> epilogue() group {d} {{
  ^bb0(%v: vector<{d}xf32>):
    %zero = arith.constant 0.0 : f32
    %448 = arith.constant {largest}.0 : f32
    %a = math.absf %v : vector<{d}xf32>
    %m = vector.reduction <maximumf>, %a, %zero : vector<{d}xf32> into f32
    %s = arith.divf %m, %448 : f32
    %one = arith.constant 1.0 : f32
    %i = arith.divf %one, %s : f32
    %ib = vector.broadcast %i : f32 to vector<{d}xf32>
    %t = arith.mulf %v, %ib : vector<{d}xf32>
    %c = vit.convert %t sat : vector<{d}xf32> to vector<{d}x{name}>
    vit.yield %c, %s : vector<{d}x{name}>, f32
  }}""".replace("%r = ", "%r:2 = ")).replace("%r = ", "%r:2 = ")
    codes, scales = Kernels(source, target).call({0: x}, [np.empty(x.shape, code), np.empty((9, 1), np.float32)])
    expected = norm_reference(x, "layer", columns, None, None, 1e-5)
    amax = np.abs(expected).max(1, keepdims=True) / largest
    np.testing.assert_allclose(scales, amax, rtol=1e-5)
    error = np.abs(codes.astype(np.float64) * scales - expected)
    assert np.all(error <= (amax * 0.5001 if code == np.int8 else np.maximum(np.abs(expected) / 15, amax * 2.0**-9)))
    assert np.all(np.abs(codes.astype(np.float32)).max(1) == largest)


@TARGETS
@pytest.mark.parametrize("kind", ACTS)
def test_activation_on_views_and_odd_columns(target, kind):
    rng = np.random.default_rng(1)
    x = normal(rng, 3, 37) * 4
    source = one_op({"x": x}, f'vit.act {kind} %x layers ["a"] : {tensor_type(x)}')
    out, = Kernels(source, target).call({0: x}, [np.empty(x.shape, np.float32)])
    np.testing.assert_allclose(out, ACTS[kind](x.astype(np.float64)), rtol=2e-6, atol=1e-7)


@TARGETS
@pytest.mark.parametrize("dtype", [np.float32, BF16], ids=["f32", "bf16"])
def test_glu_and_residual(target, dtype):
    rng = np.random.default_rng(1)
    x, y, scale = normal(rng, 5, 41, dtype=dtype), normal(rng, 5, 41, dtype=dtype), normal(rng, 41)
    bound = 2e-6 if dtype == np.float32 else 2.0**-8
    glu = one_op({"x": x, "y": x}, f'vit.glu silu %x, %y layers ["g"] : {tensor_type(x)}, {tensor_type(x)} -> {tensor_type(x)}')
    out, = Kernels(glu, target).call({0: x, 1: y}, [np.empty(x.shape, dtype)])
    expected = ACTS["silu"](x.astype(np.float64)) * y.astype(np.float64)
    np.testing.assert_allclose(out.astype(np.float64), expected, rtol=bound, atol=bound)
    for scaled in (False, True):
        text = " scale(%s : tensor<41xf32>)" if scaled else ""
        source = one_op({"x": x, "y": x, "s": "tensor<41xf32>"}, f'vit.residual %x, %y{text} layers ["r"] : '
                        f"{tensor_type(x)}, {tensor_type(x)} -> {tensor_type(x)}")
        out, = Kernels(source, target).call({0: x, 1: y, 2: scale}, [np.empty(x.shape, dtype)])
        expected = x.astype(np.float64) + (scale if scaled else 1) * y.astype(np.float64)
        np.testing.assert_allclose(out.astype(np.float64), expected, rtol=bound, atol=bound)


@TARGETS
def test_convert_of_pixels(target):
    x = normal(np.random.default_rng(1), 3, 2, 5, 7)
    kind = "tensor<?x2x?x?xf32>"
    source = one_op({"x": kind}, f"vit.convert %x : {kind} to tensor<?x2x?x?xbf16>")
    out, = Kernels(source, target).call({0: x}, [np.empty(x.shape, BF16)])
    assert np.array_equal(out, x.astype(BF16))


@TARGETS
def test_assemble_tokens(target):
    rng = np.random.default_rng(1)
    patches, prefix, registers = normal(rng, 6, 20), normal(rng, 2, 20), normal(rng, 3, 20)
    kind, out_kind = tensor_type(patches), "tensor<?x20xf32>"
    for with_prefix, with_registers, table_rows in [(1, 1, 5), (1, 0, 5), (0, 0, 3), (1, 0, 3), (0, 1, 3), (0, 0, 0)]:
        position = normal(rng, table_rows, 20) if table_rows else None
        operands, parts = {0: patches}, ""
        for name, table in (("prefix", prefix if with_prefix else None), ("registers", registers if with_registers else None),
                            ("position", position)):
            if table is not None:
                parts += f" {name}(%{name} : {tensor_type(table, False)})"
                operands[len(operands)] = table
        source = one_op({"p": patches, "prefix": tensor_type(prefix, False), "registers": tensor_type(registers, False),
                         "position": tensor_type(position, False) if table_rows else "index"},
                        f'vit.assemble_tokens %p{parts} uniform 3 layers ["t"] : {kind} -> {out_kind}')
        expected = []
        for image in range(2):
            own = patches[image * 3:image * 3 + 3].copy()
            first = prefix.copy() if with_prefix else prefix[:0]
            if table_rows == 5:
                first, own = first + position[:2], own + position[2:]
            elif table_rows:
                own = own + position
            expected += [first, registers if with_registers else registers[:0], own]
        expected = np.concatenate(expected)
        out, = Kernels(source, target).call(operands, [np.empty(expected.shape, np.float32)], parts=3)
        assert np.array_equal(out, expected)


@TARGETS
def test_assemble_and_pool_by_cu_seqlens(target):
    rng = np.random.default_rng(1)
    patches, prefix, cu = normal(rng, 7, 9), normal(rng, 1, 9), np.int32([0, 2, 2, 7])
    source = one_op({"p": patches, "prefix": "tensor<1x9xf32>", "cu": "tensor<?xi32>"},
                    "vit.assemble_tokens %p prefix(%prefix : tensor<1x9xf32>) cu_seqlens(%cu : tensor<?xi32>) "
                    'layers ["t"] : tensor<?x9xf32> -> tensor<?x9xf32>')
    expected = np.concatenate([part for a, b in zip(cu, cu[1:]) for part in (prefix, patches[a:b])])
    out, = Kernels(source, target).call({0: patches, 1: prefix, 2: cu}, [np.empty(expected.shape, np.float32)])
    assert np.array_equal(out, expected)
    for kind, first in (("token", 1), ("mean", 1)):
        ends = np.int32([0, 3, 10])
        x = expected
        source = one_op({"x": x, "cu": "tensor<?xi32>"}, f"vit.pool {kind} {first} %x cu_seqlens(%cu : tensor<?xi32>) "
                        'layers ["p"] : tensor<?x9xf32> -> tensor<?x9xf32>')
        out, = Kernels(source, target).call({0: x, 1: ends}, [np.empty((2, 9), np.float32)])
        rows = [x[a + first] if kind == "token" else x[a + first:b].astype(np.float64).mean(0) for a, b in zip(ends, ends[1:])]
        np.testing.assert_allclose(out, rows, rtol=1e-6, atol=1e-7)


@TARGETS
@pytest.mark.parametrize("kind", ["token 0", "mean 0", "mean 2"])
def test_pool_uniform(target, kind):
    x = normal(np.random.default_rng(1), 12, 33)
    source = one_op({"x": x}, f'vit.pool {kind} %x uniform 4 layers ["p"] : {tensor_type(x)} -> {tensor_type(x)}')
    out, = Kernels(source, target).call({0: x}, [np.empty((3, 33), np.float32)])
    images = x.reshape(3, 4, 33).astype(np.float64)
    expected = images[:, 0] if kind == "token 0" else images[:, int(kind[-1]):].mean(1)
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-7)


@TARGETS
def test_tables(target):
    rng = np.random.default_rng(1)
    table, index, taps = normal(rng, 11, 21), rng.integers(0, 11, (5, 4)).astype(np.int32), normal(rng, 5, 4)
    source = one_op({"t": tensor_type(table, False), "i": index, "w": taps},
                    f'vit.pos_gather %t, %i, %w layers ["p"] : {tensor_type(table, False)}, {tensor_type(index)}, '
                    f"{tensor_type(taps)} -> tensor<?x21xf32>")
    out, = Kernels(source, target).call({0: table, 1: index, 2: taps}, [np.empty((5, 21), np.float32)])
    np.testing.assert_allclose(out, np.einsum("nt,ntd->nd", taps.astype(np.float64), table[index]), rtol=1e-5, atol=1e-6)
    # Indices outside the table are clamped: never an access out of bounds (guard pages would kill the call).
    ids = np.int32([3, 0, 10, 3, 99, -7])
    source = one_op({"t": tensor_type(table, False), "i": ids},
                    f'vit.embed %t, %i layers ["e"] : {tensor_type(table, False)}, {tensor_type(ids)} -> tensor<?x21xf32>')
    out, = Kernels(source, target).call({0: table, 1: ids}, [np.empty((6, 21), np.float32)])
    assert np.array_equal(out, table[[3, 0, 10, 3, 10, 0]])


@TARGETS
@pytest.mark.parametrize("mode", ["set", "add"])
@pytest.mark.parametrize("columns", [3, 64, 100])
def test_scatter_rows(target, mode, columns):
    rng = np.random.default_rng(1)
    x, s, at = normal(rng, 7, columns), normal(rng, 3, columns), np.int32([5, 0, 5])
    source = one_op({"x": x, "s": s, "i": at}, f'vit.scatter_rows {mode} %x, %s, %i layers ["s"] : {tensor_type(x)}, '
                    f"{tensor_type(s)}, {tensor_type(at)} -> {tensor_type(x)}")
    out, = Kernels(source, target).call({0: x, 1: s, 2: at}, [np.empty(x.shape, np.float32)])
    expected = x.copy()
    for row, i in zip(s, at):
        expected[i] = row if mode == "set" else expected[i] + row
    assert np.array_equal(out, expected)


@TARGETS
def test_merge_patches(target):
    x = normal(np.random.default_rng(1), 12, 10)
    source = one_op({"x": x}, f'vit.merge_patches %x by 4 layers ["m"] : {tensor_type(x)} -> tensor<?x40xf32>')
    out, = Kernels(source, target).call({0: x}, [np.empty((3, 40), np.float32)])
    assert np.array_equal(out, x.reshape(3, 40))


@TARGETS
@pytest.mark.parametrize("blocks", [1, 8, 21])
@pytest.mark.parametrize("weighing", ["one", "score", "sigmoid", "softmax"])
@pytest.mark.parametrize("kind", ["topk k 3", "threshold at 0.25"])
def test_gate(target, blocks, weighing, kind):
    if kind.startswith("topk"):
        kind = f"topk k {min(3, blocks)}"
    rng = np.random.default_rng(blocks)
    s = rng.integers(-2, 3, (18, blocks)).astype(np.float32) / 2  # many ties
    source = one_op({"s": s}, f'vit.gate {kind} weight {weighing} %s layers ["g"] : {tensor_type(s)} -> {tensor_type(s)}')
    out, = Kernels(source, target).call({0: s}, [np.empty(s.shape, np.float32)])
    expected = np.zeros(s.shape)
    for row, scores in enumerate(s.astype(np.float64)):
        order = sorted(range(blocks), key=lambda i: (-scores[i], i))[:min(3, blocks)]
        kept = order if kind.startswith("topk") else [i for i in range(blocks) if scores[i] > 0.25]
        e = np.exp(scores[kept])
        expected[row, kept] = {"one": 1, "score": scores[kept], "sigmoid": e / (1 + e),
                               "softmax": e / e.sum() if kept else 0}[weighing]
    np.testing.assert_allclose(out, expected, rtol=2e-6, atol=1e-7)


@TARGETS
def test_gate_threshold_that_is_no_f32(target):
    """0.1 as f32 is above 0.1: a score of just that is kept."""
    s = np.float32([[0.1, np.nextafter(np.float32(0.1), np.float32(0)), 0.2, 0]])
    source = one_op({"s": s}, f'vit.gate threshold at 0.1 weight one %s layers ["g"] : {tensor_type(s)} -> {tensor_type(s)}')
    out, = Kernels(source, target).call({0: s}, [np.empty(s.shape, np.float32)])
    assert np.array_equal(out, [[1, 0, 1, 0]])


def e4m3(x):
    """E4M3 of x saturating, in f64 by definition: nearest even on the spacing of the binade."""
    x = np.asarray(x, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.exp2(np.maximum(np.floor(np.log2(np.abs(x))), -6) - 3)
        return np.clip(np.where(x == 0, x, np.round(x / step) * step), -448, 448)


@TARGETS
def test_e4m3_of_all_f16_and_many_f32(target):
    """Rounding is exact: all 65,536 f16, every tie between codes and its neighbours, saturation, NaN, subnormals."""
    f16 = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(256, 256)
    codes = np.arange(256, dtype=np.uint8).view(E4M3).astype(np.float32)
    finite = np.unique(codes[np.isfinite(codes)])
    ties = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)
    near = np.concatenate([np.nextafter(ties, np.float32(s * np.inf)) for s in (-1, 1)] +
                          [ties, finite, np.float32([448, 449, 464, 465, 1e30, np.inf, -np.inf, 1e-45, 2.0**-10, np.nan])])
    for x in (f16, near.reshape(1, -1)):
        source = one_op({"x": x}, f"vit.convert %x sat : {tensor_type(x)} to tensor<?x{x.shape[1]}xf8E4M3FN>")
        out, = Kernels(source, target).call({0: x}, [np.empty(x.shape, E4M3)])
        expected = e4m3(x.astype(np.float64))
        assert np.array_equal(np.isnan(out.astype(np.float64)), np.isnan(x.astype(np.float64)))
        good = np.isfinite(x.astype(np.float64)) | np.isinf(x.astype(np.float64))
        assert np.array_equal(out.astype(np.float64)[good], np.where(np.isinf(x), np.copysign(448, x.astype(np.float64)), expected)[good])
        # ml_dtypes agrees below the overflow, where it gives NaN and we saturate.
        with np.errstate(all="ignore"):
            theirs = x.astype(np.float32).astype(E4M3).astype(np.float64)
        inside = np.abs(x.astype(np.float64)) <= 448
        assert np.array_equal(out.astype(np.float64)[inside], theirs[inside])


@TARGETS
def test_i8_of_every_code_and_tie(target):
    """Codes are the nearest whole numbers, ties to even, at most 127 in magnitude; NaN gives 0."""
    halves = np.arange(-300, 301, dtype=np.float32) / 2
    near = np.concatenate([np.nextafter(halves, np.float32(s * np.inf)) for s in (-1, 1)] +
                          [halves, np.float32([1e30, -1e30, np.inf, -np.inf, np.nan, -0.0, 1e-45, 3e9, -3e9])]).reshape(1, -1)
    source = one_op({"x": near}, f"vit.convert %x sat : {tensor_type(near)} to tensor<?x{near.shape[1]}xi8>")
    out, = Kernels(source, target).call({0: near}, [np.empty(near.shape, np.int8)])
    np.testing.assert_array_equal(out, np.rint(np.clip(np.nan_to_num(near, nan=0.0, posinf=127, neginf=-127), -127, 127)))
    source = one_op({"c": "tensor<?x255xi8>"}, "vit.convert %c : tensor<?x255xi8> to tensor<?x255xf32>")
    codes = np.arange(-127, 128, dtype=np.int8).reshape(1, -1)
    back, = Kernels(source, target).call({0: codes}, [np.empty(codes.shape, np.float32)])
    np.testing.assert_array_equal(back, codes)


@TARGETS
@pytest.mark.parametrize("code, largest", [(E4M3, 448), (np.int8, 127)], ids=["e4m3", "i8"])
def test_quantize_and_dequantize(target, code, largest):
    exact = e4m3 if code == E4M3 else lambda t: np.rint(np.clip(t, -127, 127))
    rng = np.random.default_rng(1)
    x = normal(rng, 9, 48) * np.exp(normal(rng, 9, 1))
    x[3] = 0
    inverse = lambda s: (np.float32(1) / s.astype(np.float32))
    cases = {"token": (9, 1), "tensor": (1,), "block": (9, 3), "channel": (48,), "static": (1,)}
    for name, shape in cases.items():
        granularity = "tensor" if name == "static" else name
        scale = np.abs(normal(rng, *shape)) + np.float32(0.01)
        given = name in ("channel", "static")
        scale_type = tensor_type(np.empty(shape, np.float32), len(shape) == 2)
        text = (f" scale(%s : {scale_type})" if given else "") + (" block 16" if name == "block" else "")
        codes_type = tensor_type(np.empty((1, 48), code))
        source = one_op({"x": x, "s": scale_type}, f'vit.quantize {granularity} %x{text} layers ["q"] : {tensor_type(x)} '
                        f"-> {codes_type}, {scale_type}").replace("%r = ", "%r:2 = ")
        codes, scales = Kernels(source, target).call({0: x, 1: scale}, [np.empty(x.shape, code), np.empty(shape, np.float32)])
        if not given:
            groups = {"token": x, "tensor": x.reshape(1, -1), "block": x.reshape(27, 16)}[name]
            amax = np.abs(groups).max(1).reshape(shape)
            scale = np.where(amax == 0, np.float32(1), (amax / np.float32(largest)).astype(np.float32))
        np.testing.assert_array_equal(scales, scale)
        spread = np.repeat(scale, 16, axis=1) if name == "block" else np.broadcast_to(scale, x.shape)
        np.testing.assert_array_equal(codes.astype(np.float64), exact(x * inverse(spread)))
        source = one_op({"c": codes_type, "s": scale_type}, f'vit.dequantize %c, %s layers ["q"] : {codes_type}, '
                        f"{scale_type} -> {tensor_type(x)}")
        back, = Kernels(source, target).call({0: codes, 1: scale}, [np.empty(x.shape, np.float32)])
        np.testing.assert_array_equal(back, codes.astype(np.float32) * spread)
