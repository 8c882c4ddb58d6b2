"""How far two computations of the same model are apart, value by value."""
from dataclasses import dataclass

import numpy as np

from vitrify.errors import VitrifyError

# Below these a layer is called bad: about what E4M3 with sound scales loses in one layer of a vision transformer.
MIN_COSINE, MIN_SQNR_DB = 0.99, 15.0


@dataclass(frozen=True)
class Difference:
    """One value's error. sqnr_db is 10 log10(signal power / error power), infinite where there is no error."""

    name: str
    cosine: float
    sqnr_db: float
    max_error: float
    max_value: float

    @property
    def bad(self):
        return not (self.cosine >= MIN_COSINE and self.sqnr_db >= MIN_SQNR_DB)


def difference(name, expected, found):
    """Difference of two arrays of one shape; NaN anywhere in `found` gives NaN, which counts as bad."""
    if expected.shape != found.shape:
        raise VitrifyError(f"layer {name}: expected shape {list(expected.shape)}, found {list(found.shape)}")
    a, b = expected.astype(np.float64).ravel(), found.astype(np.float64).ravel()
    error = b - a
    signal, noise = float(a @ a), float(error @ error)
    norms = np.sqrt(signal * float(b @ b))
    cosine = (float(a @ b) / norms if np.isfinite(norms) else np.nan) if norms != 0 else float(signal == noise == 0)
    sqnr = np.inf if noise == 0 else (10 * np.log10(signal / noise) if signal > 0 and np.isfinite(noise) else (-np.inf if np.isfinite(noise) else np.nan))
    return Difference(name, cosine, float(sqnr), float(np.abs(error).max(initial=0)), float(np.abs(a).max(initial=0)))


def compare(expected, found):
    """Differences of all values that both sides name, in the order of `expected` (dictionaries of name -> array)."""
    shared = [name for name in expected if name in found]
    if not shared:
        raise VitrifyError("the two sides have no layer name in common")
    return [difference(name, expected[name], found[name]) for name in shared]


def table(differences):
    """The differences as text, with a mark at bad ones and a last line that names the first of them."""
    lines = [f"{'layer':24} {'cosine':>9} {'SQNR dB':>8} {'max error':>10} {'max value':>10}"]
    for d in differences:
        lines.append(f"{d.name:24} {d.cosine:9.6f} {d.sqnr_db:8.1f} {d.max_error:10.4g} {d.max_value:10.4g}{'  <-- bad' if d.bad else ''}")
    bad = next((d.name for d in differences if d.bad), None)
    lines.append(f"first bad layer: {bad}" if bad else f"no bad layer: every cosine >= {MIN_COSINE} and SQNR >= {MIN_SQNR_DB} dB")
    return "\n".join(lines)
