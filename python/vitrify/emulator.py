"""Runs PTX on an emulated GPU with numpy arrays: no GPU, no CUDA toolkit, no compile step.

    import numpy as np
    from vitrify import emulator

    x = np.arange(1000, dtype=np.float32)
    y = np.ones_like(x)
    result = emulator.run(ptx, "axpy", grid=4, block=256, arrays=[np.int32(1000), np.float32(2), x, y], counters=True)
    print(y[:4], result.reports, result.counters["warp_instructions"])

Arrays are copied to the device before the launch and back into themselves after it. Everything the checks find is in
`result.reports`; a fault that ends the kernel raises EmulatorError, with the reports so far.
"""
import ctypes
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vitrify.errors import VitrifyError

_PLACES = [folder / "lib" / "emulator" / "libcuda.so.1" for folder in (Path(__file__).resolve().parents[2] / "build", Path(__file__).resolve().parent)]
_MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_SHARED_WITHOUT_ASKING = 48 << 10
_ALL_DEVICES = "RTX 4090,L4,H100,B200,RTX 5090"
_DEFAULTS = {"checks": "all", "kernels": "", "limit": 100, "seed": 0, "approx": "exact", "arithmetic": "chip", "threads": 0,
             "counters": "off", "quiet": "on", "max_instructions": 0, "on_fault": "stop", "polling": "report"}


class EmulatorError(VitrifyError):
    """A call of the emulated driver failed. `result` holds what was found, when a kernel ran."""

    def __init__(self, message, result=None):
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class Empty:
    """An array without contents: reading an element that the kernel did not write is reported."""

    shape: tuple
    dtype: object


@dataclass(frozen=True)
class View:
    """An array whose address is given `offset` bytes further: a kernel that takes a part of it sees this."""

    array: np.ndarray
    offset: int


@dataclass
class Result:
    """What a launch did. `arrays` holds the arrays after it, in the order of the arguments; scalars are None."""

    arrays: list = field(default_factory=list)
    reports: list = field(default_factory=list)
    faults: int = 0
    counters: dict | None = None
    error: int = 0
    message: str = ""


def library():
    """Path of the emulated driver: VITRIFY_EMULATED_CUDA, or that of this checkout's build, or of the installed package."""
    given = os.environ.get("VITRIFY_EMULATED_CUDA")
    return Path(given) if given else next((path for path in _PLACES if path.exists()), _PLACES[0])


class _Driver:
    """The library, loaded once, and one context a chip."""

    def __init__(self):
        path = str(library())
        try:
            self.library = ctypes.CDLL(path)
        except OSError as error:
            raise EmulatorError(f"cannot load {path}: {error}; run make build, or set VITRIFY_EMULATED_CUDA") from None
        self.library.vitrifyEmulatorMessage.restype = ctypes.c_char_p
        self.library.vitrifyEmulatorTakeRecords.restype = ctypes.c_void_p
        self.library.vitrifyEmulatorFree.argtypes = [ctypes.c_void_p]
        self.library.vitrifyEmulatorFree.restype = None
        self.library.vitrifyEmulatorClearMessage.restype = None
        self.contexts = {}
        self.option("devices", os.environ.get("VITRIFY_EMULATOR_DEVICES", _ALL_DEVICES))
        self.option("records", "on")
        self.call("cuInit", 0)
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        self.count = count.value

    def message(self):
        return (self.library.vitrifyEmulatorMessage() or b"").decode(errors="replace")

    def option(self, name, value):
        if self.library.vitrifyEmulatorSetOption(name.encode(), str(value).encode()):
            raise EmulatorError(self.message())

    def call(self, name, *arguments):
        self.library.vitrifyEmulatorClearMessage()
        result = getattr(self.library, name)(*arguments)
        if result:
            text = ctypes.c_char_p()
            self.library.cuGetErrorName(result, ctypes.byref(text))
            message = self.message()
            raise EmulatorError(f"{name}: {(text.value or b'?').decode()}" + (f": {message}" if message else ""))

    def device_of(self, chip):
        """Ordinal of a chip by name or by target."""
        wanted = chip.lower().replace(" ", "")
        known = []
        for ordinal in range(self.count):
            name = ctypes.create_string_buffer(64)
            major, minor = ctypes.c_int(), ctypes.c_int()
            self.call("cuDeviceGetName", name, 64, ordinal)
            self.call("cuDeviceComputeCapability", ctypes.byref(major), ctypes.byref(minor), ordinal)
            title = name.value.decode().removesuffix(" (emulated)")
            target = f"sm_{major.value}{minor.value}"
            if wanted in (title.lower().replace(" ", ""), target, target + "a"):
                return ordinal
            known.append(f"{title} ({target})")
        raise EmulatorError(f"unknown chip {chip!r}, expected one of {', '.join(known)}")

    def records(self):
        pointer = self.library.vitrifyEmulatorTakeRecords()
        try:
            return json.loads(ctypes.string_at(pointer).decode())
        finally:
            self.library.vitrifyEmulatorFree(pointer)


