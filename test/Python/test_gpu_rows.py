"""GPU kernels of norms, scales found by row, and elementwise ops on the emulator against numpy in f64."""
import numpy as np
import pytest
from gpu_ops import BF16, E4M3, F16, F32, Case, Kernels, Result, Weight, check, f64, kind, normal, refused, rows, yielded
from x86_kernels import Columns


def norm_values(x, layer, gamma, beta, width, eps=1e-6):
    """The norm over groups of `width` columns, and the bound of statistics in f32: some ulps of the largest value of a group,
    a reciprocal square root of 2^-22."""
    grouped = f64(x).reshape(x.shape[0], -1, width)
    centred = grouped - (grouped.mean(2, keepdims=True) if layer else 0)
    deviation = np.sqrt((centred**2).mean(2, keepdims=True) + eps)
    gamma = np.ones(width) if gamma is None else f64(gamma)
    beta = np.zeros(width) if beta is None else f64(beta)
    expected = centred / deviation * gamma + beta
    bound = 2.0**-20 * ((np.abs(grouped).max(2, keepdims=True) + np.abs(centred)) / deviation * np.abs(gamma) + np.abs(expected))
    return expected.reshape(x.shape), bound.reshape(x.shape)


def norm_case(kind_, m, d, dtype, out, width=None, affine=F32, view=None, seed=0):
    rng = np.random.default_rng([m, d, seed])
    x = normal(rng, (m, d if view is None else view.base.shape[1]), dtype, 3) + np.asarray(0.5, dtype)
    if view is not None:
        x = Columns(x, view.first, view.first + d)
    w = width or d
    gamma = None if affine is None else (rng.random(w) + 0.5).astype(affine)
    beta = normal(rng, w, affine) if kind_ == "layer" and affine is not None else None
    op = f"%r = vit.norm {kind_} %x"
    operands = {"x": x}
    for name, long, value in (("g", "gamma", gamma), ("b", "beta", beta)):
        if value is not None:
            op += f" {long}(%{name} : {kind(Weight(value))})"
            operands[name] = Weight(value)
    op += f" eps 1.0e-6{'' if width is None else f' width {width}'} layers" + f' ["n"] : {kind(x)} -> {rows(d, out)}'
    if out != F32:
        op += f" epilogue() group 1 {{\n  ^bb0(%v: f32):\n    {yielded('%v', out)}\n  }}"
    expected, bound = norm_values(x.values if isinstance(x, Columns) else x, kind_ == "layer", gamma, beta, w)
    name = f"{kind_} norm {m}x{d} of {w} {np.dtype(dtype).name} to {np.dtype(out).name}{'' if view is None else ' of a slice'}"
    return Case(name, op, operands, [Result(expected, bound, out)])


@pytest.mark.parametrize("kind_", ["layer", "rms"])
def test_norm(kind_):
    """Widths of models and tails: parts of a warp, a warp, a block of any size; one row and rows that do not fill a block."""
    check([norm_case(kind_, 5, 768, F16, F16), norm_case(kind_, 3, 200, F32, F32), norm_case(kind_, 2, 1152, BF16, E4M3),
           norm_case(kind_, 1, 51, F16, F32), norm_case(kind_, 2, 4304, F16, F16), norm_case(kind_, 1, 8192, BF16, BF16),
           norm_case(kind_, 9, 8, F16, F16), norm_case(kind_, 7, 3, F32, F16), norm_case(kind_, 33, 96, F16, E4M3, affine=BF16),
           norm_case(kind_, 2, 1000, F16, F16, affine=None), norm_case(kind_, 3, 1029, F32, F32)])


def test_norm_over_heads():
    """Groups of columns: of whole rows, of a slice of q, k and v, and of a width that runs of eight do not divide."""
    base = np.zeros((6, 3 * 192), F16)
    check([norm_case("rms", 6, 192, F16, F16, width=64), norm_case("layer", 5, 144, BF16, BF16, width=72),
           norm_case("rms", 6, 192, F16, F16, width=64, view=Columns(base, 192, 384)), norm_case("rms", 3, 60, F32, F32, width=12)])


def token_norm(m, d, layer=True):
    """Codes of a norm and the scale of each token, both from registers."""
    rng = np.random.default_rng([m, d])
    x, gamma = normal(rng, (m, d), F16, 2), (rng.random(d) + 0.5).astype(F32)
    op = f"""%r:2 = vit.norm {'layer' if layer else 'rms'} %x gamma(%g : tensor<{d}xf32>) eps 1.0e-6 layers ["n", "q"] : {kind(x)} ->
      tensor<?x{d}xf8E4M3FN>, tensor<?x1xf32> epilogue() group {d} {{
  ^bb0(%v: vector<{d}xf32>):
    %448 = arith.constant 448.0 : f32
    %tiny = arith.constant 1.0e-10 : f32
    %a = math.absf %v : vector<{d}xf32>
    %m = vector.reduction <maximumf>, %a, %tiny : vector<{d}xf32> into f32
    %s = arith.divf %m, %448 : f32
    %one = arith.constant 1.0 : f32
    %i = arith.divf %one, %s : f32
    %ib = vector.broadcast %i : f32 to vector<{d}xf32>
    %t = arith.mulf %v, %ib : vector<{d}xf32>
    %c = vit.convert %t sat : vector<{d}xf32> to vector<{d}xf8E4M3FN>
    vit.yield %c, %s : vector<{d}xf8E4M3FN>, f32
  }}"""
    value, bound = norm_values(x, layer, gamma, None, d)
    scale = np.abs(value).max(1, keepdims=True) / 448
    error = bound.max(1, keepdims=True) / 448
    codes = value / scale
    return Case(f"token norm {m}x{d}", op, {"x": x, "g": Weight(gamma)},
                [Result(codes, bound / scale + np.abs(codes) * (error / scale + 2.0**-22), E4M3), Result(scale, error + scale * 2.0**-22, F32)])


