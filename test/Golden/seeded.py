"""Numbers and checkpoints made from a seed with numpy alone, the same on every machine: inputs of tests need not be committed.

RandomState's streams are frozen by numpy's compatibility policy (NEP 19).
"""
import hashlib
import json
from pathlib import Path

import numpy as np


def normal(seed, shape, scale=1.0):
    """float32 normal numbers with standard deviation `scale`."""
    return (np.random.RandomState(seed).standard_normal(shape) * scale).astype(np.float32)
