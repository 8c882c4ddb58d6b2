"""Linear kernels on the emulated GPU against numpy in f64: tiles, splits of K, scales along K, sums in f16, epilogues."""
import math

import numpy as np
import pytest
from gpu_ops import (BF16, E4M3, F16, F32, Case, Columns, Kernels, Result, Weight, check, f64, kind, normal, refused, rows, sum_bound, yielded)
from test_gpu_ops import IDS, linear_case

erf = np.vectorize(math.erf)


def with_tile(case, *tile):
    """The case with a tile of our choice: rows, columns, bytes of K, stages, warps along rows and columns, swapped, parts of K."""
    case.op = case.op.replace('layers ["l"]', f'layers ["l"] {{vit.tile = array<i64: {", ".join(map(str, tile))}>}}')
    case.name += f" tile {'x'.join(map(str, tile))}"
    return case


# One of each kind: a single warp, many fragments a warp, warps side by side in both directions, stages of 64 and 128 bytes,
# swapped operands with odd numbers of fragments, K in parts of which the last has less to do or nothing.
TILES = [(16, 32, 64, 3, 1, 1, 0, 1), (32, 64, 128, 4, 1, 2, 0, 1), (112, 128, 64, 3, 1, 4, 0, 1), (48, 96, 64, 3, 1, 3, 0, 3),
         (64, 64, 64, 2, 2, 2, 0, 1), (8, 64, 64, 6, 1, 1, 1, 1), (40, 128, 64, 3, 1, 2, 1, 1), (72, 128, 64, 3, 3, 2, 1, 4),
         (56, 64, 64, 3, 1, 1, 1, 1), (16, 256, 128, 2, 1, 4, 1, 2)]


@pytest.mark.parametrize("tile", TILES, ids=lambda t: "x".join(map(str, t)))
def test_tiles(tile):
    check([with_tile(linear_case(45, 136, 400, E4M3, F16), *tile), with_tile(linear_case(120, 200, 208, F16, F16), *tile),
           with_tile(linear_case(3, 40, 1088, BF16, F32), *tile)])


@pytest.mark.parametrize("dtype", [E4M3, F16], ids=IDS.get)
def test_shapes(dtype):
    """One row, odd K and N (rows that no 16 bytes divide), the smallest K, and the MLP of a tower that no tile divides."""
    check([linear_case(1, 40, 16, dtype, F16), linear_case(19, 41, 37, dtype, F16), linear_case(70, 23, 129, dtype, F32),
           linear_case(5, 72, 4304, dtype, F16), linear_case(197, 64, 48, dtype, F16)])


def test_a_tile_that_cannot_be_built_is_refused():
    # Registers, shared memory, fragments.
    for tile in ((256, 128, 64, 3, 1, 1, 0, 1), (256, 256, 128, 4, 2, 4, 0, 1), (24, 32, 64, 3, 1, 1, 0, 1)):
        assert "the tile that vit.tile asks for" in refused(with_tile(linear_case(8, 64, 64, E4M3, F16), *tile))


# --- scales along K


