"""Executes a GPU plan launch by launch on the emulator, as the runtime would, and keeps every value: an executor of its own, from plan.json alone."""
import json
from pathlib import Path

import ml_dtypes
import numpy as np

from vitrify import emulator

DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F8_E4M3": ml_dtypes.float8_e4m3fn, "I8": np.int8, "I32": np.int32}


def value_of(expression, symbols):
    """An integer, the name of a symbol, or [operation, left, right]."""
    if isinstance(expression, int):
        return expression
    if isinstance(expression, str):
        return symbols[expression]
    left, right = (value_of(e, symbols) for e in expression[1:])
    match expression[0]:
        case "+": return left + right
        case "-": return left - right
        case "*": return left * right
        case "ceildiv": return -(-left // right)
        case "floordiv": return left // right
        case "mod": return left % right
        case "min": return min(left, right)
        case "max": return max(left, right)
    raise ValueError(f"unknown operation {expression[0]}")


def weights_of(bundle, plan):
    """Weight's index -> bytes as stored."""
    path = Path(bundle) / "weights.safetensors"
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        raw = np.memmap(path, np.uint8, "r", 8 + size)
    found = []
    for weight in plan["weights"]:
        begin, end = header[weight["tensor"]]["data_offsets"]
        found.append(np.array(raw[begin:end]))
    return found


def executed(steps, symbols):
    """Launches in order; bodies of conditions that hold are among them."""
    for step in steps:
        assert step["kind"] in ("launch", "if"), step["kind"]
        if step["kind"] == "launch":
            yield step
        elif value_of(step["condition"], symbols):
            yield from executed(step["body"], symbols)


def run_plan(bundle, target, ptx, x, checks="all"):
    """Runs @forward on x. Returns name -> array for every buffer, E4M3 codes times their scale, and the number of reports of the checks."""
    plan = json.loads((Path(bundle) / "targets" / target / "plan.json").read_text(encoding="utf-8"))
    program = next(p for p in plan["programs"] if p["name"] == "forward")
    symbols = {program["symbols"][0]["name"]: len(x)}
    weights = weights_of(bundle, plan)
    memory, reports = {}, []
    sizes = [value_of(b["size"], symbols) for b in program["buffers"]]
    memory[program["inputs"][0]["buffer"]] = np.ascontiguousarray(x).view(np.uint8).reshape(-1)
    with emulator.Session(ptx, chip=target, checks=checks) as session:
        for step in executed(program["steps"], symbols):
            dispatch = value_of(step["dispatch"], symbols)
            variant = next(v for v in step["variants"] if v["min"] <= dispatch <= v["max"])
            arguments = [np.int64(value_of(a, symbols)) for a in step["args"]] + [weights[i] for i in step["weights"]]
            arguments += [emulator.View(memory[r["buffer"]], value_of(r["offset"], symbols)) for r in step["reads"]]
            first = len(arguments)
            for write in step["writes"]:
                arguments.append(emulator.Empty((sizes[write["buffer"]],), np.uint8))
            kernel = plan["kernels"][variant["kernel"]]["name"]
            done = session.run(kernel, [value_of(g, symbols) for g in variant["grid"]], variant["block"], arguments, shared=variant["shared_bytes"])
            reports += done.reports
            # A split product leaves its result to the launch that adds the parts, and a whole one leaves the parts alone.
            split = plan["kernels"][variant["kernel"]]["metrics"].get("split", 1) > 1
            for write, array in zip(step["writes"], done.arrays[first:], strict=True):
                if program["buffers"][write["buffer"]]["name"].endswith("#parts") == split:
                    memory[write["buffer"]] = array
    scales = {w["name"]: weights[i].view(np.float32) for i, w in enumerate(plan["weights"]) if w["dtype"] == "F32"}
    values = {}
    for index, buffer in enumerate(program["buffers"]):
        if index not in memory or buffer["name"].endswith("#parts"):
            continue
        shape = [value_of(d, symbols) for d in buffer["shape"]]
        array = memory[index].view(DTYPES[buffer["dtype"]]).reshape(shape).astype(np.float32)
        values[buffer["name"]] = array * scales[buffer["scale"]] if buffer["scale"] else array
    return values, reports
