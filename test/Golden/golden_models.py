"""Golden outputs of the seeded models and of the trained MNIST models, by transformers in float64 and float32."""
import gzip
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import transformers

import seeded


class GatedMLP(nn.Module):
    """MLP whose hidden units come in blocks: the k blocks of highest score are kept, weighted by the score's sigmoid."""

    def __init__(self, mlp, hidden, inter, block, k):
        super().__init__()
        self.fc1, self.fc2, self.activation_fn = mlp.fc1, mlp.fc2, mlp.activation_fn
        self.gate, self.block, self.k = nn.Linear(hidden, inter // block), block, k

    def forward(self, x):
        score = self.gate(x)
        keep = torch.zeros_like(score).scatter_(-1, score.topk(self.k, dim=-1).indices, 1.0)
        hidden = self.activation_fn(self.fc1(x)).unflatten(-1, (-1, self.block))
        return self.fc2((hidden * (torch.sigmoid(score) * keep)[..., None]).flatten(-2))


def build(folder):
    """A transformers model from a folder, with the fixtures' extensions (mlp_gate, layer_share_map)."""
    from safetensors.torch import load_file

    values = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    architecture = values["architectures"][0]
    if "mlp_gate" not in values and "layer_share_map" not in values:
        return getattr(transformers, architecture).from_pretrained(folder).eval()
    config = transformers.ViTConfig.from_pretrained(folder)
    model = transformers.ViTForImageClassification(config)
    state = load_file(Path(folder) / "model.safetensors")
    if "mlp_gate" in values:
        for layer in model.vit.layers:
            layer.mlp = GatedMLP(layer.mlp, config.hidden_size, config.intermediate_size, values["mlp_gate"]["block"], values["mlp_gate"]["k"])
    else:
        back = {old: new for new, old in seeded.LEGACY_NAMES.items()}
        named = {}
        for name, value in state.items():
            name = name.replace("encoder.layer.", "layers.")
            for old, new in back.items():
                if "layers." in name and f".{old}." in name and f".{new}." not in name:
                    name = name.replace(f".{old}.", f".{new}.")
                    break
            named[name] = value
        shared = values["layer_share_map"]
        for layer, source in enumerate(shared):
            named |= {name.replace(f"layers.{source}.", f"layers.{layer}."): value for name, value in list(named.items()) if f"layers.{source}." in name}
        state = named
    model.load_state_dict(state)
    return model.eval()


def answer(model, x):
    out = model(pixel_values=x)
    return out.logits if "logits" in out else out.pooler_output


def seeded_models(here):
    for name, spec in seeded.MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            model = build(seeded.write_folder(name, folder))
        own = model.state_dict()
        for key, value in seeded.tensors(name).items():  # transformers' own renaming must have found every tensor
            assert torch.equal(own[key].float(), torch.from_numpy(value)), key
        arrays = {"digest": np.frombuffer(bytes.fromhex(seeded.digest(name)), np.uint8)}
        for batch in spec["batches"]:
            x = torch.from_numpy(seeded.pixels(name, batch))
            arrays[f"y{batch}"] = answer(model.double(), x.double()).to(torch.float32).numpy()
            if spec.get("dtype") != "bfloat16":
                arrays[f"float32_error{batch}"] = np.float64((answer(model.float(), x).double() - answer(model.double(), x.double())).abs().max())
        yield name, arrays


def idx(path):
    data = gzip.open(path).read()
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, 4).astype(int)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def mnist_models(here):
    """Logits of all 10,000 test digits, as the answers (uint8) and the gap between the best two logits (float32)."""
    images, labels = idx(here / "mnist" / "t10k-images-idx3-ubyte.gz"), idx(here / "mnist" / "t10k-labels-idx1-ubyte.gz")
    x = (torch.from_numpy(images.copy())[:, None].float() / 255 - 0.1307) / 0.3081
    folders = {"gelu_rescaled": here.parents[1] / "examples" / "mnist" / "vit_mnist_gelu_rescaled"}
    folders |= {name: here / f"vit_mnist_{name}" for name in ("relu_l1", "gated", "shared_compact")}
    for name, folder in folders.items():
        model = build(folder)
        logits = torch.cat([answer(model, part) for part in x.split(1000)])
        top = logits.topk(2, dim=-1)
        exact = answer(model.double(), x[:64].double())
        print(name, (logits.argmax(-1).numpy() == labels).mean())
        yield f"mnist_{name}", {"answers": top.indices[:, 0].to(torch.uint8).numpy(), "margin": (top.values[:, 0] - top.values[:, 1]).numpy(),
                                "logits64": exact.float().numpy()}


def write(here):
    for name, arrays in [*seeded_models(here), *mnist_models(here)]:
        (here / "models").mkdir(exist_ok=True)
        np.savez_compressed(here / "models" / f"{name}.npz", **arrays)
