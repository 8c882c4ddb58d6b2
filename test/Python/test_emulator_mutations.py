"""Takes one barrier, fence or wait out of each CUDA test kernel's PTX at a time and counts how many mutants the checks flag.

A mutant that means the same as the original cannot be flagged; those are listed with the reason (numbers count the
instructions as nvcc 13.0 leaves them). At least 95 of 100 of the rest must be flagged. Those that are not take a fence from
between volatile accesses and an atomic: formally no data race, and the emulator has no memory weak enough to show the loss.
A mutant counts as flagged when one schedule of several seeds shows it, as in use.
"""
import numpy as np
import pytest
from cuda_sources import ptx
from ptx_mutants import mutants

from vitrify import emulator

SEEDS = (0, 1, 2, 3, 4, 5)


def words(*shape, seed=5):
    return np.random.default_rng(seed).integers(-100, 100, shape).astype(np.int32)


def floats(*shape, seed=5):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def empty(dtype, *shape):
    return emulator.Empty(shape, dtype)


def halves(*shape):
    return floats(*shape).astype(np.float16)


# kernel: source, grid, block, arguments, options, {number of a mutant that means the same: why}
CASES = {
    "reduce_shared": (
        "reduce.cu", 2, 256,
        lambda: [floats(512), empty(np.float32, 2), 512],
        {}, {},
    ),
    "reduce_shuffle": (
        "reduce.cu", 2, 256,
        lambda: [words(512), np.zeros(1, np.int32), 512],
        {}, {},
    ),
    "reduce_last_block": (
        "reduce.cu", 4, 128,
        lambda: [np.ones(512), empty(np.float64, 4), np.zeros(1, np.uint32), empty(np.float64, 1), 512],
        {}, {7: "the last step's sum is read by the thread that wrote it"},
    ),
    "reduce_grid": (
        "reduce.cu", 3, 64,
        lambda: [floats(192), empty(np.float32, 6), empty(np.float32, 1), 192],
        {"cooperative": True}, {1: "nobody but the thread that waited at the grid's barrier goes on"},
    ),
    "scan_steps": (
        "scan.cu", 1, 256,
        lambda: [words(256), empty(np.int32, 256)],
        {}, {8: "each thread reads the sum that it wrote itself"},
    ),
    "scan_tree": (
        "scan.cu", 1, 128,
        lambda: [words(256), empty(np.int32, 256)],
        {"shared": 1024}, {2: "each thread reads the two sums that it wrote itself"},
    ),
    "scan_lookback": (
        "scan.cu", 6, 256,
        lambda: [words(1536), empty(np.int32, 1536), np.zeros(6, np.uint64), np.zeros(1, np.uint32), 1536],
        {}, {},
    ),
    "sort_bitonic": (
        "scan.cu", 1, 128,
        lambda: [words(128)],
        {"shared": 512}, {},
    ),
    "sort_radix": (
        "scan.cu", 1, 128,
        lambda: [words(128).view(np.uint32)],
        {}, {15: "keys were read before the earlier barriers, counts are written after the next"},
    ),
    "histogram_shared": (
        "scan.cu", 2, 256,
        lambda: [words(600).astype(np.uint8), np.zeros(256, np.uint32), 600],
        {}, {},
    ),
    "layer_norm": (
        "rows.cu", 2, 128,
        lambda: [floats(2, 200), floats(200), floats(200), empty(np.float32, 2, 200), 200, np.float32(1e-6)],
        {}, {0: "guards a former use of the buffer, and there is none before the first"},
    ),
    "rms_norm_half2": (
        "rows.cu", 2, 64,
        lambda: [halves(2, 128), empty(np.float16, 2, 128), 64],
        {}, {0: "guards a former use of the buffer, and there is none before the first"},
    ),
    "transpose_tile": (
        "rows.cu", (2, 2), (32, 8),
        lambda: [floats(64, 64), empty(np.float32, 64, 64), 64, 64],
        {}, {},
    ),
    "transpose_swizzled": (
        "rows.cu", (2, 2), 256,
        lambda: [floats(64, 64), empty(np.float32, 64, 64), 64],
        {}, {},
    ),
    "stencil_3x3": (
        "rows.cu", (2, 2), (16, 16),
        lambda: [floats(32, 32), empty(np.float32, 32, 32), 32],
        {}, {},
    ),
    "matmul_tiled": (
        "matmul.cu", (2, 2), (16, 16),
        lambda: [floats(32, 48), floats(48, 32), empty(np.float32, 32, 32), 32, 32, 48],
        {}, {},
    ),
    "matmul_wmma_bf16": (
        "matmul.cu", (1, 1), 32,
        lambda: [np.full((16, 48), 0x3F80, np.uint16), np.full((16, 48), 0x3F80, np.uint16),
                 empty(np.float32, 16, 16), 16, 48],
        {}, {},
    ),
    "matmul_ldmatrix": (
        "matmul.cu", (1, 1), 32,
        lambda: [halves(16, 64), halves(8, 64), empty(np.float32, 16, 8), 8, 64],
        {}, {},
    ),
    "matmul_pipelined": (
        "matmul.cu", (1, 1), 256,
        lambda: [floats(64, 40), floats(40, 64), empty(np.float32, 64, 64), 64, 40],
        {}, {},
    ),
    "matmul_stream_k": (
        "matmul.cu", 5, (16, 16),
        lambda: [floats(48, 80), floats(80, 32), empty(np.float32, 48, 32), empty(np.float32, 5, 256),
                 np.zeros(5, np.uint32), 32, 80, 6, 5],
        {}, {},
    ),
    "spin_lock": (
        "atomics.cu", 2, 64,
        lambda: [np.zeros(1, np.int32), np.zeros(1, np.int32)],
        {}, {},
    ),
    "work_queue": (
        "atomics.cu", 3, 64,
        lambda: [np.zeros(1, np.uint32), np.full(9, 5, np.uint32), np.zeros(9, np.uint32), 9],
        {}, {},
    ),
    "producer_consumer": (
        "atomics.cu", 2, 64,
        lambda: [empty(np.int32, 64), np.zeros(1, np.int32), empty(np.int32, 64)],
        {}, {},
    ),
    "split_barrier": (
        "atomics.cu", 1, 128,
        lambda: [words(128), empty(np.int32, 3, 128)],
        {}, {},
    ),
}