_driver = None


def _get():
    global _driver
    if _driver is None:
        _driver = _Driver()
    return _driver


def chips():
    """Names of the chips that can be emulated."""
    driver = _get()
    names = []
    for ordinal in range(driver.count):
        name = ctypes.create_string_buffer(64)
        driver.call("cuDeviceGetName", name, 64, ordinal)
        names.append(name.value.decode().removesuffix(" (emulated)"))
    return names


def _triple(value, what):
    values = (value,) if isinstance(value, (int, np.integer)) else tuple(value)
    if not 1 <= len(values) <= 3 or any(int(v) < 1 for v in values):
        raise EmulatorError(f"{what}: expected one to three positive numbers, found {value!r}")
    return [int(v) for v in values] + [1] * (3 - len(values))


def _image(ptx):
    if isinstance(ptx, (bytes, bytearray)):
        return bytes(ptx) + b"\0"
    if isinstance(ptx, Path):
        return ptx.read_bytes() + b"\0"
    return str(ptx).encode() + b"\0"


def _scalar(value, size, index):
    """Bytes of a number for a parameter of `size` bytes."""
    if isinstance(value, np.generic):
        data = value.tobytes()
    elif isinstance(value, (bool, int)):
        if size not in (1, 2, 4, 8) or not -(1 << (8 * size - 1)) <= value < 1 << (8 * size):
            raise EmulatorError(f"argument {index}: {value} does not fit a parameter of {size} bytes")
        data = (int(value) % (1 << (8 * size))).to_bytes(size, "little")
    elif isinstance(value, float):
        if size not in (2, 4, 8):
            raise EmulatorError(f"argument {index}: a float for a parameter of {size} bytes")
        data = np.array(value, {2: np.float16, 4: np.float32, 8: np.float64}[size]).tobytes()
    elif isinstance(value, (bytes, bytearray)):
        data = bytes(value)
    else:
        raise EmulatorError(f"argument {index}: expected an array, a number, bytes or Empty, found {type(value).__name__}")
    if len(data) != size:
        raise EmulatorError(f"argument {index}: the parameter has {size} bytes, found {len(data)}")
    return data


class Session:
    """A module on a device, for many launches: `with Session(ptx) as session: session.run("k", 1, 32, [x])`.

    After a fault that ended a kernel every further call fails, as CUDA's do: open a new session.
    """

    def __init__(self, ptx, *, chip="sm_89", counters=False, **options):
        unknown = set(options) - set(_DEFAULTS)
        if unknown:
            raise EmulatorError(f"unknown option {sorted(unknown)[0]!r}, expected one of {', '.join(sorted(_DEFAULTS))}")
        self.driver, self.context, self.module = _get(), ctypes.c_void_p(), ctypes.c_void_p()
        for name, value in (_DEFAULTS | {"counters": "on" if counters else "off"} | options).items():
            self.driver.option(name, value)
        self.driver.call("cuCtxCreate_v2", ctypes.byref(self.context), 0, self.driver.device_of(chip))
        try:
            self.driver.call("cuModuleLoadData", ctypes.byref(self.module), _image(ptx))
        except EmulatorError:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Frees the device's memory; a second time does nothing."""
        if self.context:
            self.driver.library.cuCtxDestroy_v2(self.context)
            self.context = ctypes.c_void_p()

    def run(self, kernel, grid, block, arrays, *, shared=0, cooperative=False, check=True):
        """One launch; see run() for the parameters."""
        grid, block = _triple(grid, "grid"), _triple(block, "block")
        if not self.context:
            raise EmulatorError("the session is closed")
        driver, function = self.driver, ctypes.c_void_p()
        driver.call("cuModuleGetFunction", ctypes.byref(function), self.module, kernel.encode())
        addresses = []
        try:
            values = _place(driver, function, arrays, addresses)
            if shared > _SHARED_WITHOUT_ASKING:
                driver.call("cuFuncSetAttribute", function, _MAX_DYNAMIC_SHARED, shared)
            buffers = [ctypes.create_string_buffer(data, len(data)) for data in values]
            params = (ctypes.c_void_p * (len(buffers) + 1))(*[ctypes.addressof(b) for b in buffers], None)
            driver.records()
            launch = [function, *grid, *block, shared, None, params]
            if cooperative:
                driver.call("cuLaunchCooperativeKernel", *launch)
            else:
                driver.call("cuLaunchKernel", *launch, None)
            result = self._collect(arrays, addresses)
        finally:
            for address in addresses:
                if address is not None:
                    driver.library.cuMemFree_v2(address)
        if result.error and check:
            raise EmulatorError(f"kernel {kernel}: {result.message or result.error}", result)
        return result

    def _collect(self, arrays, addresses):
        """Waits for the launch; its records and the arrays after it."""
        driver = self.driver
        result = Result(error=driver.library.cuCtxSynchronize())
        for record in driver.records():
            result.reports += record["reports"]
            result.faults += record["faults"]
            result.counters = record.get("counters", result.counters)
            result.message = record["message"] or result.message
        for value, address in zip(arrays, addresses):
            if address is None or isinstance(value, View):
                result.arrays.append(None)
                continue
            out = value if isinstance(value, np.ndarray) else np.zeros(value.shape, value.dtype)
            result.arrays.append(out)
            if not result.error and out.flags.writeable:
                driver.call("cuMemcpyDtoH_v2", ctypes.c_void_p(out.ctypes.data), address, ctypes.c_size_t(out.nbytes))
        return result


