"""config.json of a ViT or DeiT as a checked value."""
import math
from dataclasses import dataclass

from vitrify.errors import VitrifyError

# Names of transformers' ACT2FN -> the dialect's activation. Names that share a formula share a kind.
ACTIVATIONS = {
    "gelu": "gelu_erf", "gelu_python": "gelu_erf", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh", "gelu_accurate": "gelu_tanh", "quick_gelu": "quick_gelu", "silu": "silu", "swish": "silu", "relu": "relu",
    "tanh": "tanh", "sigmoid": "sigmoid",
}
CLASSIFIERS = {
    "ViTForImageClassification": "classifier", "GatedViTForImageClassification": "classifier", "DeiTForImageClassification": "classifier",
    "DeiTForImageClassificationWithTeacher": "teacher", "ViTModel": "model", "DeiTModel": "model",
}
MODEL_TYPES = ("vit", "deit")
LIMIT = 1 << 24


@dataclass(frozen=True)
class ModelConfig:
    """What changes the graph. Sizes are in pixels, (height, width); `head` is classifier, teacher (two heads averaged) or model."""

    family: str
    head: str
    hidden: int
    layers: int
    heads: int
    head_dim: int
    mlp: int
    image: tuple[int, int]
    patch: tuple[int, int]
    channels: int
    activation: str
    pooler_activation: str
    pooler_size: int
    eps: float
    qkv_bias: bool
    share_map: tuple[int, ...]
    gate_block: int
    gate_k: int
    labels: tuple[str, ...]

    @property
    def patches(self):
        return (self.image[0] // self.patch[0]) * (self.image[1] // self.patch[1])

    @property
    def prefix_tokens(self):
        return 2 if self.family == "deit" else 1

    @property
    def tokens(self):
        return self.patches + self.prefix_tokens


class _Reader:
    """Typed look-ups in a config; each error names the file, the key, what was expected and what was found."""

    def __init__(self, values, where):
        self.values, self.where = values, where

    def fail(self, message):
        raise VitrifyError(f"{self.where}: {message}")

    def get(self, key, default):
        value = self.values.get(key, default)
        if value is None and default is not None:
            value = default
        if value is None:
            self.fail(f"key {key!r} is missing")
        return value

    def integer(self, key, default=None):
        value = self.get(key, default)
        if type(value) is not int or not 0 < value <= LIMIT:
            self.fail(f"{key}: expected a positive integer, found {value!r}")
        return value

    def pair(self, key):
        value = self.get(key, None)
        pair = [value, value] if type(value) is int else value
        if not isinstance(pair, list) or len(pair) != 2 or any(type(v) is not int or not 0 < v <= LIMIT for v in pair):
            self.fail(f"{key}: expected a positive integer or a pair of them, found {value!r}")
        return tuple(pair)

    def boolean(self, key, default):
        value = self.get(key, default)
        if not isinstance(value, bool):
            self.fail(f"{key}: expected true or false, found {value!r}")
        return value

    def activation(self, key, default):
        value = self.get(key, default)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            self.fail(f"{key}: unknown activation {value!r}; expected one of {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[value]


def parse_config(values, where):
    """ModelConfig of a config.json's values; `where` names the file in errors."""
    read = _Reader(values, where)
    family = read.get("model_type", None)
    if family not in MODEL_TYPES:
        read.fail(f"unknown model_type {family!r}; expected one of {', '.join(MODEL_TYPES)}")
    architectures = values.get("architectures") or [{"vit": "ViTForImageClassification", "deit": "DeiTForImageClassification"}[family]]
    if not isinstance(architectures, list) or len(architectures) != 1 or architectures[0] not in CLASSIFIERS:
        read.fail(f"architectures: expected one of {', '.join(CLASSIFIERS)}, found {architectures!r}")
    if not architectures[0].removeprefix("Gated").lower().startswith(family):
        read.fail(f"architecture {architectures[0]} does not fit model_type {family!r}")

    hidden, heads, layers = read.integer("hidden_size"), read.integer("num_attention_heads"), read.integer("num_hidden_layers")
    if values.get("head_dim") is None and hidden % heads:
        read.fail(f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
    image, patch = read.pair("image_size"), read.pair("patch_size")
    if image[0] % patch[0] or image[1] % patch[1]:
        read.fail(f"image_size {list(image)} is not a multiple of patch_size {list(patch)}")
    eps = read.get("layer_norm_eps", 1e-12)
    if type(eps) not in (int, float) or not math.isfinite(eps) or eps <= 0:
        read.fail(f"layer_norm_eps: expected a positive number, found {eps!r}")
    mlp = read.integer("intermediate_size")
    block, k = _gate(read, mlp)
    return ModelConfig(
        family=family, head=CLASSIFIERS[architectures[0]], hidden=hidden, layers=layers, heads=heads,
        head_dim=read.integer("head_dim", hidden // heads or None), mlp=mlp, image=image, patch=patch, channels=read.integer("num_channels", 3),
        activation=read.activation("hidden_act", "gelu"), pooler_activation=read.activation("pooler_act", "tanh"),
        pooler_size=read.integer("pooler_output_size", hidden), eps=float(eps), qkv_bias=read.boolean("qkv_bias", True),
        share_map=_share_map(read, layers), gate_block=block, gate_k=k, labels=_labels(read))


def _share_map(read, layers):
    """layer_share_map: the layer whose weights each layer uses; a layer points at itself or at an earlier one that does."""
    value = read.values.get("layer_share_map")
    if value is None:
        return tuple(range(layers))
    if not isinstance(value, list) or len(value) != layers or any(type(v) is not int for v in value):
        read.fail(f"layer_share_map: expected {layers} integers, found {value!r:.80}")
    for layer, source in enumerate(value):
        if not 0 <= source <= layer or value[source] != source:
            read.fail(f"layer_share_map: layer {layer} uses layer {source}, which is not an earlier layer with weights of its own")
    return tuple(value)


def _gate(read, mlp):
    """mlp_gate: neurons a block and blocks kept a token, or (0, 0)."""
    gate = read.values.get("mlp_gate")
    if gate is None:
        return 0, 0
    if not isinstance(gate, dict) or gate.get("type") != "topk_block":
        read.fail(f"mlp_gate: expected type 'topk_block', found {gate!r:.80}")
    inner = _Reader(gate, f"{read.where}: mlp_gate")
    block, k = inner.integer("block"), inner.integer("k")
    if mlp % block or k > mlp // block:
        read.fail(f"mlp_gate: block {block} must divide intermediate_size {mlp} and k {k} be at most their quotient")
    return block, k


def _labels(read):
    """Class names in order, or () if the config has none."""
    table = read.values.get("id2label")
    if not table:
        return ()
    if not isinstance(table, dict) or sorted(table) != sorted(str(i) for i in range(len(table))) or not all(isinstance(v, str) for v in table.values()):
        read.fail("id2label: expected names for the classes 0, 1, 2, ... without a gap")
    return tuple(table[str(i)] for i in range(len(table)))
