"""Checkpoint names -> what the model calls them, with the shape each must have.

Two naming schemes are in use: files keep the names of older transformers releases, state dicts of newer ones have others.
"""
import math
from dataclasses import dataclass

from vitrify.errors import VitrifyError
from vitrify.importer.quantization import NVFP4_BLOCK, torchao_activations

LEGACY = {
    "q": "encoder.layer.{}.attention.attention.query", "k": "encoder.layer.{}.attention.attention.key", "v": "encoder.layer.{}.attention.attention.value",
    "proj": "encoder.layer.{}.attention.output.dense", "fc1": "encoder.layer.{}.intermediate.dense", "fc2": "encoder.layer.{}.output.dense",
    "ln1": "encoder.layer.{}.layernorm_before", "ln2": "encoder.layer.{}.layernorm_after", "gate": "encoder.layer.{}.mlp.gate",
}
CURRENT = {
    "q": "layers.{}.attention.q_proj", "k": "layers.{}.attention.k_proj", "v": "layers.{}.attention.v_proj", "proj": "layers.{}.attention.o_proj",
    "fc1": "layers.{}.mlp.fc1", "fc2": "layers.{}.mlp.fc2", "ln1": "layers.{}.layernorm_before", "ln2": "layers.{}.layernorm_after",
    "gate": "layers.{}.mlp.gate",
}
# Tensors that checkpoints of these models may carry and that inference does not use.
UNUSED = ("embeddings.mask_token", "pooler.dense.weight", "pooler.dense.bias")
FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Weight:
    """A weight of the model: its symbol, the tensor it is read from and the shape the graph uses it in."""

    symbol: str
    tensor: object
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Codes:
    """A linear whose weight is stored as E4M3 or E2M1 codes, or is a float that training rounded to codes of this scale.

    For granularity nvfp4 `scale` holds E4M3 scales of 16 columns each, and `tensor_scale` the one of all. Else `scale` is a tensor of one element, one a row ([N] or [N, 1]), or one a block; `granularity` says which. `activations` is as for Quantization, `input_scale`
    the tensor that a static one is.
    """

    symbol: str
    tensor: object
    shape: tuple[int, int]
    scale: object
    granularity: str
    block: tuple[int, int]
    activations: str | None
    input_scale: object = None
    tensor_scale: object = None


