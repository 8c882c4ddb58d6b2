#===- test_x86_instructions.py - no instruction above the row of the target -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""The disassembly of kernels.so is assembled again by GNU as for the row's extensions alone: it refuses all others (LLVM's
assembler does not)."""
import re
import subprocess

import numpy as np
import pytest

from x86_kernels import BF16, E4M3, SOURCE, TARGETS, TOOL, tensor_type, weight

LLVM = "/usr/lib/llvm-22/bin"
# The levels of the x86-64 psABI, written as extensions.
V3 = "generic64+sse4.2+popcnt+movbe+lzcnt+bmi+bmi2+fma+f16c+avx2"
V4 = V3 + "+avx512f+avx512bw+avx512cd+avx512dq+avx512vl"
ROWS = {"x86-64-v3": V3, "x86-64-v4": V4, "x86-64-v4-vnni": V4 + "+avx512_vnni",
        "x86-64-v4-bf16": V4 + "+avx512_vnni+avx512_bf16"}


def module():
    """One kernel of every kind, with 16-bit tails, all activations and both products."""
    w32, w16, w8, wi = (np.zeros((70, 37), t) for t in (np.float32, BF16, E4M3, np.int8))
    text = "".join(weight(n, w) for n, w in (("w32", w32), ("w16", w16), ("w8", w8), ("wi", wi)))
    x32, x16, x8, xi = ("tensor<?x37x%s>" % t for t in ("f32", "bf16", "f8E4M3FN", "i8"))
    text += f"func.func @f(%x32: {x32}, %x16: {x16}, %x8: {x8}, %xi: {xi}, %h: tensor<?x37xf16>, %p: tensor<?x3x28x28xbf16>, "
    text += "%q: tensor<?x72xbf16>, %q32: tensor<?x72xf32>, %i: tensor<?xi32>, %t: tensor<9x37xf32>) {\n"
    for name, array, x, kind in (("w32", w32, "%x32", x32), ("w16", w16, "%x16", x16), ("w8", w8, "%x8", x8), ("wi", wi, "%xi", xi)):
        kind_w = tensor_type(array, False)
        text += f"  %{name} = vit.get @{name} : {kind_w}\n"
        for act in ("gelu_erf", "gelu_tanh", "silu", "quick_gelu", "tanh", "sigmoid", "relu"):
            text += (f'  %{name}_{act}:3 = vit.linear {x}, %{name} layers ["l"] : {kind}, {kind_w} -> tensor<?x70xbf16>, '
                     "tensor<?x70xf8E4M3FN>, tensor<?x70xi8> epilogue() group 1 {\n  ^bb0(%acc: f32):\n"
                     f"    %a = vit.act {act} %acc : f32\n    %b = arith.truncf %a : f32 to bf16\n"
                     "    %c = vit.convert %a sat : f32 to f8E4M3FN\n    %d = vit.convert %a sat : f32 to i8\n"
                     "    vit.yield %b, %c, %d : bf16, f8E4M3FN, i8\n  }\n")
    for kind in ("tensor<?x72xbf16>", "tensor<?x72xf32>"):
        q = "%q" if "bf16" in kind else "%q32"
        text += (f'  %a{q[1:]} = vit.attention {q}, {q}, {q} heads 3 kv_heads 3 scale 0.2 uniform 50 layers ["a"] : {kind}, {kind}, '
                 f"{kind} -> {kind}\n")
    for kind, x in ((x32, "%x32"), (x16, "%x16"), ("tensor<?x37xf16>", "%h")):
        text += f'  %n{x[1:]} = vit.norm layer {x} eps 1.0e-5 layers ["n"] : {kind} -> {kind}\n'
        text += f'  %g{x[1:]} = vit.act gelu_erf {x} layers ["g"] : {kind}\n'
    text += f'  %gate = vit.gate topk k 3 weight softmax %x32 layers ["k"] : {x32} -> {x32}\n'
    text += f'  %c, %s = vit.quantize token %x32 layers ["c"] : {x32} -> {x8}, tensor<?x1xf32>\n'
    text += f'  %e = vit.embed %t, %i layers ["e"] : tensor<9x37xf32>, tensor<?xi32> -> {x32}\n'
    text += f'  %m = vit.pool mean 0 %x16 uniform 4 layers ["p"] : {x16} -> {x16}\n'
    return SOURCE + text + "  return\n}\n"


@pytest.fixture(scope="module")
def disassembly(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    (folder / "in.mlir").write_text(module())
    result = {}
    for target in TARGETS:
        run = subprocess.run([TOOL, folder / "in.mlir", f"--target={target}", "--emit=so", "-o", folder / "k.so"],
                             capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        text = subprocess.run([f"{LLVM}/llvm-objdump", "-d", "--no-show-raw-insn", "--no-leading-addr", folder / "k.so"],
                              capture_output=True, text=True, check=True).stdout
        lines = (re.sub(r"\s*(<[^>]*>|#.*)", "", line) for line in text.splitlines() if line[:1].isspace())
        result[target] = "\n".join(lines) + "\n"
    return result


def refused(text, target):
    """What the assembler says against it, instruction by instruction."""
    run = subprocess.run(["as", f"-march={ROWS[target]}", "-o", "/dev/null"], input=text, capture_output=True, text=True)
    return [line for line in run.stderr.splitlines() if "Error:" in line]


@pytest.mark.parametrize("target", TARGETS)
def test_no_instruction_above_the_row(disassembly, target):
    assert disassembly[target].count("\n") > 1000
    assert refused(disassembly[target], target) == []


def test_the_check_itself(disassembly):
    """What a higher row uses is refused at the lower one."""
    assert any("zmm" in line for line in refused(disassembly["x86-64-v4"], "x86-64-v3"))
    assert any("vdpbf16ps" in line for line in refused(disassembly["x86-64-v4-bf16"], "x86-64-v4"))
    assert "vdpbf16ps" in disassembly["x86-64-v4-bf16"] and "vdpbf16ps" not in disassembly["x86-64-v4-vnni"]
    assert any("vpdpbusd" in line for line in refused(disassembly["x86-64-v4-vnni"], "x86-64-v4"))
    assert all(("vpdpbusd" in disassembly[target]) == ("vnni" in ROWS[target]) for target in TARGETS)
    assert "zmm" not in disassembly["x86-64-v3"] and "vfmadd" in disassembly["x86-64-v3"]
