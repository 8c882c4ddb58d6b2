#!/usr/bin/env python3
"""Writes seeds for ptx-fuzz, small kernels of the emulator's tests, and a dictionary of PTX's words beside them.

    make_ptx_seeds.py FOLDER    ->  FOLDER/*.ptx, FOLDER.dict
"""
import random
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "test" / "Python"), str(ROOT / "python")]

import ptx_control  # noqa: E402
import ptx_forms  # noqa: E402
import ptx_harness  # noqa: E402
import ptx_programs  # noqa: E402
import random_ptx  # noqa: E402


def kernels():
    rng = random.Random(1)
    programs = []
    for family in (ptx_programs.load_programs, ptx_programs.store_programs, ptx_programs.modified_programs, ptx_programs.atomic_programs,
                   ptx_control.lane_programs, ptx_control.barrier_programs, ptx_control.copy_programs, ptx_control.matrix_move_programs,
                   ptx_control.control_programs, ptx_control.move_programs):
        made = list(family())
        programs += rng.sample(made, min(12, len(made)))
    yield from (ptx_harness.HEAD + p.text("k") for p in programs)
    yield from (ptx_harness.HEAD + ptx_harness.form_kernel("k", f) for f in rng.sample(list(ptx_forms.elementwise_forms()), 60))
    yield from (random_ptx.programs(seed, 1, 8)[0] for seed in range(1, 20))


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    words = set()
    for i, text in enumerate(kernels()):
        (folder / f"{i}.ptx").write_text(text, encoding="utf-8")
        words |= set(re.findall(r"\.[a-zA-Z_][\w:]*|%[a-z_]+|[a-z]\w{2,}|0[fdx][0-9A-Fa-f]+", text))
    folder.with_suffix(".dict").write_text("".join(f'"{w}"\n' for w in sorted(words)), encoding="utf-8")


if __name__ == "__main__":
    main()