def scaled_case(m, n, k, block, height, per_row=True, tile=None):
    """FP8 with a scale for each row of x and block of K, and for `height` rows of w and block of K."""
    rng = np.random.default_rng([m, n, k, block, height])
    x, w = normal(rng, (m, k), E4M3), normal(rng, (n, k), E4M3)
    xs = np.exp2(rng.integers(-6, 6, (m, k // block))).astype(F32) * (rng.random((m, k // block)) + 0.5).astype(F32)
    ws = (rng.random((-(-n // height), k // block)) + 0.5).astype(F32)
    operands, text = {"x": x, "w": Weight(w)}, ""
    if per_row:
        operands["xs"] = xs
        text += f" x_scales(%xs : {kind(xs)})"
    operands["ws"] = Weight(ws)
    text += f" w_scales(%ws : {kind(Weight(ws))})"
    op = (f'%r = vit.linear %x, %w{text} layers ["l"] : {rows(k, E4M3)}, {kind(Weight(w))} -> {rows(n, F16)}\n'
          f"    epilogue() group 1 {{\n  ^bb0(%acc: f32):\n    {yielded('%acc', F16)}\n  }}")
    a, b = f64(x), f64(w) * np.repeat(np.repeat(f64(ws), height, 0)[:n], block, 1)
    if per_row:
        a = a * np.repeat(f64(xs), block, 1)
    bound = np.zeros((m, n))
    for first in range(0, k, block):
        piece = slice(first, first + block)
        factor = f64(ws)[np.arange(n) // height, first // block] * (f64(xs)[:, first // block, None] if per_row else 1)
        bound += sum_bound(x[:, piece], w[:, piece]) * factor
    bound += (k // block + 3) * 2.0**-23 * (np.abs(a) @ np.abs(b).T)
    case = Case(f"scales {m}x{n}x{k} {block} {height}", op, operands, [Result(a @ b.T, bound, F16)])
    return with_tile(case, *tile) if tile else case


def test_scales_along_k():
    """As FP8 checkpoints have them: blocks of 128 x 128, one a token and 128 of K; and other blocks, with tails."""
    check([scaled_case(33, 256, 384, 128, 128), scaled_case(5, 200, 256, 128, 100, per_row=False), scaled_case(70, 72, 640, 64, 1),
           scaled_case(3, 40, 96, 32, 3), scaled_case(20, 136, 768, 192, 68),
           scaled_case(20, 136, 768, 128, 68, tile=(24, 128, 128, 2, 1, 2, 1, 1)),
           scaled_case(20, 136, 768, 128, 46, tile=(64, 64, 128, 3, 2, 2, 0, 2))])


def test_blocks_of_k_that_no_instruction_divides_are_refused():
    assert "scales for blocks of K that are no multiples of 32" in refused(scaled_case(3, 40, 96, 48, 8))


# --- sums in f16


def f16_case(m, n, k, largest, tile=None):
    """FP8 whose weights have scales of amax / largest, so that their codes are at most that."""
    rng = np.random.default_rng([m, n, k])
    x = np.clip(rng.standard_normal((m, k)) * 150, -448, 448).astype(E4M3)
    x[0], raw = 448, np.clip(rng.standard_normal((n, k)), -3, 3) / 3 * largest  # the largest sums that there can be
    raw[0] = largest
    w = raw.astype(E4M3)
    t, f, s = kind(Weight(w)), kind(Weight(raw.astype(F32))), f"tensor<{n}xf32>"
    recipe = (f'vit.weight @NAME.f32 : {f} {{\n  %0 = vit.read @ckpt "w" : {f}\n  vit.yield %0 : {f}\n}}\n'
              f"vit.weight @NAME.scale : {s} {{\n  %0 = vit.get @NAME.f32 : {f}\n  %1 = vit.amax %0 axis 1 div {float(largest)} : {f} -> {s}\n"
              f"  vit.yield %1 : {s}\n}}\n"
              f"vit.weight @NAME : {t} {{\n  %0 = vit.get @NAME.f32 : {f}\n  %1 = vit.get @NAME.scale : {s}\n"
              f"  %2 = vit.round %0, %1 : {f}, {s} -> {t}\n  vit.yield %2 : {t}\n}}\n")
    op = (f'%r = vit.linear %x, %w layers ["l"] : {rows(k, E4M3)}, {t} -> {rows(n, F32)}\n'
          "    epilogue() group 1 {\n  ^bb0(%acc: f32):\n    vit.yield %acc : f32\n  }")
    magnitudes = np.abs(f64(x)) @ np.abs(f64(w)).T
    bound = sum_bound(x, w) + (2.0**-10 + k / 32 * 2.0**-23) * magnitudes
    case = Case(f"f16 sums {m}x{n}x{k} {largest}", op, {"x": x, "w": Weight(w, recipe)}, [Result(f64(x) @ f64(w).T, bound, F32)])
    return with_tile(case, *tile) if tile else case


def test_sums_in_f16():
    """Weights with codes up to 4.5 (a promotion every 32 of K) and 2.25 (every 64): nothing overflows, whatever x is."""
    cases = [f16_case(37, 72, 400, 4.5), f16_case(5, 136, 768, 2.25), f16_case(70, 96, 96, 4.5, (72, 128, 64, 3, 3, 2, 1, 1)),
             f16_case(70, 96, 512, 4.5, (64, 64, 128, 3, 2, 2, 0, 2))]
    check(cases)
    assert "f32.e4m3.e4m3.f32" not in Kernels(cases).ptx
    # Products of equal types share a kernel only if they are summed alike.
    check([f16_case(5, 72, 96, 4.5), f16_case(5, 72, 96, 8)])
    # Codes that reach further are summed in f32: 8 x 448 x 32 is beyond f16.
    assert "f16.e4m3.e4m3.f16" not in Kernels([f16_case(5, 72, 96, 8)]).ptx


# --- epilogues


def epilogue_case(name, m, n, k, operands, arguments, body, group, outputs, expected, error=0.0, absolute=0.0):
    """`expected(acc, *operands)` are the results in f64, `error` a bound of what the body adds, relative to its largest value or as it is."""
    rng = np.random.default_rng([m, n, k, group])
    x, w = normal(rng, (m, k), E4M3), normal(rng, (n, k), E4M3, 0.1)
    acc, sums = f64(x) @ f64(w).T, sum_bound(x, w)
    ins = ", ".join(f"%{key} [(m, n) -> ({map_})] : {kind(value)}" for key, (value, map_) in operands.items())
    types = ", ".join(rows(columns, dtype) for columns, dtype in outputs)
    text = (f'%r:{len(outputs)} = vit.linear %x, %w layers ["l"] : {rows(k, E4M3)}, {kind(Weight(w))} -> {types}\n'
            f"    epilogue({ins}) group {group} {{\n  ^bb0({arguments}):\n{body}\n  }}")
    values = [f64(value) for value, _ in operands.values()]
    low, middle, high = (expected(a, *values) for a in (acc - sums, acc, acc + sums))
    results = []
    for i, (_, dtype) in enumerate(outputs):
        bound = np.maximum(np.abs(high[i] - middle[i]), np.abs(low[i] - middle[i])) * 1.5 + 2.0**-20 * np.abs(middle[i])
        results.append(Result(middle[i], bound + absolute + error * max(1.0, np.abs(middle[i]).max()), dtype))
    return Case(f"{name} {m}x{n}x{k}", text, {"x": x, "w": Weight(w)} | {key: value for key, (value, _) in operands.items()}, results)


def gelu(v):
    return v * 0.5 * (1 + erf(v / math.sqrt(2)))


def channel(n, seed, scale=1.0):
    return Weight(normal(np.random.default_rng(seed), n, F32, scale))


def gelu_case(m, n, k):
    """fc1: scale, bias, GELU, static requantise."""
    scale, bias, inverse = Weight(np.full(n, 0.7, F32)), channel(n, 1), Weight(np.array([20.0], F32))
    body = ("    %0 = math.fma %acc, %s_, %b_ : f32\n    %1 = vit.act gelu_erf %0 : f32\n    %2 = arith.mulf %1, %i_ : f32\n"
            "    %3 = vit.convert %2 sat : f32 to f8E4M3FN\n    vit.yield %3 : f8E4M3FN")
    return epilogue_case("gelu", m, n, k, {"s": (scale, "n"), "b": (bias, "n"), "i": (inverse, "")},
                         "%acc: f32, %s_: f32, %b_: f32, %i_: f32", body, 1, [(n, E4M3)],
                         lambda acc, s, b, i: [gelu(acc * s + b) * i[0]], absolute=1.6e-4 * 20)


def number(value, reciprocal=False):
    """A weight of one number that its recipe says, or its reciprocal."""
    literal = f"vit.literal dense<{float(np.float32(value))!r}> : tensor<1xf32>"
    if not reciprocal:
        return Weight(np.array([value], F32), f"vit.weight @NAME : tensor<1xf32> {{\n  %0 = {literal}\n  vit.yield %0 : tensor<1xf32>\n}}\n")
    return Weight(np.array([1 / np.float32(value)], F32),
                  f"vit.weight @NAME.scale : tensor<1xf32> {{\n  %0 = {literal}\n  vit.yield %0 : tensor<1xf32>\n}}\n"
                  "vit.weight @NAME : tensor<1xf32> {\n  %0 = vit.get @NAME.scale : tensor<1xf32>\n  %1 = vit.recip %0 : tensor<1xf32> -> tensor<1xf32>\n"
                  "  vit.yield %1 : tensor<1xf32>\n}\n")


@pytest.mark.parametrize("amax, short", [(0.3, False), (1.0, False), (1.9, False), (1.96, True), (8.0, True), (1e4, True), (1e6, False)])
def test_gelu_of_all_f16_inputs(amax, short):
    """GELU as fc1 has it is within a quarter of the step of E4M3's codes at any input, and NaN stays NaN, by a short form where the scale allows it."""
    bits = np.arange(65536, dtype=np.uint16).view(F16)
    inputs = bits[np.isfinite(bits)].astype(F32)
    n, k = len(inputs), 32
    for scale in (Weight(np.array([448 / amax], F32)), number(amax / 448, reciprocal=True), number(448 / amax)):
        case = gelu_case(1, n, k)
        case.operands |= {"x": np.zeros((1, k), E4M3), "w": Weight(np.zeros((n, k), E4M3)), "b": Weight(inputs), "i": scale}
        expected = (gelu(f64(inputs)) * f64(scale)[0])[None]
        case.results = [Result(expected, np.full((1, n), 0.25) + 1e-6 * np.abs(expected), E4M3)]
        case = with_tile(case, 16, 256, 64, 3, 1, 4, 0, 1)
        check([case])
        assert ("fma.rn.sat" in Kernels([case]).ptx) == (short and bool(scale.recipe))


def test_gelu_in_its_short_form():
    """Whole tiles, tails of columns, swapped operands, K in parts, without a bias; and where the product is not of one number, the long form."""
    def short(m, n, k, tile=None, bias=True):
        case = gelu_case(m, n, k)
        case.operands["i"] = number(0.05, reciprocal=True)
        if not bias:
            case.op = case.op.replace("math.fma %acc, %s_, %b_", "arith.mulf %acc, %s_").replace(", %b_: f32", "")
            case.op = case.op.replace(", %b [(m, n) -> (n)] : tensor<64xf32>", "")
            del case.operands["b"]
            x, w = case.operands["x"], case.operands["w"].array
            case.results = [Result(gelu(0.7 * (f64(x) @ f64(w).T)) * 20, sum_bound(x, w) * 0.7 * 1.2 * 20 + 0.25, E4M3)]
        else:
            case.results[0].bound += 0.25
        return with_tile(case, *tile) if tile else case

    cases = [short(33, 72, 64), short(3, 41, 96), short(45, 136, 400, (40, 128, 64, 3, 1, 2, 1, 1)), short(20, 72, 800, (48, 96, 64, 3, 1, 3, 0, 3)),
             short(5, 64, 64, bias=False)]
    check(cases)
    assert Kernels(cases).ptx.count("fma.rn.sat") >= 4 * 8
    other = gelu_case(5, 64, 64)
    other.operands["s"], other.operands["i"] = Weight(np.full(64, 0.7, F32)), Weight(np.array([20.0], F32))
    assert "fma.rn.sat" not in Kernels([other]).ptx


def residual_case(m, n, k):
    """proj and fc2: bias, LayerScale, residual in f16, and the same again in f32 as a second result."""
    bias, gamma, x = channel(n, 2), channel(n, 3), normal(np.random.default_rng(4), (m, n), F16)
    body = ("    %0 = arith.addf %acc, %b_ : f32\n    %1 = arith.extf %y_ : f16 to f32\n    %2 = math.fma %0, %g_, %1 : f32\n"
            "    %3 = arith.truncf %2 : f32 to f16\n    vit.yield %3, %2 : f16, f32")
    return epilogue_case("residual", m, n, k, {"b": (bias, "n"), "g": (gamma, "n"), "y": (x, "m, n")},
                         "%acc: f32, %b_: f32, %g_: f32, %y_: f16", body, 1, [(n, F16), (n, F32)],
                         lambda acc, b, g, y: [(acc + b) * g + y] * 2, error=2e-6)


def gate_case(m, n, k, act):
    """A gated MLP: columns 2 i and 2 i + 1 are gate and up; act(gate) * up, requantised by a scale a token."""
    inverse = normal(np.random.default_rng(5), m, F32)
    inverse = np.abs(inverse) + 1
    body = (f"    %g = vector.extract %acc[0] : f32 from vector<2xf32>\n    %u = vector.extract %acc[1] : f32 from vector<2xf32>\n"
            f"    %a = vit.act {act} %g : f32\n    %p = arith.mulf %a, %u : f32\n    %q = arith.mulf %p, %i_ : f32\n"
            "    %c = vit.convert %q sat : f32 to f8E4M3FN\n    vit.yield %c : f8E4M3FN")

    def expected(acc, i):
        gate, up = acc[:, 0::2], acc[:, 1::2]
        return [(gate / (1 + np.exp(-gate)) if act == "silu" else gelu(gate)) * up * i[:, None]]

    return epilogue_case(f"{act} gate", m, n, k, {"i": (inverse, "m")}, "%acc: vector<2xf32>, %i_: f32", body, 2, [(n // 2, E4M3)],
                         expected, error=1e-3)


def test_epilogues():
    check([gelu_case(33, 72, 64), gelu_case(3, 41, 96), residual_case(33, 72, 64), residual_case(5, 43, 96),
           gate_case(33, 80, 64, "silu"), gate_case(7, 144, 64, "gelu_erf"), gate_case(5, 42, 64, "silu")])


def test_epilogues_after_a_split():
    check([with_tile(case, 32, 64, 64, 3, 1, 2, 0, 3) for case in
           (gelu_case(20, 72, 800), residual_case(20, 72, 800), gate_case(20, 80, 800, "silu"))])


def test_epilogues_of_swapped_operands():
    check([with_tile(case, 24, 64, 64, 3, 1, 1, 1, 1) for case in
           (gelu_case(20, 72, 96), residual_case(20, 72, 96), gate_case(20, 80, 96, "silu"))])


def test_views_of_columns():
    """x as columns of a wider buffer, as k and v of a joint result are."""
    rng = np.random.default_rng(9)
    base, w = normal(rng, (21, 96 * 3), F16), normal(rng, (40, 96), F16)
    x = Columns(base, 96, 192)
    op = f'%r = vit.linear %x, %w layers ["l"] : {kind(x)}, {kind(Weight(w))} -> {rows(40, F32)}'
    check([Case("view", op, {"x": x, "w": Weight(w)}, [Result(f64(x) @ f64(w).T, sum_bound(x.values, w), F32)])])
