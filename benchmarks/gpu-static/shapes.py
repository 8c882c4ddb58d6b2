#===- shapes.py - the shapes that GPU kernels are judged on -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""Models as two encoder blocks with seeded weights: all blocks of a model share their kernels, and the second finds in L2 what every later one does."""
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitrify.importer import import_folder
from vitrify.tools import run_tool

LAYER_NAMES = ("ln1", "q", "k", "v", "attn", "proj", "res1", "ln2", "fc1", "act", "fc2", "res2")
OTHER_NAMES = ("embed.patch", "embed.tokens", "norm", "pool.cls", "pool", "head")


@dataclass(frozen=True)
class Model:
    """Sizes of a vision transformer. The image is square, so that it has tokens - 1 patches of 16 x 16."""

    name: str
    hidden: int
    heads: int
    mlp: int
    layers: int
    image: int = 224
    activation: str = "gelu"

    @property
    def tokens(self):
        return (self.image // 16) ** 2 + 1


# Sizes of ViT and DeiT from their papers; of Qwen3-VL's vision towers from the models' config.json, at 512 x 512 pixels and without rope.
MODELS = (
    Model("ViT-Ti", 192, 3, 768, 12),
    Model("ViT-S", 384, 6, 1536, 12),
    Model("ViT-B", 768, 12, 3072, 12),
    Model("ViT-L", 1024, 16, 4096, 24),
    Model("Qwen3-VL-4B", 1024, 16, 4096, 24, 512, "gelu_pytorch_tanh"),
    Model("Qwen3-VL-8B", 1152, 16, 4304, 27, 512, "gelu_pytorch_tanh"),
)
BATCHES = (1, 8, 32)
BLOCKS = 2


def tensors_of(model, generator):
    """Name -> array, as Hugging Face stores a ViT for image classification."""
    d, f, sizes = model.hidden, model.mlp, {}
    sizes["vit.embeddings.cls_token"] = (1, 1, d)
    sizes["vit.embeddings.position_embeddings"] = (1, model.tokens, d)
    sizes["vit.embeddings.patch_embeddings.projection.weight"] = (d, 3, 16, 16)
    sizes["vit.embeddings.patch_embeddings.projection.bias"] = (d,)
    linears = {"attention.attention.query": (d, d), "attention.attention.key": (d, d), "attention.attention.value": (d, d),
               "attention.output.dense": (d, d), "intermediate.dense": (f, d), "output.dense": (d, f)}
    norms = ["vit.layernorm"]
    for block in range(BLOCKS):
        prefix = f"vit.encoder.layer.{block}."
        for name, shape in linears.items():
            sizes[f"{prefix}{name}.weight"], sizes[f"{prefix}{name}.bias"] = shape, shape[:1]
        norms += [f"{prefix}layernorm_before", f"{prefix}layernorm_after"]
    for name in norms:
        sizes[f"{name}.weight"] = sizes[f"{name}.bias"] = (d,)
    sizes["classifier.weight"], sizes["classifier.bias"] = (1000, d), (1000,)
    return {name: generator.standard_normal(shape, dtype=np.float32) * np.float32(0.05) for name, shape in sizes.items()}


def write_model(model, folder):
    """A Hugging Face folder of two blocks, and ranges.json for it: kernels do not depend on what the ranges are."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["ViTForImageClassification"], "model_type": "vit", "hidden_size": model.hidden, "num_attention_heads": model.heads,
              "intermediate_size": model.mlp, "num_hidden_layers": BLOCKS, "image_size": model.image, "patch_size": 16, "num_channels": 3,
              "hidden_act": model.activation, "layer_norm_eps": 1e-6, "qkv_bias": True, "encoder_stride": 16,
              "id2label": {str(i): str(i) for i in range(1000)}, "label2id": {str(i): i for i in range(1000)}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tensors_of(model, np.random.default_rng(0)), folder / "model.safetensors")
    names = [f"b{block}.{name}" for block in range(BLOCKS) for name in LAYER_NAMES] + list(OTHER_NAMES)
    values = {name: {"amax": 4.0, "range": 4.0} for name in names}
    (folder / "ranges.json").write_text(json.dumps({"format": 1, "images": 1, "method": "amax", "values": values}), encoding="utf-8")
    return folder


def build(model, batch, folder, target, tune=None):
    """Compiles the blocks for one target, tuned for a batch and, when `tune` names it, a chip.

    Returns the bundle, what vitrify-inspect says of the target, and a function that gives the PTX."""
    folder = Path(folder)
    if not (folder / "config.json").exists():
        write_model(model, folder)
    module, bundle = folder / f"b{batch}.mlir", folder / f"b{batch}-{(tune or 'all').replace(' ', '-')}.vitrify"
    if not module.exists():
        import_folder(folder, module, max_batch=max(batch, 64), tuned_batch=batch)
    options = [f"--target={target}", "--precision=fp8", f"--ranges={folder / 'ranges.json'}", *([f"--tune={tune}"] if tune else [])]
    run_tool("vitrify-compile", [module, "-o", bundle, *options])
    report = json.loads(run_tool("vitrify-inspect", [bundle, "--json"]))

    def ptx():
        text = bundle.with_suffix(".ptx")
        run_tool("vitrify-compile", [module, "--emit=asm", "-o", text, *options])
        return text.read_text(encoding="utf-8")

    return bundle, next(t for t in report["targets"] if t["name"] == target), ptx
