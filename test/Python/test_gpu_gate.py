"""GPU kernels of gates over blocks of neurons on the emulator against numpy in f64."""
import numpy as np
import pytest
from gpu_ops import BF16, F16, F32, Case, Result, check, f64, kind, refused, rows
from x86_kernels import Columns

WEIGHTS = {"one": lambda s: 1, "score": lambda s: s, "sigmoid": lambda s: 1 / (1 + np.exp(-s)),
           "softmax": lambda s: np.exp(s - max(s)) / np.exp(s - max(s)).sum()}


def gate_case(blocks, how, weighing, dtype=F32, m=18, values=None, view=False):
    """`how`: "topk k K" or "threshold at T". Scores have many ties, of the two zeros too."""
    rng = np.random.default_rng([blocks, m])
    scores = rng.integers(-2, 3, (m, blocks + 24 if view else blocks)).astype(F32) / 2 if values is None else values
    scores = np.where((scores == 0) & (rng.random(scores.shape) < 0.5), F32(-0.0), scores).astype(dtype)
    x = Columns(scores, 16, 16 + blocks) if view else scores
    expected = np.zeros((m, blocks))
    number = float(how.split()[-1])
    for row, s in enumerate(f64(x)):
        kept = sorted(range(blocks), key=lambda i: (-s[i], i))[:int(number)] if how.startswith("topk") else np.flatnonzero(s > number)
        if len(kept):
            expected[row, kept] = WEIGHTS[weighing](s[kept])
    # Exponentials and quotients are approximate: some units of f32, and what rounding x log2(e) costs.
    bound = 2.0**-20 * abs(expected) if weighing in ("sigmoid", "softmax") else np.zeros(expected.shape)
    return Case(f"gate {blocks} {how} {weighing} {view} {np.dtype(dtype)}", f'%r = vit.gate {how} weight {weighing} %s layers ["g"] : {kind(x)} -> {rows(blocks, F32)}',
                {"s": x}, [Result(expected, bound, F32)])


@pytest.mark.parametrize("weighing", ["one", "score", "sigmoid", "softmax"])
def test_weights(weighing):
    """One thread a row, some lanes of a warp, a warp, a block; ties go to the lower index."""
    cases = []
    for blocks in (1, 8, 21, 64, 300):
        cases += [gate_case(blocks, f"topk k {min(3, blocks)}", weighing), gate_case(blocks, "threshold at 0.25", weighing)]
    check([*cases, gate_case(48, "topk k 47", weighing, F16), gate_case(16, "topk k 16", weighing, BF16), gate_case(16, "threshold at 5.0", weighing),
           gate_case(40, "topk k 12", weighing, view=True), gate_case(1500, "topk k 600", weighing, m=3), gate_case(16384, "topk k 9000", weighing, m=1)])


def test_scores_of_all_sizes():
    """Scores over the whole range of f32; infinities; a threshold that is no f32."""
    rng = np.random.default_rng(9)
    scores = (rng.standard_normal((40, 72)) * np.exp2(rng.integers(-140, 120, (40, 72)))).astype(F32)
    infinite = scores.copy()
    infinite[3, [5, 6]], infinite[4, [1, 70]] = np.inf, -np.inf
    near = np.nextafter(np.full((2, 8), 0.1, F32), F32([[1], [0]]))
    near[:, :3] = 0.1
    check([gate_case(72, f"topk k {k}", "score", m=40, values=scores) for k in (1, 7, 71)] +
          [gate_case(72, "topk k 2", "one", m=40, values=infinite), gate_case(72, "threshold at 1.0e38", "one", m=40, values=infinite),
           gate_case(8, "threshold at 0.1", "one", m=2, values=near)])


def test_nothing_above_minus_infinity():
    """Weights are 0 where a softmax has nothing to share out."""
    scores = np.full((2, 12), -np.inf, F32)
    case = gate_case(12, "topk k 2", "one", m=2, values=scores)
    case.op = case.op.replace("weight one", "weight softmax")
    case.results[0].expected[...] = 0
    check([case])


def test_what_is_refused():
    assert "a gate of 16385 blocks (at most 16384)" in refused(gate_case(16385, "topk k 2", "one", m=1))