def flagged(text, kernel, case):
    source, grid, block, arguments, options, same = case
    for seed in SEEDS:
        result = emulator.run(text, kernel, grid, block, arguments(), seed=seed, check=False, on_fault="continue", limit=1,
                              max_instructions=200000, **options)
        if result.faults or result.error:
            return True
    return False


def test_originals_are_clean():
    for kernel, case in CASES.items():
        for seed in SEEDS[:3]:
            source, grid, block, arguments, options, same = case
            result = emulator.run(ptx(source), kernel, grid, block, arguments(), seed=seed, check=False, **options)
            assert not result.faults and not result.error, (kernel, seed, result.reports[:1])


def test_mutants_are_flagged():
    found, missed, same = 0, [], 0
    for kernel, case in CASES.items():
        for number, instruction, text in mutants(ptx(case[0]), kernel):
            if number in case[5]:
                assert not flagged(text, kernel, case), f"{kernel} #{number} does not mean the same: {instruction}"
                same += 1
            elif flagged(text, kernel, case):
                found += 1
            else:
                missed.append(f"{kernel} #{number}: {instruction}")
    total = found + len(missed)
    print(f"{found} of {total} mutants flagged, {same} mean the same; missed: {missed}")
    assert total >= 50 and found >= 0.95 * total, f"{found} of {total} flagged, missed {missed}"


@pytest.mark.parametrize("text,count", [("bar.sync \t0;\n", 1), ("@%p1 membar.gl;", 1), ("bar.arrive 0, 64;", 0), ("cp.async.wait_group 1;", 1)])
def test_what_is_taken_out(text, count):
    assert len(list(mutants(".entry k() {\n" + text + "\n}", "k"))) == count
