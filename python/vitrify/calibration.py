"""Ranges of every named value over some images: ranges.json."""
import json

import numpy as np

from vitrify.errors import VitrifyError
from vitrify.evaluate import E4M3_MAX
from vitrify.files import replacing
from vitrify.taps import Taps

METHODS = ("amax", "percentile", "mse")
PERCENTILE = 99.99
LARGE = 1024        # more neurons' products are summed in float32: half the memory, and still far better than what is asked of them
NEURONS = ("act", "gated", "glu")  # last part of the names that importers give to what goes into a second linear
SAMPLES = 1 << 17   # magnitudes kept of a value for the methods that look at their distribution


class Observer:
    """Largest magnitude of a value, and an even sample of its magnitudes."""

    def __init__(self):
        self.amax, self.samples = 0.0, []

    def see(self, array, share, name):
        if not np.isfinite(array).all():
            raise VitrifyError(f"value {name} is NaN or infinite on these images")
        magnitudes = np.abs(array.ravel())
        self.amax = max(self.amax, float(magnitudes.max(initial=0)))
        self.samples.append(magnitudes[::max(1, magnitudes.size // share)])

    def range(self, method):
        """What the value is scaled by; at most amax. 1 for a value that was always 0: nothing is known of it."""
        if self.amax == 0:
            return 1.0
        if method == "amax":
            return self.amax
        samples = np.concatenate(self.samples)
        if method == "percentile":
            return min(self.amax, max(float(np.percentile(samples, PERCENTILE)), self.amax / E4M3_MAX))
        return self.amax * float(min(np.linspace(0.3, 1.0, 36)[::-1], key=lambda part: squared_error(samples, self.amax * part)))


def squared_error(values, limit):
    """Of E4M3 with the scale limit / 448, saturating."""
    import ml_dtypes

    scale = np.float32(limit / E4M3_MAX)
    codes = np.minimum(values / scale, np.float32(E4M3_MAX)).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    return float(np.square(codes * scale - values, dtype=np.float64).sum())


class Neurons:
    """First and second moments and the largest magnitude of each column of a value [rows, neurons]."""

    def __init__(self, count):
        self.rows, self.sum, self.amax = 0, np.zeros(count), np.zeros(count, np.float32)
        self.products = np.zeros((count, count), np.float32 if count > LARGE else np.float64)

    def see(self, array):
        self.rows += len(array)
        self.sum += array.sum(0, dtype=np.float64)
        self.amax = np.maximum(self.amax, np.abs(array).max(0))
        values = array.astype(self.products.dtype)
        self.products += values.T @ values

    def moments(self):
        mean = self.sum / self.rows
        return {"mean": mean.astype(np.float32), "amax": self.amax, "covariance": (self.products / self.rows - np.outer(mean, mean)).astype(np.float32)}


def observe(module, x, neurons=None):
    """Name -> Observer of every named value over the images x, from compiled code. Fills `neurons`, if given, with the moments of what goes into the second linear
    of an MLP, by name."""
    observers = {}

    def visit(layers, array, share):
        name = layers[-1]
        observers.setdefault(name, Observer()).see(array, max(1, int(SAMPLES * share)), name)
        if neurons is not None and array.ndim == 2 and name.rsplit(".", 1)[-1] in NEURONS:
            neurons.setdefault(name, Neurons(array.shape[1])).see(array)

    with Taps(module) as taps:
        taps.visit(x, visit, "images of calibration")
    return observers


def write_activity(path, neurons):
    """A safetensors file of NAME.mean, NAME.amax and NAME.covariance, which vit-prune-gates reads."""
    if not neurons:
        raise VitrifyError("the model has no MLP whose neurons could be observed")
    from safetensors.numpy import save

    with replacing(path, "wb") as stream:
        stream.write(save({f"{name}.{what}": np.ascontiguousarray(value) for name, seen in neurons.items() for what, value in seen.moments().items()}))


def write_ranges(path, observers, images, method):
    values = {name: {"amax": o.amax or 1.0, "range": o.range(method)} for name, o in sorted(observers.items())}
    with replacing(path) as stream:
        json.dump({"format": 1, "images": images, "method": method, "values": values}, stream, indent=1)
        stream.write("\n")
