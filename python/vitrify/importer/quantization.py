"""Checkpoints that are quantised already: how each FP8 format says so, what its tensors are called, and what it does with activations.

In all of them W is about w8 * scale. Sources: transformers' quantizers (fp8, fbgemm_fp8), the compressed-tensors format's documentation, NVIDIA ModelOpt's
hf_quant_config.json, torchao's safetensors support.
"""
import fnmatch
import json
import re
from dataclasses import dataclass

from vitrify.errors import VitrifyError

METHODS = ("fp8", "compressed-tensors", "fbgemm_fp8", "modelopt", "torchao")
BLOCK = (128, 128)
# NVFP4 quantises activations as well, to blocks of 16 whose scales are found as the program runs; they stay in 16 bits here.
ALGORITHMS = {"FP8": ("tensor", "static"), "FP8_PER_CHANNEL_PER_TOKEN": ("channel", "token"), "FP8_PB_WO": ("block", None), "NVFP4": ("nvfp4", None),
              "W4A16_NVFP4": ("nvfp4", None)}
NVFP4_BLOCK = 16


@dataclass(frozen=True)
class Quantization:
    """One format. `weights` is tensor, channel, block (of `block` = rows, columns) or nvfp4; `activations` static, token, tensor (found at run time), group (of
    block[1] columns), or None where only weights are quantised. `skipped` are names or patterns of modules that are not. Names are suffixes of the module's."""

    method: str
    weights: str
    activations: str | None
    block: tuple[int, int] = BLOCK
    skipped: tuple[str, ...] = ()
    codes: str = ".weight"
    scale: str = ".weight_scale"
    input_scale: str = ".input_scale"

    def covers(self, module):
        """Whether the format quantises a linear of this name. A skipped name stands for itself, for what is below it, and as the last parts of a name."""
        for pattern in self.skipped:
            if pattern.startswith("re:"):
                if re.match(pattern[3:], module):
                    return False
            elif "*" in pattern:
                if fnmatch.fnmatchcase(module, pattern):
                    return False
            elif f".{pattern}." in f".{module}.":
                return False
        return True

    def extra_names(self, module):
        """Tensors that may come with a quantised linear and that inference of an encoder does not use: scales of a cache, the bound of a scale."""
        return [module + suffix for suffix in (".k_scale", ".v_scale", *((".input_scale",) if self.weights == "nvfp4" else ()), ".q_scale", ".prob_scale", ".input_scale_ub", ".weight_zero_point", ".output_scale")]


def parse_quantization(config, folder, where):
    """Quantization of a model folder from config.json's quantization_config or hf_quant_config.json, or None. `where` names config.json in errors."""
    values, source = config.get("quantization_config"), f"{where}: quantization_config"
    beside = folder / "hf_quant_config.json"
    if not values and beside.exists():
        try:
            values = json.loads(beside.read_text(encoding="utf-8")).get("quantization")
        except (OSError, ValueError, AttributeError) as error:
            raise VitrifyError(f"{beside}: expected a JSON object with quantization ({error})") from error
        source = str(beside)
        values = {"quant_method": "modelopt"} | values if isinstance(values, dict) else values
    if not values:
        return None

    def fail(message):
        raise VitrifyError(f"{source}: {message}")

    if not isinstance(values, dict):
        fail(f"expected an object, found {values!r:.60}")
    method = values.get("quant_method")
    if method not in METHODS:
        fail(f"unknown quant_method {method!r}; expected one of {', '.join(METHODS)}")
    return {"fp8": _fp8, "compressed-tensors": _compressed, "fbgemm_fp8": _fbgemm, "modelopt": _modelopt, "torchao": _torchao}[method](values, fail)


def _names(values, fail, *keys):
    names = []
    for key in keys:
        listed = values.get(key) or []
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            fail(f"{key}: expected a list of module names, found {listed!r:.80}")
        names += listed
    return tuple(names)


def _block(value, fail, key):
    if not isinstance(value, list) or len(value) != 2 or any(type(v) is not int or v < 1 for v in value):
        fail(f"{key}: expected [rows, columns], found {value!r:.60}")
    return tuple(value)


def _fp8(values, fail):
    scheme = values.get("activation_scheme", "dynamic")
    if scheme not in ("dynamic", "static"):
        fail(f"activation_scheme: expected dynamic or static, found {scheme!r}")
    if values.get("fmt", "e4m3") not in ("e4m3", "float8_e4m3fn"):
        fail(f"fmt: expected e4m3, found {values['fmt']!r}")
    skipped = _names(values, fail, "modules_to_not_convert", "ignored_layers")
    if values.get("weight_block_size") is None:
        return Quantization("fp8", "tensor", "static" if scheme == "static" else "tensor", skipped=skipped)
    return Quantization("fp8", "block", "static" if scheme == "static" else "group", _block(values["weight_block_size"], fail, "weight_block_size"), skipped,
                        scale=".weight_scale_inv", input_scale=".activation_scale")


