"""GPU kernels of single ops on the emulator against numpy in f64: linears, layer norms, patch embeddings."""
import numpy as np
import pytest
from gpu_ops import BF16, E4M3, F16, F32, Case, Result, Weight, check, f64, kind, normal, refused, rows, sum_bound, yielded

IDS = {F16: "f16", BF16: "bf16", E4M3: "f8"}


def linear_case(m, n, k, dtype, out=F32, seed=0):
    """acc * scale(n) + bias(n), narrowed."""
    rng = np.random.default_rng([m, n, k, seed])
    x, w = normal(rng, (m, k), dtype), normal(rng, (n, k), dtype)
    scale, bias = (rng.random(n) + 0.5).astype(F32), normal(rng, n, F32)
    op = (f'%r = vit.linear %x, %w layers ["l"] : {rows(k, dtype)}, {kind(Weight(w))} -> {rows(n, out)}\n'
          f"    epilogue(%s [(m, n) -> (n)] : tensor<{n}xf32>, %b [(m, n) -> (n)] : tensor<{n}xf32>) group 1 {{\n"
          f"  ^bb0(%acc: f32, %scale: f32, %bias: f32):\n    %y = math.fma %acc, %scale, %bias : f32\n    {yielded('%y', out)}\n  }}")
    expected = f64(x) @ f64(w).T * scale + bias
    bound = sum_bound(x, w) * scale + np.abs(expected) * 2.0**-23
    return Case(f"linear {m}x{n}x{k} {IDS[dtype]}", op, {"x": x, "w": Weight(w), "s": Weight(scale), "b": Weight(bias)},
                [Result(expected, bound, out)])


@pytest.mark.parametrize("dtype", [E4M3, F16, BF16], ids=IDS.get)
def test_linear(dtype):
    """Tails in every dimension, 1 row, K of one step, and every variant of rows with equal bits."""
    out = F16 if dtype == E4M3 else dtype
    check([linear_case(1, 72, 16, dtype, out), linear_case(1, 96, 208, dtype, out), linear_case(17, 40, 96, dtype, out),
           linear_case(65, 136, 80, dtype, F32)], every_variant=True)


def test_a_wrong_result_is_seen():
    case = linear_case(3, 64, 16, F16, F16)
    case.results[0].expected[2, 63] += 0.1
    with pytest.raises(AssertionError, match=r"1 of 192 wrong, the first at \(2, 63\)"):
        check([case])


def test_products_in_f32_are_refused():
    x = np.zeros((2, 32), F32)
    case = Case("f32", f'%r = vit.linear %x, %w layers ["l"] : {rows(32, F32)}, {kind(Weight(x))} -> {rows(2, F32)}',
                {"x": x, "w": Weight(x)}, [])
    assert "'vit.linear' op has no kernel on sm_89: a product of f32 and f32" in refused(case)
