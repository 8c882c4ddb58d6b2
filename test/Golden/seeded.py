"""Numbers and checkpoints made from a seed with numpy alone, the same on every machine: inputs of tests need not be committed.

RandomState's streams are frozen by numpy's compatibility policy (NEP 19).
"""
import hashlib
import json
from pathlib import Path

import numpy as np


def normal(seed, shape, scale=1.0):
    """float32 normal numbers with standard deviation `scale`."""
    return (np.random.RandomState(seed).standard_normal(shape) * scale).astype(np.float32)


def _config(family, architecture, **values):
    base = {"model_type": family, "architectures": [architecture], "hidden_act": "gelu", "layer_norm_eps": 1e-12, "qkv_bias": True, "num_channels": 3,
            "num_hidden_layers": 2, "num_attention_heads": 2, "pooler_act": "tanh"}
    return base | values


def _classes(count):
    return {"id2label": {str(i): f"class {i}" for i in range(count)}, "label2id": {f"class {i}": i for i in range(count)}}


VIT, DEIT, TEACHER = "ViTForImageClassification", "DeiTForImageClassification", "DeiTForImageClassificationWithTeacher"
# name -> seed, configuration, and how it is stored: scheme of names, number of files, element type; batches with golden logits.
MODELS = {
    "hd24": dict(seed=1, batches=(1, 3, 17), config=_config("vit", VIT, hidden_size=72, num_attention_heads=3, intermediate_size=200, image_size=[32, 48],
                                                        patch_size=8, **_classes(7))),
    "hd40_mlp4304": dict(seed=2, batches=(1, 3, 17), config=_config("vit", VIT, hidden_size=80, intermediate_size=4304, num_hidden_layers=1, image_size=28,
                                                                patch_size=14, num_channels=1, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6, **_classes(5))),
    "hd72_tokens577": dict(seed=3, batches=(1, 3), config=_config("vit", VIT, hidden_size=144, intermediate_size=96, num_hidden_layers=1, image_size=96,
                                                                patch_size=4, **_classes(3))),
    "one_patch": dict(seed=4, batches=(1, 17), config=_config("vit", VIT, hidden_size=24, num_attention_heads=1, intermediate_size=40, image_size=5, patch_size=5,
                                                            num_channels=2, hidden_act="quick_gelu", **_classes(1))),
    "new_names": dict(seed=5, batches=(3,), scheme="current", config=_config("vit", VIT, hidden_size=48, intermediate_size=64, image_size=[16, 8],
                                                                         patch_size=[8, 4], hidden_act="silu", qkv_bias=False, **_classes(4))),
    "relu_sharded": dict(seed=6, batches=(3,), files=3, config=_config("vit", VIT, hidden_size=64, intermediate_size=100, image_size=32, patch_size=16,
                                                                   hidden_act="relu", **_classes(10))),
    "wide_heads": dict(seed=7, batches=(3,), config=_config("vit", VIT, hidden_size=40, head_dim=32, num_attention_heads=3, intermediate_size=80, image_size=16,
                                                          patch_size=8, hidden_act="gelu_new", **_classes(6))),
    "bf16_stored": dict(seed=8, batches=(3,), dtype="bfloat16", config=_config("vit", VIT, hidden_size=48, intermediate_size=72, image_size=16, patch_size=8,
                                                                           **_classes(6))),
    "pooler": dict(seed=9, batches=(3,), config=_config("vit", "ViTModel", hidden_size=32, intermediate_size=48, image_size=16, patch_size=8,
                                                      pooler_output_size=20)),
    "deit": dict(seed=10, batches=(3,), config=_config("deit", DEIT, hidden_size=48, intermediate_size=96, image_size=24, patch_size=8, **_classes(9))),
    "deit_teacher": dict(seed=11, batches=(1, 3), config=_config("deit", TEACHER, hidden_size=48, intermediate_size=96, image_size=24, patch_size=8,
                                                              **_classes(9))),
}
LEGACY_NAMES = {"attention.q_proj": "attention.attention.query", "attention.k_proj": "attention.attention.key", "attention.v_proj": "attention.attention.value",
                "attention.o_proj": "attention.output.dense", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}


