#!/usr/bin/env python3
# make_mma_vectors.py - expected results of FP8 mma.sync on sm_89
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Writes MmaVectors.inc: operands and results of m16n8k32, by PyPI mmaemu 0.1.0 (preset "ada": validated on an
# RTX 4060). Needs torch and mmaemu; run by hand when the cases change.
import sys

import numpy as np
import torch
from mmaemu.model.chain import dot

FORMATS = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


def codes(rng, kind, shape, fmt):
    finite = [c for c in range(256) if (c & 0x7F) < (0x7F if fmt == "e4m3" else 0x7C)]
    if kind == "any":
        return rng.choice(finite, shape).astype(np.uint8)
    if kind == "small":  # subnormals and zeros
        return (rng.integers(0, 8 if fmt == "e4m3" else 4, shape) | (rng.integers(0, 2, shape) << 7)).astype(np.uint8)
    bias = 7 if fmt == "e4m3" else 15
    man = 3 if fmt == "e4m3" else 2
    e = rng.integers(bias - 3, bias + 3, shape)
    return ((rng.integers(0, 2, shape) << 7) | (e << man) | rng.integers(0, 1 << man, shape)).astype(np.uint8)


def main(path):
    rng = np.random.default_rng(20261124)
    out = ["// Made by make_mma_vectors.py with PyPI mmaemu 0.1.0, preset ada. Do not edit.\n"]
    cases = 0
    for fa in FORMATS:
        for fb in FORMATS:
            for kind in ("near", "any", "small"):
                a, b = codes(rng, kind, (16, 32), fa), codes(rng, kind, (32, 8), fb)
                c = np.zeros((16, 8), np.float32)
                if kind == "near":
                    c = (rng.standard_normal((16, 8)) * 4).astype(np.float32)
                    c = (c.view(np.uint32) & np.uint32(0xFFFFFC00)).view(np.float32)
                if kind == "any":
                    c = rng.standard_normal((16, 8)).astype(np.float32) * np.exp2(rng.integers(-40, 30, (16, 8))).astype(np.float32)
                at = torch.from_numpy(a).view(FORMATS[fa])[:, None, :].expand(16, 8, 32).contiguous()
                bt = torch.from_numpy(np.ascontiguousarray(b.T)).view(FORMATS[fb])[None].expand(16, 8, 32).contiguous()
                d = dot(at, bt, torch.from_numpy(c), preset="ada").numpy()
                row = lambda x: ",".join(str(int(v)) for v in np.asarray(x).reshape(-1))
                out.append(f'{{"{fa}", "{fb}", {{{row(a)}}}, {{{row(b)}}}, {{{row(c.view(np.uint32))}}}, {{{row(d.view(np.uint32))}}}}},\n')
                cases += 1
    with open(path, "w") as f:
        f.writelines(out)
    print(cases, "cases")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "MmaVectors.inc")