class Mapping:
    """Finds the tensors of a model one by one, checks each, and at the end that none is left over."""

    def __init__(self, config, tensors, where, quantization=None):
        self.config, self.tensors, self.where, self.quantization = config, tensors, where, quantization
        self.used, self.weights = set(), {}
        prefixes = [p for p in (config.family + ".", "") if p + "embeddings.position_embeddings" in tensors]
        self.prefix = prefixes[0] if prefixes else config.family + "."
        current = any(name.startswith(self.prefix + "layers.") for name in tensors)
        self.scheme = CURRENT if current else LEGACY

    def add(self, symbol, name, stored, shape=None):
        """Registers tensor `name` of shape `stored` as weight `symbol` of shape `shape`."""
        tensor = self.tensors.get(name)
        if tensor is None:
            raise VitrifyError(f"{self.where}: tensor {name!r} is missing; expected shape {list(stored)}")
        if tensor.shape != tuple(stored):
            raise VitrifyError(f"{self.where}: tensor {name!r}: expected shape {list(stored)}, found {list(tensor.shape)}")
        if tensor.dtype not in FLOATS:
            raise VitrifyError(f"{self.where}: tensor {name!r}: expected element type {', '.join(FLOATS)}, found {tensor.dtype}")
        self.used.add(name)
        self.weights[symbol] = Weight(symbol, tensor, tuple(shape or stored))

    def affine(self, symbol, name, out_features, in_features, bias=True):
        if not self.coded(symbol, name, (out_features, in_features)):
            self.add(f"{symbol}.w", f"{name}.weight", (out_features, in_features))
        if bias:
            self.add(f"{symbol}.b", f"{name}.bias", (out_features,))

    def scale(self, name, counts, what):
        """A tensor of float scales with one of these numbers of elements; it must be positive and finite."""
        tensor = self.tensors.get(name)
        if tensor is None:
            raise VitrifyError(f"{self.where}: tensor {name!r} is missing: the {what} of a linear that {self.quantization.method if self.quantization else 'QAT'} "
                               "quantises")
        if tensor.dtype not in FLOATS:
            raise VitrifyError(f"{self.where}: tensor {name!r}: expected element type {', '.join(FLOATS)}, found {tensor.dtype}")
        if math.prod(tensor.shape) not in counts:
            raise VitrifyError(f"{self.where}: tensor {name!r}: expected {' or '.join(map(str, counts))} scales, found shape {list(tensor.shape)}")
        at = tensor.first_not_positive()
        if at is not None:
            raise VitrifyError(f"{self.where}: tensor {name!r}: value {at} is not positive and finite; expected scales")
        self.used.add(name)
        return tensor

    def coded(self, symbol, name, shape):
        """Registers a quantised linear; False if this one is not."""
        q = self.quantization
        if f"{name}.weight_fake_quant.scale" in self.tensors:
            return self.trained(symbol, name, shape)
        if q and q.weights == "nvfp4":
            return self.blocks(symbol, name, shape)
        tensor = self.tensors.get(name + (q.codes if q else ".weight"))
        if tensor is None or tensor.dtype != "F8_E4M3":
            if q and q.covers(name) and self.encoder_linear(name):
                found = "is missing" if tensor is None else f"has element type {tensor.dtype}"
                raise VitrifyError(f"{self.where}: tensor {name + q.codes!r} {found}; expected F8_E4M3 codes, as {q.method} does not skip {name}")
            return False
        if q is None or not q.covers(name):
            raise VitrifyError(f"{self.where}: tensor {tensor.name!r} has E4M3 codes, but {'there is no quantization_config' if q is None else 'its layer is skipped'}")
        if tensor.shape != shape:
            raise VitrifyError(f"{self.where}: tensor {tensor.name!r}: expected shape {list(shape)}, found {list(tensor.shape)}")
        self.used.add(tensor.name)
        rows, columns = (-(-size // step) for size, step in zip(shape, q.block))
        activations = torchao_activations(tensor.file.metadata, name, tensor.file.path) if q.method == "torchao" else q.activations
        if q.weights == "block":
            scale, granularity = self.scale(name + q.scale, (rows * columns,), "scales"), "block"
        else:
            counts = (1,) if q.weights == "tensor" else (1, shape[0])
            scale = self.scale(name + q.scale, counts, "scale")
            granularity = "tensor" if math.prod(scale.shape) == 1 else "channel"
        given = self.scale(name + q.input_scale, (1,), "input scale") if activations == "static" else None
        self.weights[f"{symbol}.w"] = Codes(f"{symbol}.w", tensor, shape, scale, granularity, q.block, activations, given)
        self.used.update(q.extra_names(name))
        return True

    def blocks(self, symbol, name, shape):
        """Registers a linear of NVFP4 codes; False if this one is none."""
        q, tensor = self.quantization, self.tensors.get(f"{name}.weight")
        if not q.covers(name) or (tensor is not None and tensor.dtype in FLOATS and not self.encoder_linear(name)):
            return False
        if tensor is None or tensor.dtype != "U8":
            found = "is missing" if tensor is None else f"has element type {tensor.dtype}"
            raise VitrifyError(f"{self.where}: tensor '{name}.weight' {found}; expected U8, two codes of 4 bits each, as {q.method} does not skip {name}")
        n, k = shape
        if k % NVFP4_BLOCK:
            raise VitrifyError(f"{self.where}: tensor {tensor.name!r}: {k} columns are no multiple of {NVFP4_BLOCK}, which share a scale in NVFP4")
        if tensor.shape != (n, k // 2):
            raise VitrifyError(f"{self.where}: tensor {tensor.name!r}: expected shape {[n, k // 2]}, found {list(tensor.shape)}")
        scale = self.tensors.get(f"{name}.weight_scale")
        if scale is None:
            raise VitrifyError(f"{self.where}: tensor '{name}.weight_scale' is missing: the scales of a linear that {q.method} quantises")
        if scale.dtype != "F8_E4M3" or scale.shape != (n, k // NVFP4_BLOCK):
            raise VitrifyError(f"{self.where}: tensor {scale.name!r}: expected F8_E4M3 scales {[n, k // NVFP4_BLOCK]}, found {scale.dtype} {list(scale.shape)}")
        at = scale.first_not_finite()
        if at is not None:
            raise VitrifyError(f"{self.where}: tensor {scale.name!r}: value {at} is NaN; expected scales")
        of_all = self.scale(f"{name}.weight_scale_2", (1,), "scale of all blocks")
        self.used.update((tensor.name, scale.name, *q.extra_names(name)))
        self.weights[f"{symbol}.w"] = Codes(f"{symbol}.w", tensor, shape, scale, "nvfp4", (1, NVFP4_BLOCK), None, None, of_all)
        return True

    def encoder_linear(self, name):
        return "layer" in name and not name.endswith("gate")

    def trained(self, symbol, name, shape):
        """A float weight that quantisation-aware training rounded by these scales, as torch.ao's FakeQuantize names them."""
        tensor = self.tensors.get(f"{name}.weight")
        if tensor is None or tensor.shape != shape or tensor.dtype not in FLOATS:
            raise VitrifyError(f"{self.where}: tensor {name + '.weight'!r} must be a float of shape {list(shape)}: it has fake-quant scales")
        scale = self.scale(f"{name}.weight_fake_quant.scale", (1, shape[0]), "weight scale")
        given = self.scale(f"{name}.activation_fake_quant.scale", (1,), "input scale")
        for which in ("weight", "activation"):
            point = self.tensors.get(f"{name}.{which}_fake_quant.zero_point")
            if point is not None:
                if point.raw().any():
                    raise VitrifyError(f"{self.where}: tensor {point.name!r}: expected zero points of 0: E4M3 has none")
                self.used.add(point.name)
        self.used.add(tensor.name)
        granularity = "tensor" if math.prod(scale.shape) == 1 else "channel"
        self.weights[f"{symbol}.w"] = Codes(f"{symbol}.w", tensor, shape, scale, granularity, (1, 1), "static", given)
        return True

    def layer(self, index):
        c, name = self.config, lambda part: self.prefix + self.scheme[part].format(index)
        inner = c.heads * c.head_dim
        for part in ("ln1", "ln2"):
            self.add(f"b{index}.{part}.g", f"{name(part)}.weight", (c.hidden,))
            self.add(f"b{index}.{part}.b", f"{name(part)}.bias", (c.hidden,))
        for part in ("q", "k", "v"):
            self.affine(f"b{index}.{part}", name(part), inner, c.hidden, c.qkv_bias)
        self.affine(f"b{index}.proj", name("proj"), c.hidden, inner)
        self.affine(f"b{index}.fc1", name("fc1"), c.mlp, c.hidden)
        if c.gate_block:
            self.affine(f"b{index}.gate", name("gate"), c.mlp // c.gate_block, c.hidden)
        self.affine(f"b{index}.fc2", name("fc2"), c.hidden, c.mlp)

    def classes(self, name):
        """Number of classes: the rows of the classifier, which must agree with the labels if there are any."""
        tensor = self.tensors.get(f"{name}.weight")
        rows = tensor.shape[0] if tensor is not None and len(tensor.shape) == 2 else len(self.config.labels)
        if self.config.labels and rows != len(self.config.labels):
            raise VitrifyError(f"{self.where}: tensor '{name}.weight' has {rows} rows, but id2label names {len(self.config.labels)} classes")
        return rows

    def copies(self):
        """A file may hold the layers that layer_share_map gives away: they must be equal to those they stand for."""
        for index, source in enumerate(self.config.share_map):
            if index == source:
                continue
            for part in self.scheme.values():
                mine, base = self.prefix + part.format(index), self.prefix + part.format(source)
                for kind in (".weight", ".bias"):
                    copy, kept = self.tensors.get(mine + kind), self.tensors.get(base + kind)
                    if copy is None or kept is None or kept.name not in self.used:
                        continue
                    at = copy.first_difference(kept)
                    if at is not None:
                        raise VitrifyError(f"{self.where}: layer_share_map says that layer {index} uses layer {source}, but tensor {copy.name!r} differs "
                                           f"from {kept.name!r}: {at}")
                    self.used.add(copy.name)

    def finish(self):
        """Refuses tensors that nothing uses, then values that are not finite."""
        self.copies()
        ignored = {self.prefix + name for name in UNUSED}
        for name, tensor in sorted(self.tensors.items()):
            if name not in self.used and name not in ignored:
                raise VitrifyError(f"{self.where}: unexpected tensor {name!r} of shape {list(tensor.shape)}: this architecture has none of that name")
        for weight in self.weights.values():
            at = weight.tensor.first_not_finite()
            if at is not None:
                raise VitrifyError(f"{self.where}: tensor {weight.tensor.name!r}: value {at} is NaN or infinite; expected finite values")


def map_weights(config, tensors, where, quantization=None):
    """All weights of the model by symbol, in order of use: Weight, or Codes for a linear that is quantised."""
    c, m = config, Mapping(config, tensors, where, quantization)
    p, k = m.prefix, config.channels * config.patch[0] * config.patch[1]
    m.add("embed.patch.w", f"{p}embeddings.patch_embeddings.projection.weight", (c.hidden, c.channels, *c.patch), (c.hidden, k))
    m.add("embed.patch.b", f"{p}embeddings.patch_embeddings.projection.bias", (c.hidden,))
    m.add("embed.cls", f"{p}embeddings.cls_token", (1, 1, c.hidden), (1, c.hidden))
    if c.family == "deit":
        m.add("embed.dist", f"{p}embeddings.distillation_token", (1, 1, c.hidden), (1, c.hidden))
    m.add("embed.pos", f"{p}embeddings.position_embeddings", (1, c.tokens, c.hidden), (c.tokens, c.hidden))
    for index in sorted(set(c.share_map)):
        m.layer(index)
    m.add("norm.g", f"{p}layernorm.weight", (c.hidden,))
    m.add("norm.b", f"{p}layernorm.bias", (c.hidden,))
    if c.head == "classifier":
        m.affine("head", "classifier", m.classes("classifier"), c.hidden)
    elif c.head == "teacher":
        classes = m.classes("cls_classifier")
        m.affine("head.cls", "cls_classifier", classes, c.hidden)
        m.affine("head.dist", "distillation_classifier", classes, c.hidden)
    elif f"{p}pooler.dense.weight" in tensors:
        m.affine("pooler", f"{p}pooler.dense", c.pooler_size, c.hidden)
    m.finish()
    return m.weights
