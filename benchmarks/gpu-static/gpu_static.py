#===- gpu_static.py - GPU kernels judged without a GPU -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""Judges the kernels of whole models from their cubins, their launches and the emulator's counters. Nothing here is measured on a GPU.

    build/venv/bin/python benchmarks/gpu-static/gpu_static.py [--models ViT-B,ViT-L] [--batches 1,8,32] [--json out.json] [--record]

Fails (exit 1) when a model's estimate is above the line recorded in recorded.json, a kernel spills, or an FP8 kernel holds other products.
VITRIFY_TRITON_PYTHON names a Python with triton, whose kernels are compiled and judged by the same formula in the same run.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from counts import Counter
from shapes import BATCHES, MODELS, build
from triton_cost import Triton

from vitrify.errors import VitrifyError
from vitrify.tools import run_tool

HERE = Path(__file__).resolve().parent
RECORDED = HERE / "recorded.json"
TARGET = "sm_89"
CHIPS = ("RTX 4090", "L4", "L40S")
SLACK = 1.005  # of a recorded line: estimates are the same from run to run, toolchains differ a little


BLOCK = "b1."  # of the two, the one that is judged
ROLES = ("norm1", "qkv", "attention", "proj", "norm2", "fc1", "fc2")


def role_of(layers):
    """What a launch is in a block: by the layers it computes."""
    names = {name.split(".")[-1] for name in layers if name.startswith(BLOCK)}
    for role, member in (("qkv", "q"), ("attention", "attn"), ("proj", "proj"), ("fc1", "fc1"), ("fc2", "fc2"), ("norm1", "ln1"), ("norm2", "ln2")):
        if member in names:
            return role
    return layers[-1] if layers else "copy"


def judge(model, batch, folder, known):
    """One model and batch: for each chip the launches of a bundle that is compiled for it (--tune), with the model's columns and what the emulator counted,
    and the totals of the bundle that is compiled for all chips at once. `known` keeps the emulator's counts; None: without them."""
    judged = {"model": model.name, "batch": batch, "chips": {}, "traffic": {}}
    for chip in CHIPS:
        rows, judged["traffic"][chip] = launches_of(model, batch, folder, chip, known)
        judged["chips"][chip] = [row | {"estimate": row.pop("estimates")[chip]} for row in rows]
    judged["portable"] = launches_of(model, batch, folder, None, None)[0]
    return judged


def launches_of(model, batch, folder, tune, known):
    bundle, target, ptx = build(model, batch, folder / model.name, TARGET, tune)
    kernels = {k["name"]: k for k in target["kernels"]}
    program = next(p for p in target["programs"] if p["name"] == "forward")
    launches = executed(program["steps"])
    counted = list(Counter(bundle, TARGET, ptx, known).launches(batch)) if known is not None else [None] * len(launches)
    rows = []
    for launch, count in zip(launches, counted, strict=True):
        if any(name.startswith("b0.") for name in launch["layers"]):
            continue  # the first block finds L2 as no other one does
        kernel = kernels[launch["kernel"]]
        blocks = launch["grid"][0] * launch["grid"][1] * launch["grid"][2]
        rows.append({"role": role_of(launch["layers"]), "layers": launch["layers"], "kernel": launch["kernel"], "blocks": blocks, "grid": launch["grid"],
                     "block": launch["block"], "shared_bytes": launch["shared_bytes"], "bytes": launch["bytes"], "metrics": kernel["metrics"],
                     "precision": kernel["precision"], "built": kernel["built_precision"], "counted_from": kernel["counted_from"],
                     "estimates": {e["chip"]: e for e in launch["estimates"]}, "emulated": count[3] if count else None, "times": repeats(launch, model)})
    return rows, program["traffic"]


def executed(steps):
    """Launches that run at the tuned batch: bodies of conditions that hold are among them."""
    return [launch for step in steps for launch in ([step] if "estimates" in step else executed(step["body"]) if step.get("taken") else [])]


def repeats(launch, model):
    """How often the whole model has a launch of the model of two blocks."""
    return model.layers if any(name.startswith(BLOCK) for name in launch["layers"]) else 1


def overheads():
    """Chip -> the cost of one launch, as the tool that knows the chips says."""
    dummy = [{"name": "x", "target": TARGET, "metrics": {"registers": 32}, "blocks": 1, "threads": 32, "dynamic_shared_bytes": 0, "rows": 0, "dram_bytes": 0}]
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(dummy, file)
        file.flush()
        return {e["chip"]: e["launch_overhead_us"] for e in json.loads(run_tool("vitrify-estimate", [file.name]))[0]["estimates"]}


LINEARS = ("qkv", "proj", "fc1", "fc2")


