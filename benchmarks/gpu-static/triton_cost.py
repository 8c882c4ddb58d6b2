#===- triton_cost.py - Triton's kernels by the same formula -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""What a block would cost with Triton's cubins: each launch with the best of a table of tiles, as its autotuner would choose by this formula."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from vitrify.errors import VitrifyError
from vitrify.tools import run_tool

HERE = Path(__file__).resolve().parent


def find_nvdisasm():
    """The disassembler of the wheels beside this Python, of the toolkit, or of PATH."""
    for found in sorted(Path(sys.prefix).glob("lib/python3.*/site-packages/nvidia/*/bin/nvdisasm")):
        return str(found)
    return shutil.which("nvdisasm") or shutil.which("/usr/local/cuda/bin/nvdisasm")


def disassemble(cubin):
    tool = find_nvdisasm()
    if tool is None:
        raise VitrifyError("no nvdisasm: install PyPI's nvidia-cuda-nvdisasm")
    return subprocess.run([tool, "-c", str(cubin)], capture_output=True, text=True, check=True).stdout


def up(a, b):
    return -(-a // b)


class Triton:
    """Compiles once; `state` says with what, or why there is nothing to compare with."""

    def __init__(self, folder, models):
        self.kernels = None
        python = os.environ.get("VITRIFY_TRITON_PYTHON", sys.executable)
        if subprocess.run([python, "-c", "import triton"], capture_output=True, check=False).returncode:
            self.state = f"Triton is missing: {python} has none (pip install --no-deps triton==3.7.1, or set VITRIFY_TRITON_PYTHON)"
            return
        if find_nvdisasm() is None:
            self.state = "Triton is left out: no nvdisasm to read its cubins with (PyPI nvidia-cuda-nvdisasm)"
            return
        folder.mkdir(parents=True)
        sizes = [str(h) for h in sorted({m.hidden // m.heads for m in models})] + [f"hidden={h}" for h in sorted({m.hidden for m in models})]
        done = subprocess.run([python, HERE / "triton_side.py", folder, *sizes], capture_output=True, text=True, check=False)
        if done.returncode:
            raise VitrifyError(f"Triton failed: {done.stderr.strip()[-500:]}")
        made = json.loads((folder / "kernels.json").read_text(encoding="utf-8"))
        self.kernels = made["kernels"]
        for kernel in self.kernels:
            sass = folder / f"{kernel['name']}.sass"
            sass.write_text(disassemble(folder / f"{kernel['name']}.cubin"), encoding="utf-8")
        counted = json.loads(run_tool("vitrify-estimate", ["--count", *(folder / f"{k['name']}.sass" for k in self.kernels)]))
        for kernel in self.kernels:
            (kernel["metrics"],) = counted[str(folder / f"{kernel['name']}.sass")].values()
        self.state = f"Triton {made['version']}: {len(self.kernels)} cubins for sm_89"
        self.folder = folder

    def cost(self, model, batch, chip, warm_bytes):
        """Milliseconds of all blocks (seven launches each) and of their linears, cold and with `warm_bytes` by role of a launch; None without Triton."""
        if self.kernels is None:
            return None
        found = self._estimate(model, batch, chip, warm_bytes)
        total, us, kernels = {}, {}, {}
        for key, field in (("ms", "us"), ("l2_ms", "warm_us")):
            best = {role: min(choices, key=lambda c: c[1][field]) for role, choices in found.items()}
            us[key] = {role: choice[1][field] for role, choice in best.items()}
            kernels[key] = {role: choice[0] for role, choice in best.items()}
            total[f"blocks_{key}"] = model.layers * sum(us[key].values()) / 1e3
            total[f"linears_{key}"] = model.layers * sum(us[key][role] for role in ("qkv", "proj", "fc1", "fc2")) / 1e3
        return total | {"us": us, "kernels": kernels}

    def _estimate(self, model, batch, chip, warm_bytes):
        """role -> [(kernel's name, the estimate's fields)] of what fits."""
        rows, d, f = batch * model.tokens, model.hidden, model.mlp
        launches = [(role, k, launch) for role, n, depth, epilogue, moved in (
            ("qkv", 3 * d, d, 0, rows * (d + 6 * d)), ("proj", d, d, 1, rows * (d + 4 * d)), ("fc1", f, d, 2, rows * (d + f)), ("fc2", d, f, 1, rows * (f + 4 * d)))
            for k, launch in self._linears(rows, n, depth, epilogue, moved + n * depth + 8 * n)]
        head = d // model.heads
        for k in self.kernels:
            if k["kernel"] == "attention" and k["HEAD"] == head:
                blocks, padded = up(model.tokens, k["BM"]), up(model.tokens, k["BN"]) * k["BN"]
                metrics = k["metrics"] | {"macs_per_row": 2 * model.tokens * d, "block_macs": 2 * k["BM"] * padded * k["D"],
                                          "block_copy_bytes": (2 * padded + k["BM"]) * head * 2, "stages": k["stages"], "stage_bytes": 2 * k["BN"] * k["D"] * 2}
                launches.append(("attention", k, (metrics, blocks * model.heads * batch, rows, rows * 7 * d)))
            if k["name"] == f"norm{d}":
                launches += [(role, k, (k["metrics"], rows, rows, rows * 3 * d + 8 * d)) for role in ("norm1", "norm2")]
        described = [{"name": k["name"], "target": "sm_89", "metrics": m, "blocks": blocks, "threads": k["threads"], "dynamic_shared_bytes": k["shared"],
                      "rows": r, "dram_bytes": moved, "warm_bytes": {chip: warm_bytes[role]}} for role, k, (m, blocks, r, moved) in launches]
        path = self.folder / "launches.json"
        path.write_text(json.dumps(described), encoding="utf-8")
        found = {}
        for (role, k, _), estimate in zip(launches, json.loads(run_tool("vitrify-estimate", [path, "--chip", chip])), strict=True):
            (e,) = estimate["estimates"]
            if e["resident_blocks"]:
                found.setdefault(role, []).append((k["name"], e))
        return found

    def _linears(self, rows, n, depth, epilogue, moved):
        for k in self.kernels:
            if k["kernel"] != "linear" or k["EPILOGUE"] != epilogue:
                continue
            bm, bn, padded = k["BM"], k["BN"], up(depth, k["BK"]) * k["BK"]
            metrics = k["metrics"] | {"macs_per_row": n * depth, "block_macs": bm * bn * padded, "block_copy_bytes": (bm + bn) * padded, "block_rows": bm, "block_outputs": bm * bn, "columns": n,
                                      "stages": k["stages"], "stage_bytes": (bm + bn) * k["BK"]}
            yield k, (metrics, up(rows, bm) * up(n, bn), rows, moved)