def run(ptx, kernel, grid, block, arrays, *, shared=0, chip="sm_89", cooperative=False, check=True, counters=False, **options):
    """Runs one kernel and returns a Result.

    ptx: PTX text, a pathlib.Path to PTX or a fatbin, or the bytes of either. grid, block: a number or up to three.
    arrays: the parameters in order: numpy arrays (C order; passed by address, changed in place), numpy or Python numbers
    (a Python number takes the parameter's width), bytes (structs), Empty(shape, dtype), View(array, offset) (only read;
    views of one array share its memory).
    shared: bytes of dynamic shared memory. chip: see chips(). check: raise when the kernel ends in an error.
    options: checks, kernels, limit, seed, approx, arithmetic, threads, max_instructions, on_fault, polling; see
    vitrify-emulate --help.
    """
    with Session(ptx, chip=chip, counters=counters, **options) as session:
        return session.run(kernel, grid, block, arrays, shared=shared, cooperative=cooperative, check=check)


def _place(driver, function, arrays, addresses):
    """The values of all parameters as bytes; fills `addresses` with the arrays' device addresses, None for numbers."""
    values, shared = [], {}
    for index, value in enumerate(arrays):
        skip, viewed = 0, None
        if isinstance(value, View):
            skip, viewed, value = value.offset, id(value.array), value.array
            if not 0 <= skip < max(1, value.nbytes):
                raise EmulatorError(f"argument {index}: a view at byte {skip} of {value.nbytes}")
        offset, size = ctypes.c_size_t(), ctypes.c_size_t()
        if driver.library.cuFuncGetParamInfo(function, ctypes.c_size_t(index), ctypes.byref(offset), ctypes.byref(size)):
            raise EmulatorError(f"argument {index}: the kernel has {index} parameters, found {len(arrays)} arguments")
        if not isinstance(value, (np.ndarray, Empty)):
            addresses.append(None)
            values.append(_scalar(value, size.value, index))
            continue
        if size.value != 8:
            raise EmulatorError(f"argument {index}: an array for a parameter of {size.value} bytes, expected 8")
        if isinstance(value, np.ndarray) and not value.flags.c_contiguous:
            raise EmulatorError(f"argument {index}: expected an array in C order without gaps")
        nbytes = value.nbytes if isinstance(value, np.ndarray) else int(np.prod(value.shape)) * np.dtype(value.dtype).itemsize
        if nbytes == 0:
            raise EmulatorError(f"argument {index}: the array is empty")
        if viewed in shared:
            addresses.append(None)
            values.append((shared[viewed] + skip).to_bytes(8, "little"))
            continue
        address = ctypes.c_uint64()
        driver.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(nbytes))
        if isinstance(value, np.ndarray):
            driver.call("cuMemcpyHtoD_v2", address, ctypes.c_void_p(value.ctypes.data), ctypes.c_size_t(nbytes))
        addresses.append(address)
        if viewed is not None:
            shared[viewed] = address.value
        values.append((address.value + skip).to_bytes(8, "little"))
    extra = ctypes.c_size_t()
    if not driver.library.cuFuncGetParamInfo(function, ctypes.c_size_t(len(arrays)), ctypes.byref(extra), ctypes.byref(extra)):
        raise EmulatorError(f"the kernel has more parameters than the {len(arrays)} arguments")
    return values