def totals(rows, estimate, overhead):
    """Milliseconds of a whole model: its kernels, the gaps between them, its blocks and its FP8 linears; cold, and with what launches leave in L2."""
    found = {"gaps_ms": sum(r["times"] for r in rows) * overhead / 1e3}
    for name, roles in (("kernels", None), ("blocks", ROLES), ("linears", LINEARS)):
        for key, us in (("ms", "us"), ("l2_ms", "warm_us")):
            found[f"{name}_{key}"] = sum(r["times"] * estimate(r)[us] for r in rows if roles is None or r["role"] in roles) / 1e3
    return found


def faults(judged):
    """What no kernel may have."""
    found = []
    for row in [row for rows in judged["chips"].values() for row in rows]:
        where = f"{judged['model']} batch {judged['batch']}, {row['role']} ({row['kernel']})"
        if row["metrics"].get("spill_bytes") or row["metrics"].get("local_accesses"):
            found.append(f"{where}: spills or uses local memory")
        said, counted = row["metrics"].get("block_macs", 0) * row["blocks"], (row["emulated"] or {}).get("macs")
        if said and counted is not None and abs(said - counted) > 0.002 * counted:
            found.append(f"{where}: {said} multiply-adds by its description, {counted} by the emulator's count")
        if row["precision"] == "f8e4m3" and row["built"] not in ("f8", ""):
            found.append(f"{where}: is called FP8 and its tensor instructions take {row['built']}")
    return found


