# How lit finds and runs the tests: .mlir and .test files, the tools of build/bin and LLVM's FileCheck on PATH.
import os
import shutil

import lit.formats

config.name = "vitrify"
config.test_format = lit.formats.ShTest(execute_external=True)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "Golden", "Python", "Fuzz", "lit.cfg.py"]
config.test_source_root = os.path.join(config.vitrify_source, "test")
config.test_exec_root = os.path.join(config.vitrify_build, "test")

venv = os.path.join(config.vitrify_build, "venv", "bin")
path = [os.path.join(config.vitrify_build, "bin"), venv, config.llvm_tools, config.environment.get("PATH", os.environ["PATH"])]
config.environment["PATH"] = os.pathsep.join(path)
# A variable without $ is local to its CHECK-LABEL block, so that no match leaks from one function to the next.
config.environment["FILECHECK_OPTS"] = "--enable-var-scope"
for name in ("HOME", "LD_LIBRARY_PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS"):
    if name in os.environ:
        config.environment[name] = os.environ[name]

python = os.path.join(venv, "python")
config.substitutions += [
    ("%python", python if os.path.exists(python) else "python3"),
    ("%fixtures", os.path.join(config.test_source_root, "Golden")),
    ("%mnist", os.path.join(config.vitrify_source, "examples", "mnist")),
    ("%vitrify_root", config.vitrify_source),
    ("%vitrify_build", config.vitrify_build),
]

# REQUIRES: what the processor can do (flags as in /proc/cpuinfo, prefixed cpu-), and which outer tools are there.
with open("/proc/cpuinfo", encoding="utf-8") as info:
    flags = next((line.split(":", 1)[1].split() for line in info if line.startswith("flags")), [])
config.available_features.update("cpu-" + flag for flag in flags)
for tool in ("ptxas", "cuobjdump", "nvdisasm", "ld.lld"):
    if shutil.which(tool, path=config.environment["PATH"]):
        config.available_features.add(tool)


def find_gpu():
    """Name of a GPU that runs sm_89's code, by the CUDA driver; or why there is none."""
    import ctypes

    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None, "there is no CUDA driver (libcuda.so.1)"
    count, major, minor, name = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None, "the CUDA driver finds no GPU"
    driver.cuDeviceGetName(name, 256, 0)
    driver.cuDeviceGetAttribute(ctypes.byref(major), 75, 0)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
    driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, 0)
    if (major.value, minor.value) < (8, 9):
        return None, f"{name.value.decode()} has compute capability {major.value}.{minor.value}, 8.9 is needed"
    return name.value.decode(), None


gpu, why = find_gpu()
if gpu:
    config.available_features.add("cuda")
else:
    lit_config.note(f"tests that need a GPU (REQUIRES: cuda) are skipped: {why}")
