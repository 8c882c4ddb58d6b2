"""Makes the checkpoint that a test's comments describe, and the test's module with that file for its source.

usage: with_source.py TEST OUTPUT.mlir. Lines `// TENSOR name = expression` give numpy arrays (np, and the tensors before), in order; the file is written
beside the output. Where the module says `path "CKPT" size 9 header_sha256 "0..."` the output says the file's.
"""
import hashlib
import re
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

test, output = map(Path, sys.argv[1:])
text = test.read_text()
tensors = {}
for name, expression in re.findall(r"^// TENSOR (\w+) = (.*)$", text, re.M):
    value = eval(expression, {"np": np, **tensors})  # the test's own text
    tensors[name] = np.ascontiguousarray(value)
file = output.with_suffix(".safetensors")
save_file(tensors, file)
data = file.read_bytes()
header = data[:8 + int.from_bytes(data[:8], "little")]
source = f'path "{file.name}" size {len(data)} header_sha256 "{hashlib.sha256(header).hexdigest()}"'
output.write_text(re.sub(r'path "CKPT" size 9 header_sha256 "0+"', source, text))
