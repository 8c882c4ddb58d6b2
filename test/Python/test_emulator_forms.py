"""Every form of the arithmetic instructions, on vectors of edges and random bits, against the oracles of ptx_forms.py; and
that no form which the decoder accepts lacks such a test."""
import ptx_forms
import ptx_harness
import pytest

from vitrify import emulator

FORMS = list(ptx_forms.elementwise_forms())
BATCH = 400


def module(first, forms):
    return ptx_harness.HEAD + "".join(ptx_harness.form_kernel(f"k{first + i}", f) for i, f in enumerate(forms))


@pytest.mark.parametrize("first", range(0, len(FORMS), BATCH))
def test_forms_give_the_isa_results(first):
    forms = FORMS[first:first + BATCH]
    wrong = []
    with emulator.Session(module(first, forms), chip=ptx_harness.CHIP) as session:
        for i, form in enumerate(forms):
            inputs, outputs = ptx_harness.run_form(session, f"k{first + i}", form, first + i)
            checked = 0
            for args, got in zip(inputs, outputs):
                want = form.oracle(*args)
                if want is None:
                    continue
                checked += 1
                want = want if isinstance(want, tuple) else (want,)
                got, want = ((ptx_harness.comparable(form, r[0]),) + r[1:] for r in (got, want))
                if got != want:
                    wrong.append(f"{form.operands or form.text} of {[hex(x) for x in args]}: got {[hex(x) for x in got]}, "
                                 f"expected {[hex(x) for x in want]}")
                    break
            assert checked > ptx_harness.THREADS // 2, f"{form.text}: only {checked} vectors have a defined result"
    assert not wrong, f"{len(wrong)} forms:\n" + "\n".join(wrong[:40])
