"""The static judgement of GPU kernels: its estimates computed again from what it prints, its lines kept, and broken ones noticed."""
import json
import math
import subprocess
import sys

import pytest
from conftest import ROOT

SCRIPT = ROOT / "benchmarks" / "gpu-static" / "gpu_static.py"
# Data sheets: SMs, clock in GHz, FP8 and f16 multiply-adds a clock and SM (f32 accumulators), bytes a second, L2 bytes a clock and SM, L2 bytes.
CHIPS = {"RTX 4090": (128, 2.52, 512, 256, 1008e9, 16, 72 << 20), "L4": (58, 2.04, 1024, 512, 300e9, 16, 48 << 20), "L40S": (142, 2.52, 1024, 512, 864e9, 16, 96 << 20)}


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    out = tmp_path_factory.mktemp("static") / "out.json"
    done = run("--models", "ViT-Ti", "--batches", "1,8", "--json", out)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return json.loads(out.read_text()), done.stdout


def launches(judged):
    """(model, chip, launch) of all."""
    return [(model, chip, row) for model in judged[0] for chip in CHIPS for row in model["chips"][chip]]


def test_resident_blocks_and_fill(judged):
    """Occupancy by the limits of the programming guide: 1,536 threads, 65,536 registers by 256 a warp, 100 KiB with 1 KiB reserved a block, 24 blocks."""
    for _, chip, row in launches(judged):
        sms, threads, e = CHIPS[chip][0], row["block"][0], row["estimate"]
        warps = math.ceil(threads / 32)
        registers = math.ceil(row["metrics"]["registers"] * 32 / 256) * 256 * warps
        shared = math.ceil((row["shared_bytes"] + row["metrics"]["static_shared_bytes"] + 1024) / 128) * 128
        resident = min(48 // warps, 65536 // registers, 100 * 1024 // shared, 24)
        assert e["resident_blocks"] == resident
        rounds = math.ceil(row["blocks"] / (sms * resident))
        assert e["rounds"] == rounds
        assert e["fill_share"] == pytest.approx(row["blocks"] / (rounds * sms * resident))


def test_no_estimate_beats_the_chip(judged):
    """No launch is faster than its useful products on all tensor cores, than its bytes from memory, or than its bytes through L2."""
    for model, chip, row in launches(judged):
        sms, clock, f8, f16, bandwidth, l2, _ = CHIPS[chip]
        useful = row["metrics"].get("macs_per_row", 0) * model["batch"] * {"head": 1, "embed.patch": 196}.get(row["role"], 197)
        least, e = useful / (sms * (f8 if row["built"] == "f8" else f16) * clock * 1e3), row["estimate"]
        memory = e["warm_read_bytes"] + e["warm_written_bytes"]
        assert e["us"] >= max(least, row["bytes"] / bandwidth * 1e6)
        assert e["warm_us"] >= max(least, memory / bandwidth * 1e6, row["bytes"] / (sms * l2 * clock * 1e3))
        assert e["warm_us"] <= e["us"] + 1e-9


def test_what_l2_keeps_by_hand(judged):
    """ViT-Ti at batch 8 moves 12 MB a block at most, which every L2 holds: from memory come its weights, and nothing goes back."""
    checked = 0
    for model, chip, row in launches(judged):
        if row["times"] != 12:
            continue
        d, f, e = 192, 768, row["estimate"]
        weights = {"qkv": 3 * d * d, "proj": d * d, "fc1": d * f, "fc2": d * f}.get(row["role"], 0)
        assert row["bytes"] < 0.1 * CHIPS[chip][6] and e["warm_written_bytes"] == 0
        # Scales and biases of f32 besides, gamma and beta.
        assert weights <= e["warm_read_bytes"] <= weights + 4 * 4 * max(3 * d, f), (row["role"], chip)
        checked += 1
    assert checked >= 2 * 7 * 3


def test_tensor_cycles_by_hand(judged):
    """Of the busiest SM: its blocks times the products of a block, padding included, over the rate; a SM with fewer than 4 warps has that share of it."""
    checked = 0
    for _, chip, row in launches(judged):
        macs = row["metrics"].get("block_macs")
        if not macs:
            continue
        sms, _, f8, f16, *_ = CHIPS[chip]
        e = row["estimate"]
        slots = sms * e["resident_blocks"]
        busiest = row["blocks"] // slots * e["resident_blocks"] + math.ceil(row["blocks"] % slots / sms)
        warps = min(e["resident_blocks"], busiest) * row["block"][0] // 32
        rate = (f8 if row["built"] == "f8" else f16) * min(4, warps) / 4
        assert e["tensor_cycles"] == pytest.approx(busiest * macs / rate, rel=1e-9), (row["role"], chip)
        checked += 1
    assert checked >= 2 * 6 * 3


def test_the_emulator_agrees_about_the_work(judged):
    for _, _, row in launches(judged):
        if "block_macs" in row["metrics"]:
            assert row["emulated"]["macs"] == pytest.approx(row["metrics"]["block_macs"] * row["blocks"], rel=2e-3)
        assert row["emulated"]["shared_wavefronts"] >= row["emulated"]["shared_least"]


def test_totals_are_sums(judged):
    for model in judged[0]:
        for chip in CHIPS:
            rows, total = model["chips"][chip], model["totals"][chip]
            assert total["kernels_ms"] == pytest.approx(sum(row["times"] * row["estimate"]["us"] for row in rows) / 1e3)
            assert total["kernels_l2_ms"] == pytest.approx(sum(row["times"] * row["estimate"]["warm_us"] for row in rows) / 1e3)
            roles = {row["role"] for row in rows if row["times"] == 12}
            assert sorted(roles) == sorted(["norm1", "qkv", "attention", "proj", "norm2", "fc1", "fc2"])


def test_traffic_by_hand(judged):
    """Seven launches a block at batch 8, each operand once: f16 stream, E4M3 between norms and linears, f16 q, k and v; and little more than that in all."""
    model = next(m for m in judged[0] if m["batch"] == 8)
    rows, d, f = 8 * 197, 192, 768
    activations = rows * ((2 * d + d) + (d + 6 * d) + (6 * d + d) + (d + 4 * d) + (2 * d + d) + (d + f) + (f + 4 * d))
    block = activations + 4 * d * d + 2 * d * f
    for chip in CHIPS:
        found = sum(row["bytes"] for row in model["chips"][chip] if row["times"] == 12)
        assert block <= found <= 1.01 * block  # scales and biases
        rest = sum(row["bytes"] for row in model["chips"][chip] if row["times"] == 1)
        traffic = model["traffic"][chip]
        assert traffic["bytes"] == 2 * found + rest  # of the model of two blocks
        assert traffic["bytes"] <= 1.05 * traffic["minimum_bytes"]
        assert traffic["minimum_bytes"] == pytest.approx(2 * found + rest, rel=0.01)
        assert traffic["launches_of_blocks"] <= 2 * 8


def test_a_line_that_is_not_kept_fails(judged, tmp_path):
    lines = {f"ViT-Ti/1/{chip}": {"linears_ms": judged[0][0]["totals"][chip]["linears_ms"] * 0.9} for chip in CHIPS}
    (tmp_path / "recorded.json").write_text(json.dumps(lines))
    done = run("--models", "ViT-Ti", "--batches", "1", "--quiet", "--no-emulator", "--recorded", tmp_path / "recorded.json")
    assert done.returncode == 1 and done.stdout.count("FAIL: ViT-Ti/1/") == 3


def test_recording_keeps_this_runs_lines(judged, tmp_path):
    path = tmp_path / "recorded.json"
    assert run("--models", "ViT-Ti", "--batches", "1", "--quiet", "--no-emulator", "--recorded", path, "--record").returncode == 0
    assert json.loads(path.read_text())["ViT-Ti/1/L4"]["kernels_ms"] == pytest.approx(judged[0][0]["totals"]["L4"]["kernels_ms"], rel=1e-3)


def test_triton_is_there_or_said_to_be_missing(judged):
    assert judged[1].startswith("Triton")


def test_unknown_models_are_refused():
    done = run("--models", "ViT-Q")
    assert done.returncode == 1 and "unknown model" in done.stderr


def test_the_gpus_benchmark_runs_on_the_emulator():
    """What measures a real GPU, with the emulated one in its place: times mean nothing here, but every linear has one."""
    script = ROOT / "benchmarks" / "gpu" / "linears.py"
    done = subprocess.run([sys.executable, script, "--device", "emulator:sm_89", "--models", "ViT-Ti", "--batches", "1", "--repeats", "1", "--json"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [(r["role"], r["m"], r["n"], r["k"]) for r in result["ours"]] == [("qkv", 197, 576, 192), ("proj", 197, 192, 192), ("fc1", 197, 768, 192),
                                                                            ("fc2", 197, 192, 768)]
    assert all(r["us"] > 0 for r in result["ours"])