def shapes(config):
    """Tensor names (the newer scheme, without the family's prefix where it is the classifier's) and shapes of a configuration."""
    pair = lambda value: value if isinstance(value, list) else [value, value]
    d, mlp, channels = config["hidden_size"], config["intermediate_size"], config["num_channels"]
    inner = config.get("head_dim", d // config["num_attention_heads"]) * config["num_attention_heads"]
    (h, w), (ph, pw) = pair(config["image_size"]), pair(config["patch_size"])
    architecture = config["architectures"][0]
    prefix = "" if architecture.endswith("Model") else config["model_type"] + "."
    deit = config["model_type"] == "deit"
    found = {f"{prefix}embeddings.cls_token": (1, 1, d)}
    if deit:
        found[f"{prefix}embeddings.distillation_token"] = (1, 1, d)
    found[f"{prefix}embeddings.position_embeddings"] = (1, (h // ph) * (w // pw) + 1 + deit, d)
    found[f"{prefix}embeddings.patch_embeddings.projection.weight"] = (d, channels, ph, pw)
    found[f"{prefix}embeddings.patch_embeddings.projection.bias"] = (d,)

    def affine(name, out, inputs, bias=True):
        found[f"{name}.weight"] = (out, inputs)
        if bias:
            found[f"{name}.bias"] = (out,)

    for layer in range(config["num_hidden_layers"]):
        base = f"{prefix}layers.{layer}."
        for part in "qkv":
            affine(f"{base}attention.{part}_proj", inner, d, config["qkv_bias"])
        affine(f"{base}attention.o_proj", d, inner)
        affine(f"{base}mlp.fc1", mlp, d)
        affine(f"{base}mlp.fc2", d, mlp)
        if "mlp_gate" in config:
            affine(f"{base}mlp.gate", mlp // config["mlp_gate"]["block"], d)
        for norm in ("layernorm_before", "layernorm_after"):
            found[f"{base}{norm}.weight"], found[f"{base}{norm}.bias"] = (d,), (d,)
    found[f"{prefix}layernorm.weight"], found[f"{prefix}layernorm.bias"] = (d,), (d,)
    classes = len(config.get("id2label", {}))
    if architecture == TEACHER:
        affine("cls_classifier", classes, d)
        affine("distillation_classifier", classes, d)
    elif architecture.endswith("Model"):
        affine("pooler.dense", config.get("pooler_output_size", d), d)
    else:
        affine("classifier", classes, d)
    return found


def tensors(name):
    """The model's float32 tensors under the names of the newer scheme. Norms near 1, matrices that keep the variance."""
    spec = MODELS[name]
    result = {}
    for i, (tensor, shape) in enumerate(shapes(spec["config"]).items()):
        if "layernorm" in tensor and tensor.endswith("weight"):
            value = 1 + normal(spec["seed"] * 1000 + i, shape, 0.2)
        elif tensor.endswith("weight"):
            value = normal(spec["seed"] * 1000 + i, shape, float(np.prod(shape[1:])) ** -0.5 * 1.2)
        else:
            value = normal(spec["seed"] * 1000 + i, shape, 0.3)
        if spec.get("dtype") == "bfloat16":
            import ml_dtypes
            value = value.astype(ml_dtypes.bfloat16).astype(np.float32)
        result[tensor] = value
    return result


def stored_name(name, scheme):
    """The name of a tensor in a file of that scheme."""
    if scheme == "current" or "layers." not in name:
        return name
    head, tail = name.split("layers.", 1)
    number, rest = tail.split(".", 1)
    for new, old in LEGACY_NAMES.items():
        rest = rest.replace(new, old)
    return f"{head}encoder.layer.{number}.{rest}"


def write_folder(name, folder):
    """Writes the model as a Hugging Face folder and returns its path."""
    from safetensors.numpy import save_file

    spec, folder = MODELS[name], Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(spec["config"], indent=2) + "\n", encoding="utf-8")
    values = {stored_name(k, spec.get("scheme", "legacy")): v for k, v in tensors(name).items()}
    if spec.get("dtype") == "bfloat16":
        import ml_dtypes
        values = {k: v.astype(ml_dtypes.bfloat16) for k, v in values.items()}
    count, names = spec.get("files", 1), sorted(values)
    if count == 1:
        save_file(values, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    weight_map = {}
    for i in range(count):
        part, file = names[i::count], f"model-{i + 1:05}-of-{count:05}.safetensors"
        save_file({k: values[k] for k in part}, folder / file, metadata={"format": "pt"})
        weight_map |= {k: file for k in part}
    index = {"metadata": {"total_size": sum(v.nbytes for v in values.values())}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return folder


def pixels(name, batch):
    """Input of a model: [batch, C, H, W] float32."""
    config = MODELS[name]["config"]
    size = config["image_size"] if isinstance(config["image_size"], list) else [config["image_size"]] * 2
    return normal(MODELS[name]["seed"] * 1000 + 900 + batch, (batch, config["num_channels"], *size))


def digest(name):
    """SHA-256 over the model's tensors: golden files carry it, so that a change of the generator is noticed as such."""
    total = hashlib.sha256()
    for key, value in sorted(tensors(name).items()):
        total.update(key.encode() + value.tobytes())
    return total.hexdigest()


def write_vit(folder, seed, hidden, heads, layers=12, mlp=None, gain=1.0, gate=None):
    """A ViT of real size (224 x 224, patch 16, 1,000 classes; config.json and model.safetensors) with lively weights; returns the generator, to go on with.

    gain: of the matrices' scale 1 / sqrt(inputs). gate: blocks of its MLPs and how many of them are on for a token.
    """
    from safetensors.numpy import save_file

    config = _config("vit", VIT, hidden_size=hidden, num_attention_heads=heads, intermediate_size=mlp or 4 * hidden, num_hidden_layers=layers, image_size=224,
                     patch_size=16, **_classes(1000))
    if gate:
        config["mlp_gate"] = {"type": "topk_block", "block": config["intermediate_size"] // gate[0], "k": gate[1]}
    generator = np.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes(config).items():
        value = generator.standard_normal(shape, dtype=np.float32)
        if name.endswith("weight"):
            value = 1 + value * np.float32(0.2) if "layernorm" in name else value * np.float32(np.prod(shape[1:]) ** -0.5 * gain)
        else:
            value *= np.float32(0.3)
        tensors[stored_name(name, "legacy")] = value
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return generator
