"""Quantises a Hugging Face folder's encoder linears to E4M3 as each checkpoint format does, in numpy: inputs of tests of the importer."""
import json
import shutil

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

E4M3 = ml_dtypes.float8_e4m3fn
LINEARS = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")
BLOCK = 32
COMPRESSED = {"type": "float", "num_bits": 8, "symmetric": True}


def compressed(weights, activations):
    return {"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["classifier"], "config_groups": {"group_0": {
        "targets": ["Linear"], "weights": COMPRESSED | weights, "input_activations": COMPRESSED | activations if activations else None}}}


def formats(block=BLOCK):
    """name -> quantization_config, weights' granularity, activations."""
    return {
        "fine_grained": ({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [block, block], "modules_to_not_convert": ["classifier"]}, "block", "group"),
        "fine_grained_static": ({"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": [block, block], "fmt": "e4m3"}, "block", "static"),
        "compressed_channel_token": (compressed({"strategy": "channel"}, {"strategy": "token", "dynamic": True}), "channel", "token"),
        "compressed_tensor_static": (compressed({"strategy": "tensor"}, {"strategy": "tensor", "dynamic": False}), "tensor", "static"),
        "compressed_block": (compressed({"strategy": "block", "block_structure": [block, block]}, {"strategy": "group", "group_size": block, "dynamic": True}), "block", "group"),
        "compressed_weights_only": (compressed({"strategy": "channel"}, None), "channel", None),
        "fbgemm": ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["classifier"]}, "channel", "token"),
        "modelopt": ({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["classifier*"]}, "tensor", "static"),
        "torchao": ({"quant_method": "torchao"}, "channel", "token"),
    }


FORMATS = tuple(formats())


DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F8_E4M3": E4M3, "I32": np.int32, "U8": np.uint8, "I8": np.int8}


def read(path):
    """All tensors of a file; the safetensors package for numpy knows no E4M3."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    entries = {name: entry for name, entry in json.loads(data[8:8 + length]).items() if name != "__metadata__"}
    return {name: np.frombuffer(data[8 + length + e["data_offsets"][0]:8 + length + e["data_offsets"][1]], DTYPES[e["dtype"]]).reshape(e["shape"])
            for name, e in entries.items()}


def encode(w, granularity, block=BLOCK):
    """(codes, scales) with w about codes * scales."""
    n, k = w.shape
    if granularity == "block":
        rows, columns = -(-n // block), -(-k // block)
        padded = np.zeros((rows * block, columns * block), np.float32)
        padded[:n, :k] = np.abs(w)
        scale = padded.reshape(rows, block, columns, block).max((1, 3)) / 448
        each = np.repeat(np.repeat(scale, block, 0), block, 1)[:n, :k]
    else:
        scale = np.abs(w).max(1, keepdims=True) / 448 if granularity == "channel" else np.abs(w).max().reshape(1) / 448
        each = scale
    scale = scale.astype(np.float32)
    return np.clip(w / each, -448, 448).astype(E4M3), scale


def is_linear(name):
    return name.endswith(".weight") and any(name.endswith(f"{part}.weight") for part in LINEARS) and "layer." in name


def write(source, folder, form, ranges=None, change=None, block=BLOCK):
    """The quantised copy of `source`; ranges gives amax of each linear's input by module name for static scales. Returns the codes by module."""
    config, granularity, activations = formats(block)[form]
    shutil.copytree(source, folder)
    values = json.loads((folder / "config.json").read_text())
    if form == "modelopt":
        (folder / "hf_quant_config.json").write_text(json.dumps({"producer": {"name": "modelopt"}, "quantization": {
            "quant_algo": config["quant_algo"], "kv_cache_quant_algo": None, "exclude_modules": config["ignore"]}}))
    else:
        (folder / "config.json").write_text(json.dumps(values | {"quantization_config": config}))
    tensors, out, codes, metadata = load_file(folder / "model.safetensors"), {}, {}, {"format": "pt"}
    for name, value in tensors.items():
        if not is_linear(name):
            out[name] = value
            continue
        module = name.removesuffix(".weight")
        codes[module], scale = encode(value, granularity, block)
        if form == "torchao":
            out[f"{module}._weight_qdata"], out[f"{module}._weight_scale"] = codes[module], scale
            metadata[name] = json.dumps({"_type": "Float8Tensor", "_data": {"block_size": [1, value.shape[1]], "act_quant_kwargs": {"granularity": "PerRow"}}})
            continue
        out[name] = codes[module]
        if form.startswith("fine_grained"):
            out[f"{module}.weight_scale_inv"] = scale.astype(ml_dtypes.bfloat16) if form == "fine_grained" else scale
        else:
            out[f"{module}.weight_scale"] = scale if form != "modelopt" else scale.reshape(())
        if activations == "static":
            out[f"{module}.{'activation_scale' if form.startswith('fine') else 'input_scale'}"] = np.float32([ranges[module] / 448])
        if form == "modelopt":
            out[f"{module}.k_scale"] = np.float32([1])
    if change:
        change(out)
    save_file(out, folder / "model.safetensors", metadata=metadata)
    return codes
