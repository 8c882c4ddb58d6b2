"""CUDA sources of the emulator's tests, compiled once a session by nvcc: that of the pinned wheels of requirements.txt, or of
VITRIFY_NVCC, CUDA_HOME, /usr/local/cuda or PATH."""
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "Emulator" / "external"
CACHE = Path(tempfile.gettempdir()) / f"vitrify-cuda-tests-{os.getuid()}"


@functools.cache
def find_nvcc():
    """Path of nvcc, or None."""
    places = [Path(os.environ["VITRIFY_NVCC"])] if "VITRIFY_NVCC" in os.environ else []
    try:
        import nvidia  # PyPI nvidia-cuda-nvcc, with headers from nvidia-cuda-runtime, -crt and -cccl

        places += [Path(path) / part / "bin" / "nvcc" for path in nvidia.__path__ for part in ("cu13", "cuda_nvcc")]
    except ImportError:
        pass
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    places += [Path(home) / "bin" / "nvcc" for home in homes if home]
    found = next((str(place) for place in places if os.access(place, os.X_OK)), None)
    return found or shutil.which("nvcc")


def need_nvcc():
    """Skips the test where there is no nvcc."""
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc: pip install -r requirements.txt, or set VITRIFY_NVCC or CUDA_HOME")
    return nvcc


def nvcc(source, out, *flags):
    """Compiles test/Emulator/external/`source`; the result is kept until the source or the flags change."""
    compiler = need_nvcc()
    path = FOLDER / source
    key = hashlib.sha256(path.read_bytes() + repr((compiler, flags)).encode()).hexdigest()[:16]
    CACHE.mkdir(mode=0o700, exist_ok=True)
    target = CACHE / f"{path.stem}-{key}-{out}"
    if not target.exists():
        temporary = target.with_suffix(f".{os.getpid()}{target.suffix}")
        done = subprocess.run([compiler, "-std=c++17", *flags, str(path), "-o", str(temporary)], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, done.stderr
        temporary.rename(target)
    return target


@functools.cache
def ptx(source):
    """PTX text of a source for sm_89, with lines of the source."""
    return nvcc(source, "out.ptx", "-ptx", "-arch=sm_89", "-lineinfo").read_text()
