"""The benchmarks run: rows for what is there, one line for what is missing, a plot. What they measure is not judged here."""
import json
import os
import subprocess
import sys

from conftest import ROOT

import seeded
from vitrify.compiler import CompileOptions, compile_model


def test_peers(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "benchmarks/peers/bench.py", "--models", "vit_ti", "--batches", "1", "--engines", "vitrify,torch", "--precisions",
                           "f32,bf16", "--rounds", "1", "--seconds", "0.05", "--work", tmp_path / "work", "--output", tmp_path / "rows.jsonl"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {(r["engine"], r["precision"]): r for r in map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())}
    assert set(rows) == {(e, p) for e in ("vitrify", "torch") for p in ("f32", "bf16")}
    for precision, least in (("f32", 1 - 1e-12), ("bf16", 0.999)):
        row = rows["vitrify", precision]
        assert row["runs"] >= 3 and 0 < row["min_ms"] <= row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
        assert row["cosine"] >= least and row["rss_bytes"] > row["artifact_bytes"] and row["limit_ms"] > 0
        assert f"vitrify          {precision}" in done.stdout
    if "missing" in rows["torch", "f32"]:
        assert "missing: torch is not installed" in done.stdout
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")


def test_peers_refuse_an_unknown_engine(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "benchmarks/peers/bench.py", "--engines", "vitrify,abacus"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "unknown engine 'abacus'; expected one of vitrify, " in done.stderr


def test_contexts(tmp_path):
    """A row for each number of contexts, with as many threads as there are processors for."""
    seeded.write_folder("relu_sharded", tmp_path / "m")
    compile_model(tmp_path / "m", None, tmp_path / "b", CompileOptions(precision="f32"))
    command = [sys.executable, ROOT / "benchmarks/contexts/contexts.py", tmp_path / "b", "--most", "3", "--runs", "6", "--turns", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done[2:]]
    processors = len(os.sched_getaffinity(0))
    assert [(int(r[0]), int(r[1])) for r in rows] == [(n, max(1, processors // n)) for n in (1, 2, 3)]
    assert all(float(cell) > 0 for r in rows for cell in r[2:7]) and rows[0][3] == "1.00"
    refused = subprocess.run([*command, "--most", "0"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and refused.stderr == "error: --most and --turns are at least 1\n"