def _compressed(values, fail):
    if values.get("format", "float-quantized") != "float-quantized":
        fail(f"format: expected float-quantized, found {values['format']!r}")
    groups = values.get("config_groups")
    if not isinstance(groups, dict) or len(groups) != 1 or not isinstance(group := next(iter(groups.values())), dict):
        fail(f"config_groups: expected one group of linears, found {groups!r:.80}")
    if group.get("targets") != ["Linear"]:
        fail(f"config_groups: expected targets ['Linear'], found {group.get('targets')!r:.80}")

    def read(key, legal):
        part = group.get(key)
        if not isinstance(part, dict) or part.get("num_bits") != 8 or part.get("type") != "float" or not part.get("symmetric", True):
            fail(f"config_groups: {key}: expected symmetric floats of 8 bits, found {part!r:.120}")
        if part.get("strategy") not in legal:
            fail(f"config_groups: {key}: strategy: expected one of {', '.join(legal)}, found {part.get('strategy')!r}")
        return part

    weights = read("weights", ("tensor", "channel", "block"))
    block = _block(weights.get("block_structure") or list(BLOCK), fail, "block_structure")
    activations = None
    if group.get("input_activations"):
        part = read("input_activations", ("tensor", "token", "group"))
        activations = part["strategy"] if part.get("dynamic") else "static"
        if activations == "static" and part["strategy"] != "tensor":
            fail(f"config_groups: input_activations: static scales must be of strategy tensor, found {part['strategy']!r}")
        if activations == "group":
            if part.get("group_size") != block[1] or weights["strategy"] != "block":
                fail(f"config_groups: input_activations: groups of {part.get('group_size')!r} columns with weights by {weights['strategy']} of {list(block)}")
    if weights["strategy"] == "block" and activations not in ("group", None):
        fail(f"config_groups: weights in blocks need activations in groups of {block[1]}, found {activations}")
    return Quantization("compressed-tensors", weights["strategy"], activations, block, _names(values, fail, "ignore"))


def _fbgemm(values, fail):
    bound = values.get("activation_scale_ub", 1200.0)
    if type(bound) not in (int, float) or not bound > 0:
        fail(f"activation_scale_ub: expected a positive number, found {bound!r}")
    return Quantization("fbgemm_fp8", "channel", "token", skipped=_names(values, fail, "modules_to_not_convert"))


def _modelopt(values, fail):
    algorithm = values.get("quant_algo")
    if algorithm not in ALGORITHMS:
        fail(f"unknown quant_algo {algorithm!r}; expected one of {', '.join(ALGORITHMS)}")
    weights, activations = ALGORITHMS[algorithm]
    if weights == "nvfp4" and values.get("group_size", NVFP4_BLOCK) != NVFP4_BLOCK:
        fail(f"group_size: expected {NVFP4_BLOCK} for {algorithm}, found {values['group_size']!r:.60}")
    return Quantization("modelopt", weights, activations, skipped=_names(values, fail, "exclude_modules", "ignore"))


def _torchao(values, fail):
    return Quantization("torchao", "channel", "token", skipped=_names(values, fail, "modules_to_not_convert"), codes="._weight_qdata", scale="._weight_scale")


def torchao_activations(metadata, module, where):
    """What a Float8Tensor does with activations, from the metadata of its file: token, tensor or None; the tensor's kind is checked."""
    def fail(message):
        raise VitrifyError(f"{where}: metadata of {module}.weight: {message}")

    try:
        entry = json.loads(metadata.get(f"{module}.weight", ""))
        data = entry.get("_data") or {}
        if isinstance(data, str):
            data = json.loads(data)
    except (ValueError, AttributeError) as error:
        fail(f"expected JSON of a tensor ({error})")
    if entry.get("_type") != "Float8Tensor":
        fail(f"unknown _type {entry.get('_type')!r}; expected Float8Tensor")
    arguments = data.get("act_quant_kwargs")
    if not arguments:
        return None
    granularity = re.search(r"PerRow|PerTensor", json.dumps(arguments))
    if not granularity:
        fail(f"unknown granularity of activations {arguments!r:.100}; expected PerRow or PerTensor")
    return {"PerRow": "token", "PerTensor": "tensor"}[granularity.group()]
