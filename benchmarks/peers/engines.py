"""What can run a model: one function an engine, from a folder to a function of one batch. Libraries are imported where they are used.

Each engine says its precisions and the library it needs; `load(job)` returns (run, size), where run(x) returns float32 logits and size is the
bytes of what it loaded. Whatever can be prepared ahead of time (`prepare`) runs in a process of its own and is not counted as start-up.
"""
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np


@dataclass(frozen=True)
class Job:
    """One engine on one model: folder with the checkpoint, folder for artifacts, batch, precision, threads."""

    engine: str
    precision: str
    model: str
    batch: int
    threads: int
    checkpoint: Path
    work: Path

    def artifact(self, suffix):
        return self.work / f"{self.model}_{self.engine}_{self.precision}{suffix}"


@dataclass(frozen=True)
class Engine:
    library: str
    precisions: tuple[str, ...]
    prepare: Callable
    load: Callable

    def missing(self):
        """The library that is not installed, or ""."""
        return "" if importlib.util.find_spec(self.library) else self.library


def size_of(path):
    path = Path(path)
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) if path.is_dir() else path.stat().st_size if path.exists() else 0


def batches(job):
    """The calibration images in batches of the job's size, the last one filled up with the first images."""
    images = np.load(job.work / "calibration.npy")
    return [np.resize(np.concatenate([images[i:], images]), (job.batch, *images.shape[1:])) for i in range(0, len(images), job.batch)]


# vitrify -------------------------------------------------------------------------------------------------------------
def prepare_vitrify(job):
    import vitrify

    bundle = job.artifact(".vitrify")
    if not bundle.exists():
        precision = job.precision.removesuffix("-low")
        images = [str(job.work / "calibration.npy")] if precision in ("fp8", "int8") else None
        vitrify.compile(job.checkpoint, images, bundle, vitrify.CompileOptions(precision=precision, calibration_images=8))


def load_vitrify(job):
    import vitrify

    bundle = job.artifact(".vitrify")
    program = vitrify.Program(bundle, threads=job.threads, memory="low" if job.precision.endswith("-low") else "fast")
    return program, size_of(bundle)


# ONNX Runtime --------------------------------------------------------------------------------------------------------
def onnx_file(job):
    path = job.work / f"{job.model}_b{job.batch}.onnx"
    if not path.exists():
        import graph

        graph.write(job.checkpoint, path, job.batch)
    return path


def prepare_onnxruntime(job):
    source = onnx_file(job)
    target = job.artifact(f"_b{job.batch}.onnx")
    if target.exists():
        return
    if job.precision == "f32":
        os.link(source, target)
        return
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

    if job.precision == "int8":
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul"])
        return

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.batches = iter(batches(job))

        def get_next(self):
            batch = next(self.batches, None)
            return None if batch is None else {"x": batch}

    quantize_static(source, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, op_types_to_quantize=["MatMul"],
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


def load_onnxruntime(job):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = job.threads, 1, 3
    path = job.artifact(f"_b{job.batch}.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return (lambda x: session.run(None, {"x": x})[0]), size_of(path)


# OpenVINO ------------------------------------------------------------------------------------------------------------
def prepare_openvino(job):
    target = job.artifact(f"_b{job.batch}.xml")
    if target.exists():
        return
    import openvino

    model = openvino.convert_model(onnx_file(job))
    if job.precision == "int8":
        import nncf

        images = batches(job)
        model = nncf.quantize(model, nncf.Dataset(images), model_type=nncf.ModelType.TRANSFORMER, preset=nncf.QuantizationPreset.MIXED,
                              subset_size=len(images))
    openvino.save_model(model, target, compress_to_fp16=False)


def load_openvino(job):
    import openvino

    path = job.artifact(f"_b{job.batch}.xml")
    hint = {"f32": "f32", "bf16": "bf16", "int8": "bf16"}[job.precision]
    compiled = openvino.Core().compile_model(path, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint,
                                                           "INFERENCE_NUM_THREADS": job.threads, "NUM_STREAMS": 1})
    request = compiled.create_infer_request()

    def run(x):
        request.infer([openvino.Tensor(x, shared_memory=True)], share_inputs=True)
        return np.array(request.get_output_tensor(0).data, np.float32)

    return run, size_of(path) + size_of(path.with_suffix(".bin"))


# PyTorch -------------------------------------------------------------------------------------------------------------
def prepare_torch(job):
    """Nothing is kept: what torch.compile does belongs to its start-up, as a user has it."""


def load_torch(job):
    compiled = job.engine == "torch-compiled"
    if compiled:
        cache = job.artifact("_inductor")
        shutil.rmtree(cache, ignore_errors=True)
        os.environ |= {"TORCHINDUCTOR_CACHE_DIR": str(cache), "TORCHINDUCTOR_FREEZING": "1"}
    import torch
    from torch_model import ViT

    torch.set_num_threads(job.threads)
    torch.set_grad_enabled(False)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[job.precision]
    model = ViT(job.checkpoint).eval().to(dtype)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    call = torch.compile(model) if compiled else model
    return (lambda x: call(torch.from_numpy(x).to(dtype)).float().numpy()), size


ENGINES = {
    "vitrify": Engine("vitrify", ("f32", "bf16", "fp8", "fp8-low", "int8"), prepare_vitrify, load_vitrify),
    "onnxruntime": Engine("onnxruntime", ("f32", "int8", "int8-static"), prepare_onnxruntime, load_onnxruntime),
    "openvino": Engine("openvino", ("f32", "bf16", "int8"), prepare_openvino, load_openvino),
    "torch": Engine("torch", ("f32", "bf16"), prepare_torch, load_torch),
    "torch-compiled": Engine("torch", ("f32", "bf16"), prepare_torch, load_torch),
}
