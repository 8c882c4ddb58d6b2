#!/usr/bin/env python3
"""Throughput against latency of several contexts on one program: images a second, and how long a request takes, for 1 to N contexts at once.

Contexts share the weights and have an arena and threads of their own; each has as many threads as leaves all of them no more than the machine's processors.
Every row is one run of `vitrify-run --bench --contexts`; rows are repeated in turn and the best of each is printed, with the spread of its rate over the turns.

    benchmarks/contexts/contexts.py vit.vitrify --most 4 --batch 1
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def measure(bundle, contexts, threads, batch, runs):
    """What vitrify-run prints of `runs` requests by `contexts` threads of callers."""
    command = [ROOT / "build" / "bin" / "vitrify-run", bundle, f"--bench={runs}", f"--contexts={contexts}", f"--threads={threads}", f"--batch={batch}"]
    return json.loads(subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout)


def table(rows):
    """Markdown of the best row for each number of contexts and threads; rates relative to the first."""
    groups = {}
    for row in rows:
        groups.setdefault((row["contexts"], row["threads"]), []).append(row)
    best = [max(group, key=lambda row: row["images_per_s"]) for group in groups.values()]
    lines = ["| contexts | threads each | images/s | of one context | p50 ms | p99 ms | MiB | spread |", "|---|---|---|---|---|---|---|---|"]
    for row, group in zip(best, groups.values()):
        rates = [r["images_per_s"] for r in group]
        lines.append(f"| {row['contexts']} | {row['threads']} | {row['images_per_s']:.1f} | {row['images_per_s'] / best[0]['images_per_s']:.2f} | {row['p50_ms']:.2f} "
                     f"| {row['p99_ms']:.2f} | {row['peak_rss_bytes'] / 2**20:.0f} | {100 * (max(rates) - min(rates)) / max(rates):.0f} % |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--most", type=int, default=2 * len(os.sched_getaffinity(0)), help="contexts at once (default: twice the processors)")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=60, help="requests of a row, all contexts together")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print every row instead of the table")
    options = parser.parse_args()
    if options.most < 1 or options.turns < 1:
        sys.exit("error: --most and --turns are at least 1")
    processors = len(os.sched_getaffinity(0))
    rows = []
    for _ in range(options.turns):
        for contexts in range(1, options.most + 1):
            rows.append(measure(options.bundle, contexts, max(1, processors // contexts), options.batch, options.runs))
    print(json.dumps(rows) if options.json else table(rows))


if __name__ == "__main__":
    main()