def print_table(judged, chip):
    """design's table, one row a launch. Inputs come first, so that each column can be computed again."""
    print(f"\n{judged['model']}, batch {judged['batch']}, {chip} (estimates, not measured)\n")
    head = ("launch", "T", "R", "regs", "KiB", "u", "w", "c", "tensor/issue", "L2 B/clk", "in flight KiB", "warps", "e", "instr/out", "sectors", "banks",
            "waits", "spills", "limit", "us", "with L2", "us")
    rows = []
    for row in judged["chips"][chip]:
        e, m, n = row["estimate"], row["metrics"], row["emulated"]
        threads = row["block"][0] * row["block"][1] * row["block"][2]
        share = lambda a, b: f"{a / b:.2f}" if b else "-"
        tensor = e["tensor_cycles"] / e["issue_cycles"] if e["issue_cycles"] else 0
        # Bytes of a trip by the products it does, against a stage: how many stages a trip of the (unrolled) loop takes.
        trip = m.get("block_copy_bytes", 0) * (threads / 32) * sum(v for k, v in m.items() if k.startswith("loop_macs")) / max(1, m.get("block_macs", 0))
        stages = max(1, round(trip / m["stage_bytes"])) if m.get("stage_bytes") else 0
        waits = f"{(m.get('loop_barriers', 0) + m.get('loop_async_waits', 0)) / stages:.1f}" if stages and trip else 0
        outputs = m.get("block_outputs", 0)
        rows.append((row["role"], row["blocks"], e["resident_blocks"], m["registers"], f"{(row['shared_bytes'] + m.get('static_shared_bytes', 0)) / 1024:.0f}",
                     f"{e['useful_share']:.3f}", f"{e['fill_share']:.3f}", f"{e['pipe_ceiling']:.3f}", f"{tensor:.2f}" if tensor else "-",
                     f"{e['l2_bytes_per_clock']:.1f}", f"{e['bytes_in_flight'] / 1024:.0f}", e["resident_blocks"] * threads // 32, f"{e['epilogue_share']:.3f}",
                     f"{m['after_instructions'] * threads / outputs:.1f}" if outputs and "after_instructions" in m else "-",
                     share(n["global_bytes"], 32 * n["global_sectors"]) if n else "-", share(n["shared_wavefronts"], n["shared_least"]) if n else "-",
                     waits or "-", m.get("spill_bytes", 0), e["limiter"], f"{e['us']:.2f}", e["warm_limiter"], f"{e['warm_us']:.2f}"))
    widths = [max(len(str(r[i])) for r in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  " + "  ".join(str(v).ljust(w) for v, w in zip(row, widths)).rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(m.name for m in MODELS))
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--json", metavar="FILE", help="write everything, inputs included")
    parser.add_argument("--record", action="store_true", help="write the estimates of this run as the line to keep")
    parser.add_argument("--recorded", metavar="FILE", type=Path, default=RECORDED, help="the lines to keep (default: recorded.json beside this script)")
    parser.add_argument("--no-emulator", action="store_true", help="without the columns that the emulator counts")
    parser.add_argument("--quiet", action="store_true", help="only the totals")
    options = parser.parse_args()
    wanted = options.models.split(",")
    models = [m for m in MODELS if m.name in wanted]
    if len(models) != len(wanted):
        raise VitrifyError(f"unknown model in {options.models}; known are {', '.join(m.name for m in MODELS)}")
    batches = [int(b) for b in options.batches.split(",")]
    recorded = json.loads(options.recorded.read_text(encoding="utf-8")) if options.recorded.exists() else {}
    overhead, results, failures, summary, known = overheads(), [], [], [], {}
    with tempfile.TemporaryDirectory(prefix="vitrify-gpu-static-") as folder:
        folder = Path(folder)
        triton = Triton(folder / "triton", models)
        print(triton.state)
        for model in models:
            for batch in batches:
                judged = judge(model, batch, folder, None if options.no_emulator else known)
                failures += faults(judged)
                portable = judged.pop("portable")
                judged["totals"] = {chip: totals(judged["chips"][chip], lambda r: r["estimate"], overhead[chip]) for chip in CHIPS}
                judged["portable_totals"] = {chip: totals(portable, lambda r, chip=chip: r["estimates"][chip], overhead[chip]) for chip in CHIPS}
                judged["triton"] = {chip: triton.cost(model, batch, chip, warm_bytes(judged["chips"][chip], chip)) for chip in CHIPS}
                results.append(judged)
                for chip in CHIPS:
                    if not options.quiet:
                        print_table(judged, chip)
                    failures += compare(judged, chip, recorded, summary)
    print_summary(summary)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.record:
        for judged in results:
            for chip in CHIPS:
                recorded[f"{judged['model']}/{judged['batch']}/{chip}"] = {k: round(v, 5) for k, v in judged["totals"][chip].items()}
        options.recorded.write_text(json.dumps(dict(sorted(recorded.items())), indent=1) + "\n", encoding="utf-8")
        failures = [f for f in failures if "recorded" not in f]
    for failure in failures:
        print(f"FAIL: {failure}")
    return 1 if failures else 0


def warm_bytes(rows, chip):
    """Role -> what its operands move from and to memory when the launches before left theirs in L2: a matter of the operands, not of who computes."""
    found = dict.fromkeys(ROLES, 0)
    for row in rows:
        if row["role"] in found:
            found[row["role"]] += row["estimate"]["warm_read_bytes"] + row["estimate"]["warm_written_bytes"]
    return found


KEPT = ("kernels_ms", "blocks_ms", "linears_ms", "kernels_l2_ms", "blocks_l2_ms", "linears_l2_ms")


def compare(judged, chip, recorded, summary):
    """Adds a line to the summary; what is worse than the recorded line or than Triton by the same formula."""
    ours, theirs = judged["totals"][chip], judged["triton"][chip]
    key = f"{judged['model']}/{judged['batch']}/{chip}"
    summary.append((judged["model"], judged["batch"], chip, ours, judged["portable_totals"][chip], theirs))
    failures = []
    for what in KEPT:
        line = recorded.get(key, {}).get(what)
        if line is not None and ours[what] > line * SLACK:
            failures.append(f"{key}: {what} is {ours[what]:.4f}, above the recorded {line:.4f}")
    return failures


def print_summary(summary):
    print("\nWhole models, milliseconds (estimates by the launch model, not measured). blocks: the encoder's launches; linears: qkv, proj, fc1, fc2 of all blocks."
          "\nCold: every operand of a launch comes from memory; L2: but for what the launches before left there. 'for all' is a bundle compiled without --tune."
          "\nTriton's are of the best tile for each launch, by the same formula and the same bytes.\n")
    print(f"  {'':13} {'':>5}  {'':9} {'':>8}  {'cold':26}   {'L2'}")
    head = f"{'blocks':>8} {'Triton':>8}  {'linears':>8} {'for all':>8} {'Triton':>8}"
    print(f"  {'model':13} {'batch':>5}  {'chip':9} {'gaps':>8}  {head}   {head}")
    for model, batch, chip, ours, portable, theirs in summary:
        other = lambda what: f"{theirs[what]:8.3f}" if theirs else f"{'-':>8}"
        parts, above = [], []
        for key, name in (("ms", "cold"), ("l2_ms", "L2")):
            parts.append(f"{ours[f'blocks_{key}']:8.3f} {other(f'blocks_{key}')}  {ours[f'linears_{key}']:8.3f} {portable[f'linears_{key}']:8.3f} {other(f'linears_{key}')}")
            above += [f"{what} {name}" for what in ("blocks", "linears") if theirs and ours[f"{what}_{key}"] > theirs[f"{what}_{key}"]]
        print(f"  {model:13} {batch:5}  {chip:9} {ours['gaps_ms']:8.3f}  {'   '.join(parts)}{'  above Triton: ' + ', '.join(above) if above else ''}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (VitrifyError, subprocess.CalledProcessError) as error:
        sys.exit(f"gpu_static: error: {error}")
