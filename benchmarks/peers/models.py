"""Seeded ViTs at the sizes people deploy, as Hugging Face folders, and pictures for them: the same bytes on every machine.

Weights are livelier than a fresh initialisation, so that logits depend on the picture and a cosine between two engines means something.
"""
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

# name: width, heads, layers, and whether DeiT's distillation token is there
MODELS = {"vit_ti": (192, 3, 12, False), "vit_s": (384, 6, 12, False), "vit_b": (768, 12, 12, False), "vit_l": (1024, 16, 24, False), "deit_s": (384, 6, 12, True)}
CLASSES, SIDE, PATCH = 1000, 224, 16


def tensors(name):
    """Tensors of a checkpoint by their name in Hugging Face's older scheme."""
    width, _, layers, distilled = MODELS[name]
    random = np.random.RandomState(7)

    def normal(*shape, scale):
        return (random.standard_normal(shape) * scale).astype(np.float32)

    def linear(prefix, outputs, inputs):
        return {f"{prefix}.weight": normal(outputs, inputs, scale=inputs**-0.5), f"{prefix}.bias": normal(outputs, scale=0.02)}

    def norm(prefix):
        return {f"{prefix}.weight": 1 + normal(width, scale=0.2), f"{prefix}.bias": normal(width, scale=0.02)}

    root = "deit" if distilled else "vit"
    tokens = (SIDE // PATCH)**2 + 1 + distilled
    out = {f"{root}.embeddings.cls_token": normal(1, 1, width, scale=0.02), f"{root}.embeddings.position_embeddings": normal(1, tokens, width, scale=0.1),
           f"{root}.embeddings.patch_embeddings.projection.weight": normal(width, 3, PATCH, PATCH, scale=(3 * PATCH * PATCH)**-0.5),
           f"{root}.embeddings.patch_embeddings.projection.bias": normal(width, scale=0.02)}
    if distilled:
        out[f"{root}.embeddings.distillation_token"] = normal(1, 1, width, scale=0.02)
    for i in range(layers):
        at = f"{root}.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            out |= linear(f"{at}.attention.attention.{part}", width, width)
        out |= linear(f"{at}.attention.output.dense", width, width) | linear(f"{at}.intermediate.dense", 4 * width, width)
        out |= linear(f"{at}.output.dense", width, 4 * width) | norm(f"{at}.layernorm_before") | norm(f"{at}.layernorm_after")
    out |= norm(f"{root}.layernorm") | linear("classifier", CLASSES, width)
    return out


def write(name, folder):
    """Folder with config.json, model.safetensors and preprocessor_config.json; nothing is done when it is there."""
    folder = Path(folder)
    if (folder / "model.safetensors").exists():
        return folder
    width, heads, layers, distilled = MODELS[name]
    folder.mkdir(parents=True, exist_ok=True)
    family = "deit" if distilled else "vit"
    architecture = "DeiTForImageClassification" if distilled else "ViTForImageClassification"
    config = {"model_type": family, "architectures": [architecture], "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
              "intermediate_size": 4 * width, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "image_size": SIDE, "patch_size": PATCH, "num_channels": 3,
              "qkv_bias": True, "id2label": {str(i): str(i) for i in range(CLASSES)}, "label2id": {str(i): i for i in range(CLASSES)}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "ViTImageProcessor", "do_resize": True, "do_rescale": True,
                                                                  "do_normalize": True, "size": {"height": SIDE, "width": SIDE}, "resample": 2,
                                                                  "rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    save_file(tensors(name), folder / "model.safetensors")
    return folder


def pictures(count, seed):
    """float32 [count, 3, 224, 224]: low frequencies that differ from picture to picture, and noise."""
    random = np.random.RandomState(seed)
    coarse = random.standard_normal((count, 3, 7, 7))
    x = np.repeat(np.repeat(coarse, SIDE // 7, 2), SIDE // 7, 3) + 0.5 * random.standard_normal((count, 3, SIDE, SIDE))
    return x.astype(np.float32)