def test_norm_with_a_scale_for_each_token():
    check([token_norm(5, 768), token_norm(3, 100, layer=False), token_norm(2, 4304), token_norm(1, 8192), token_norm(9, 5)])


def quantize_case(m, d, block, dtype, x=None):
    """Scales found from values. Both results are exact: the arithmetic is defined to the bit."""
    x = normal(np.random.default_rng([m, d]), (m, d), dtype, 5) if x is None else x
    values = x.values if isinstance(x, Columns) else x
    grouped = values.astype(F32).reshape(m, -1, block or d)
    largest = np.abs(grouped).max(2, keepdims=True)
    scale = np.where(largest == 0, F32(1), largest / F32(448))
    codes = (grouped * (F32(1) / scale)).reshape(m, d)
    text = f"block %x block {block}" if block else "token %x"
    op = (f'%r:2 = vit.quantize {text} layers ["q"] : {kind(x)} -> tensor<?x{d}xf8E4M3FN>, tensor<?x{d // (block or d)}xf32>')
    return Case(f"quantize {m}x{d} by {block}", op, {"x": x},
                [Exact(codes.astype(E4M3)), Exact(scale.reshape(m, -1))])


class Exact(Result):
    """Results that must have the very bits."""

    def __init__(self, values):
        super().__init__(values, None, values.dtype)

    def check(self, found, what):
        assert np.array_equal(found.view(np.uint8), np.ascontiguousarray(self.expected).view(np.uint8)), f"{what}: other bits"


def test_quantize_by_row_and_block():
    zero = normal(np.random.default_rng(1), (4, 96), F16)
    zero[2] = 0
    base = normal(np.random.default_rng(2), (5, 400), BF16)
    check([quantize_case(5, 768, None, F16), quantize_case(3, 1536, 128, BF16), quantize_case(4, 96, None, F16, zero),
           quantize_case(2, 8192, None, F32), quantize_case(3, 60, 12, F32), quantize_case(5, 256, 64, BF16, Columns(base, 64, 320)),
           quantize_case(1, 37, None, F16)])


@pytest.mark.parametrize("columns", [96, 37])
def test_static_scales_and_back(columns):
    rng = np.random.default_rng(columns)
    x, one, many = normal(rng, (5, columns), F16, 3), F32([0.013]), (rng.random(columns) * 0.02 + 0.001).astype(F32)
    cases = []
    for name, scale in (("tensor", one), ("channel", many)):
        codes = (x.astype(F32) * (F32(1) / scale)).clip(-448, 448).astype(E4M3)
        op = (f'%r:2 = vit.quantize {name} %x scale(%s : {kind(Weight(scale))}) layers ["q"] : {kind(x)} -> tensor<?x{columns}xf8E4M3FN>, '
              f"{kind(Weight(scale))}")
        cases.append(Case(f"quantize {name}", op, {"x": x, "s": Weight(scale)}, [Exact(codes), Exact(scale)]))
    codes = normal(rng, (5, columns), E4M3, 100)
    for name, scale in (("tensor", Weight(one)), ("channel", Weight(many)), ("token", (rng.random((5, 1)) + 0.1).astype(F32)),
                        ("block", (rng.random((5, columns // 12 if columns == 96 else columns)) + 0.1).astype(F32))):
        values = scale.array if isinstance(scale, Weight) else scale
        wide = np.repeat(values, columns // values.shape[-1], axis=-1)
        op = f'%r = vit.dequantize %c, %s layers ["d"] : {kind(codes)}, {kind(scale)} -> {rows(columns, F32)}'
        cases.append(Case(f"dequantize {name}", op, {"c": codes, "s": scale}, [Exact(codes.astype(F32) * wide)]))
    op = f"%r = vit.convert %c : {kind(codes)} to {rows(columns, F16)}"
    cases.append(Case("convert", op, {"c": codes}, [Exact(codes.astype(F16))]))
    check(cases)


def test_one_pass_over_memory():
    """128-bit access: whole sectors, and each byte once: the row, its weights, the result."""
    for kind_, m, d, weights in (("layer", 64, 768, 2), ("rms", 8, 8192, 1)):
        case = norm_case(kind_, m, d, F16, F16, affine=F16)
        memory = check([case])[case.name]["memory"]
        assert memory["global_bytes"] == 32 * memory["global_sectors"] == (2 + weights) * m * d * 2


def test_registers_suffice():
    cases = [norm_case("layer", 2, d, F16, F16) for d in (768, 1024, 4304, 8192)] + [token_norm(2, 1024), token_norm(1, 8192)]
    for spec in Kernels(cases, assemble=True).specs:
        assert spec["metrics"]["spill_bytes"] == 0, spec["name"]


def test_what_is_refused():
    x = np.zeros((2, 96), F32)
    assert "rows of 70000 columns (at most 65536)" in refused(norm_case("layer", 1, 70000, F32, F32))
    op = f'%r:2 = vit.quantize tensor %x layers ["q"] : {kind(x)} -> tensor<?x96xf8E4M3FN>, tensor<1xf32>'
    assert "a scale of a whole tensor that is found at run time" in refused(Case("t", op, {"x": x}, []))
    view = Columns(np.zeros((2, 200), F32), 8, 68)
    assert "a norm over groups of 12 columns of a slice" in refused(norm_case("rms", 2, 60, F32, F32, width=12, view=view))
    body = token_norm(2, 96)
    body.op = body.op.replace("<maximumf>, %a, %tiny", "<mul>, %a")
    assert "a reduction other than add, max and min" in refused(body)
