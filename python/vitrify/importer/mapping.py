"""Checkpoint names -> what the model calls them, with the shape each must have.

Two naming schemes are in use: files keep the names of older transformers releases, state dicts of newer ones have others.
"""
from dataclasses import dataclass

from vitrify.errors import VitrifyError

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


class Mapping:
    """Finds the tensors of a model one by one, checks each, and at the end that none is left over."""

    def __init__(self, config, tensors, where):
        self.config, self.tensors, self.where = config, tensors, where
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
        self.add(f"{symbol}.w", f"{name}.weight", (out_features, in_features))
        if bias:
            self.add(f"{symbol}.b", f"{name}.bias", (out_features,))

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


def map_weights(config, tensors, where):
    """All weights of the model by symbol, in order of use."""
    c, m = config, Mapping(config, tensors, where)
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
