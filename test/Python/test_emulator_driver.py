"""The emulated libcuda.so.1 under a program built with NVIDIA's header, nvcc's containers, and the tool vitrify-emulate."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import BIN, ROOT
from cuda_sources import FOLDER, need_nvcc, nvcc

from vitrify import emulator

TOOL = BIN / "vitrify-emulate"
LIBRARY = ROOT / "build" / "lib" / "emulator"
PTX = """
.version 7.8
.target sm_80
.address_size 64
.visible .entry axpy(.param .u32 n, .param .f32 a, .param .u64 x, .param .u64 y)
{
  .reg .pred %p;
  .reg .b32 %r<5>;
  .reg .f32 %f<5>;
  .reg .b64 %rd<6>;
  ld.param.u32 %r1, [n];
  ld.param.f32 %f1, [a];
  ld.param.u64 %rd1, [x];
  ld.param.u64 %rd2, [y];
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %tid.x;
  mad.lo.u32 %r2, %r2, %r3, %r4;
  setp.ge.u32 %p, %r2, %r1;
  @%p ret;
  mul.wide.u32 %rd3, %r2, 4;
  add.u64 %rd4, %rd1, %rd3;
  add.u64 %rd5, %rd2, %rd3;
  ld.global.f32 %f2, [%rd4];
  ld.global.f32 %f3, [%rd5];
  fma.rn.f32 %f4, %f1, %f2, %f3;
  st.global.f32 [%rd5], %f4;
  ret;
}
"""


def tool(*arguments, code=0):
    done = subprocess.run([str(TOOL), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    return done


# --- vitrify-emulate on a kernel


@pytest.fixture
def axpy(tmp_path):
    """A folder with axpy.ptx, x.npy and y.npy."""
    (tmp_path / "axpy.ptx").write_text(PTX)
    np.save(tmp_path / "x.npy", np.arange(100, dtype=np.float32))
    np.save(tmp_path / "y.npy", np.ones(100, np.float32))
    return tmp_path


def arguments(folder, n, *more):
    return [folder / "axpy.ptx", "--kernel", "axpy", "--grid", "2", "--block", "64", "--arg", f"i32:{n}", "--arg", "f32:0.5", "--arg",
            folder / "x.npy", "--arg", f"inout:{folder / 'y.npy'}", "-o", folder / "out.npy", *more]


def test_tool_runs_a_kernel(axpy):
    done = tool(*arguments(axpy, 100, "--counters", "--json", axpy / "found.json", "--error-exitcode", "9"))
    assert (np.load(axpy / "out.npy") == np.arange(100) * 0.5 + 1).all()
    assert "ERROR SUMMARY: 0 errors" in done.stderr and "ld.global" in done.stdout
    record = json.loads((axpy / "found.json").read_text())[0]
    assert record["kernel"] == "axpy" and record["faults"] == 0 and record["chip"] == "RTX 4090"
    assert record["counters"]["memory"]["global_requests"] > 0


def test_tool_reports_a_fault(axpy):
    done = tool(*arguments(axpy, 128, "--json", "-", "--error-exitcode", "9"), code=9)
    record = json.loads(done.stdout)[0]
    assert record["error"] == 700 and record["reports"][0]["size"] == 4
    assert "Invalid __global__ read of size 4 bytes" in done.stderr
    assert not (axpy / "out.npy").exists()
    tool(*arguments(axpy, 128), code=1)
    quiet = tool(*arguments(axpy, 128, "--quiet"), code=1)
    assert "=========" not in quiet.stderr


def test_tool_reports_uninitialised_output(axpy):
    def base(argument):
        return [axpy / "axpy.ptx", "--grid", "1", "--block", "32", "--arg", "u32:32", "--arg", "f32:1", "--arg", axpy / "x.npy", "--arg",
                argument, "--error-exitcode", "7"]

    assert "ninitiali" in tool(*base("out:f32:32"), code=7).stderr
    tool(*base("out:f32:32"), "--checks=-init")
    tool(*base(f"zero:f32:4x8={axpy / 'z.npy'}"))
    assert (np.load(axpy / "z.npy") == np.arange(32).reshape(4, 8)).all()


@pytest.mark.parametrize(
    "extra,expected",
    [
        (["--grid", "0"], "--grid: expected one to three positive numbers"),
        (["--block", "1,2,3,4"], "--block: expected one to three positive numbers"),
        (["--arg", "i32:x"], "a whole number"),
        (["--arg", "i8:300"], "fits the type"),
        (["--arg", "q7:3"], "found 'q7:3'"),
        (["--arg", "out:f32:3x"], "a shape of positive numbers"),
        (["--arg", "absent.npy"], "absent.npy"),
        (["--checks", "rases"], "found 'rases'"),
        (["--chip", "sm_12345"], "sm_12345"),
        (["--approx", "wild"], "exact or perturb"),
        (["--error-exitcode", "256"], "a number from 0 to 255"),
        (["--colour", "blue"], "unknown option '--colour'"),
        (["--arg", "i32:1"], "the kernel has 4 parameters"),
        (["-o", "more.npy"], "no output left"),
        (["--kernel", "gemm"], "no kernel 'gemm'"),
        (["--smem", "9999999"], "--smem"),
    ],
)
def test_tool_refuses(axpy, extra, expected):
    assert expected in tool(*arguments(axpy, 100, *extra), code=1).stderr


def test_tool_refuses_wrong_widths(axpy):
    done = tool(axpy / "axpy.ptx", "--grid", 1, "--block", 1, "--arg", "i64:1", code=1)
    assert "parameter 0 has 4 bytes, found 8" in done.stderr
    assert "more parameters" in tool(axpy / "axpy.ptx", "--grid", 1, "--block", 1, "--arg", "i32:1", code=1).stderr
    assert "--grid and --block" in tool(axpy / "axpy.ptx", code=1).stderr
    assert "expected a PTX or fatbin file" in tool(code=1).stderr
    assert "examples:" in tool("--help").stdout


# --- containers of nvcc


@pytest.mark.parametrize("mode", ["default", "none", "speed", "size"])
def test_fatbins_of_nvcc(mode):
    need_nvcc()
    path = nvcc("scale.cu", f"{mode}.fatbin", "-fatbin", f"--compress-mode={mode}", "-gencode", "arch=compute_80,code=compute_80",
                "-gencode", "arch=compute_89,code=[compute_89,sm_89]", "-gencode", "arch=compute_90a,code=compute_90a")
    for chip in ("sm_89", "sm_90a"):
        x = np.arange(10, dtype=np.float32)
        emulator.run(path, "scale", 1, 32, [x, 3.0, 10], chip=chip)
        assert (x == np.arange(10) * 3).all()


def test_sass_only_is_refused():
    need_nvcc()
    for out, flags in (("sass.fatbin", ["-fatbin"]), ("sass.cubin", ["-cubin"])):
        path = nvcc("scale.cu", out, *flags, "-arch=sm_89") if "-cubin" in flags else nvcc("scale.cu", out, *flags, "-gencode",
                                                                                           "arch=compute_89,code=sm_89")
        with pytest.raises(emulator.EmulatorError, match="holds SASS only; build with -gencode arch=compute_89,code=compute_89"):
            emulator.run(path, "scale", 1, 32, [np.zeros(1, np.float32), 1.0, 1])


def test_newer_ptx_than_the_chip_is_refused():
    path = nvcc("scale.cu", "newer.fatbin", "-fatbin", "-gencode", "arch=compute_90,code=compute_90")
    with pytest.raises(emulator.EmulatorError, match="NO_BINARY_FOR_GPU.*compute_90"):
        emulator.run(path, "scale", 1, 32, [np.zeros(1, np.float32), 1.0, 1], chip="sm_89")


# --- programs


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A program linked with -lcuda."""
    compiler = need_nvcc()
    include = Path(compiler).resolve().parents[1] / "include"
    out = tmp_path_factory.mktemp("program") / "driver_program"
    done = subprocess.run(["clang++-22", "-O1", f"-I{include}", str(FOLDER / "driver_program.cpp"), "-o", str(out), f"-L{LIBRARY}",
                           "-lcuda"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def scale_ptx():
    return nvcc("scale.cu", "scale.ptx", "-ptx", "-arch=sm_80", "-lineinfo")


@pytest.mark.parametrize("chip,name", [("sm_89", "RTX 4090"), ("H100,sm_89", "H100")])
def test_program_runs(program, chip, name):
    done = tool("--chip", chip, "--", program, scale_ptx(), 100)
    assert f"{name}" in done.stdout and "(emulated): 4 396, missing 500" in done.stdout
    assert "the driver has no function 'cuTexObjectCreate'" in done.stderr
    assert "2 launches" in done.stderr and "ERROR SUMMARY: 0 errors" in done.stderr


def test_program_with_a_fault(program, tmp_path):
    report = tmp_path / "found.json"
    done = tool("--chip", "sm_89", "--error-exitcode", 42, "--json", report, "--", program, scale_ptx(), 128, code=42)
    assert "cuStreamSynchronize(stream): CUDA_ERROR_ILLEGAL_ADDRESS" in done.stdout
    records = json.loads(report.read_text())
    assert len(records) == 1 and records[0]["faults"] >= 1
    assert any("scale.cu" in json.dumps(r) for r in records[0]["reports"])
    # Its own status without --error-exitcode, and 127 for what is no program.
    tool("--chip", "sm_89", "--", program, scale_ptx(), 128, code=3)
    tool("--", "/nowhere/program", code=127)


def test_race_is_found_with_its_source_line():
    x = np.arange(64, dtype=np.int32)
    result = emulator.run(scale_ptx(), "neighbours", 1, 64, [x, emulator.Empty((64,), np.int32)], on_fault="continue", check=False)
    assert result.faults > 0
    lines = (FOLDER / "scale.cu").read_text().splitlines()
    wrong = next(i + 1 for i, line in enumerate(lines) if "(threadIdx.x + 33)" in line)
    assert any(f'{wrong}' in json.dumps(report) and "scale.cu" in json.dumps(report) for report in result.reports)


# --- the Python module's own refusals


def test_python_refuses():
    x = np.zeros(8, np.float32)
    good = [np.int32(8), np.float32(1), x, x.copy()]

    def refuse(match, *arguments, **options):
        with pytest.raises(emulator.EmulatorError, match=match):
            emulator.run(PTX, "axpy", *arguments, **options)

    refuse("grid: expected one to three", 0, 32, good)
    refuse("the kernel has 4 parameters", 1, 32, [*good, 1])
    refuse("more parameters than the 3", 1, 32, good[:3])
    refuse("argument 0: the parameter has 4 bytes, found 8", 1, 32, [np.int64(8), *good[1:]])
    refuse("argument 0: 4294967296 does not fit", 1, 32, [2**32, *good[1:]])
    refuse("argument 2: expected an array in C order", 1, 32, [*good[:2], np.zeros((4, 4), np.float32).T[1:], x])
    refuse("argument 2: the array is empty", 1, 32, [*good[:2], np.zeros(0, np.float32), x])
    refuse("argument 2: expected an array, a number", 1, 32, [*good[:2], "x", x])
    refuse("unknown option 'colour'", 1, 32, good, colour="blue")
    refuse("unknown chip 'sm_1'.*RTX 4090", 1, 32, good, chip="sm_1")
    refuse("expected memory, init", 1, 32, good, checks="everything")
    refuse("kernel axpy", 1, 32, [np.int32(32), *good[1:]])
    with pytest.raises(emulator.EmulatorError) as caught:
        emulator.run(PTX, "axpy", 1, 32, [np.int32(32), *good[1:]])
    assert caught.value.result.faults > 0 and caught.value.result.error == 700


def test_a_block_longer_than_any_slice_ends():
    body = "add.s32 %r1, %r1, 1;\n" * 3000
    text = (".version 8.4\n.target sm_89\n.address_size 64\n.visible .entry long(.param .u64 p) {\n.reg .b32 %r<3>;\n.reg .b64 %rd<2>;\n"
            f"ld.param.u64 %rd1, [p];\nmov.u32 %r1, 0;\n{body}st.global.u32 [%rd1], %r1;\nret;\n}}\n")
    for seed in range(3):
        out = np.zeros(1, np.int32)
        emulator.run(text, "long", 1, 1, [out], seed=seed, max_instructions=10000)
        assert out[0] == 3000


def test_views_share_an_array():
    x, y = np.arange(16, dtype=np.float32), np.zeros(8, np.float32)
    result = emulator.run(PTX, "axpy", 1, 32, [8, 1.0, emulator.View(x, 32), y])
    assert (y == np.arange(8, 16)).all() and result.arrays[2] is None
    with pytest.raises(emulator.EmulatorError, match="argument 2: a view at byte 64 of 64"):
        emulator.run(PTX, "axpy", 1, 32, [8, 1.0, emulator.View(x, 64), y])
    with pytest.raises(emulator.EmulatorError, match="kernel axpy"):  # the view's end is the array's
        emulator.run(PTX, "axpy", 1, 32, [8, 1.0, emulator.View(x, 36), y])


def test_python_is_clean_after_a_fault():
    x, y = np.arange(8, dtype=np.float32), np.ones(8, np.float32)
    result = emulator.run(PTX, "axpy", 1, 32, [8, 2.0, x, y], counters=True)
    assert (y == np.arange(8) * 2 + 1).all() and result.arrays[3] is y and result.arrays[0] is None
    assert result.counters["warp_instructions"] > 10 and "RTX 4090" in emulator.chips()




#: A program of one thread on the driver, without numpy: its kernel polls a flag that the host sets, or nobody.
POLLING = r'''
import ctypes, sys, time
cuda = ctypes.CDLL(sys.argv[1])
def call(name, *args):
    result = getattr(cuda, name)(*args)
    if result:
        print(name, result)
        sys.exit(3)
context, module, kernel, flag, stream = (ctypes.c_void_p() for _ in range(5))
ptx = b""".version 8.4
.target sm_89
.address_size 64
.visible .entry poll(.param .u64 p) { .reg .b32 %r; .reg .b64 %l; .reg .pred %p; ld.param.u64 %l, [p];
again: ld.volatile.global.u32 %r, [%l]; setp.eq.u32 %p, %r, 0;
@%p bra again;
ret; }
"""
call("cuInit", 0)
call("cuCtxCreate_v2", ctypes.byref(context), 0, 0)
call("cuModuleLoadData", ctypes.byref(module), ptx)
call("cuModuleGetFunction", ctypes.byref(kernel), module, b"poll")
call("cuMemAlloc_v2", ctypes.byref(flag), ctypes.c_size_t(4))
call("cuMemsetD32_v2", flag, 0, ctypes.c_size_t(1))
call("cuStreamCreate", ctypes.byref(stream), 1)
params = (ctypes.c_void_p * 1)(ctypes.addressof(flag))
call("cuLaunchKernel", kernel, 1, 1, 1, 1, 1, 1, 0, None, params, None)
if sys.argv[2] == "sets":
    time.sleep(0.5)
    call("cuMemsetD32Async", flag, 1, ctypes.c_size_t(1), stream)
call("cuCtxSynchronize")
print("done")
'''


@pytest.mark.parametrize("host, polling, output", [("sets", "auto", "done"), ("waits", "auto", "cuCtxSynchronize 719"),
                                                   ("sets", "wait", "done"), ("waits", "report", "cuCtxSynchronize 719")])
def test_polling_for_ever_is_told_from_waiting_for_the_host(host, polling, output, tmp_path):
    script = tmp_path / "poll.py"
    script.write_text(POLLING)
    environment = {"PATH": "/usr/bin:/bin", "VITRIFY_EMULATOR_DEVICES": "sm_89", "VITRIFY_EMULATOR_POLLING": polling}
    run = subprocess.run([sys.executable, script, LIBRARY / "libcuda.so.1", host], env=environment, capture_output=True, text=True, timeout=300)
    assert run.stdout.strip() == output, run.stdout + run.stderr
    assert ("repeat ld.volatile.global.u32 of address 0x" in run.stderr) == (host == "waits")
