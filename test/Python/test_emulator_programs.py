"""The forms that touch memory, other lanes or control (ptx_programs.py, ptx_control.py): every output byte as the ISA says, and
nothing for the checks to say."""
import numpy as np
import ptx_control
import ptx_harness
import ptx_programs
import pytest
from ptx_programs import RECORD

from vitrify import emulator

FAMILIES = {"loads": ptx_programs.load_programs, "stores": ptx_programs.store_programs, "modifiers": ptx_programs.modified_programs,
            "atomics": ptx_programs.atomic_programs, "lanes": ptx_control.lane_programs, "barriers": ptx_control.barrier_programs,
            "copies": ptx_control.copy_programs, "matrices": ptx_control.matrix_move_programs, "control": ptx_control.control_programs,
            "moves": ptx_control.move_programs}


def module(programs):
    return ptx_harness.HEAD + "".join(p.text(f"k{i}").replace("table", f"table{i}") for i, p in enumerate(programs))


@pytest.mark.parametrize("family", FAMILIES)
def test_programs(family):
    programs = list(FAMILIES[family]())
    assert len({p.name for p in programs}) == len(programs), "two programs of one name"
    wrong = []
    with emulator.Session(module(programs), chip=ptx_harness.CHIP) as session:
        for i, program in enumerate(programs):
            data = ptx_programs.records(np.random.default_rng(i), program.threads * program.grid)
            out = np.full_like(data, program.fill)
            extra = [bytes(data[0])] if program.params else []
            result = session.run(f"k{i}", program.grid, program.threads, [data.copy(), out, *extra])
            if result.faults:
                wrong.append(f"{program.name}: {result.reports[0]}")
                continue
            source = np.broadcast_to(data[0], data.shape) if program.params else data
            for thread, want in enumerate(program.expected(source)):
                bad = [at for at in range(RECORD) if want[at] is not None and want[at] != out[thread][at]]
                if bad:
                    wrong.append(f"{program.name}: thread {thread} byte {bad[0]}: got {bytes(out[thread]).hex()}, "
                                 f"expected {''.join('..' if b is None else f'{b:02x}' for b in want)}")
                    break
    assert not wrong, f"{len(wrong)} of {len(programs)} programs:\n" + "\n".join(wrong[:40])
