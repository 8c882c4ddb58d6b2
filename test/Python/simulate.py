"""An independent simulation of the models in numpy: float64, or the FP8 scheme that the compiler claims to carry out.

It shares no code with the importer or the compiler: it reads the checkpoint's tensors under the newer naming scheme and follows the formulas of the papers.
The FP8 scheme: linears of the blocks take E4M3 inputs with one static scale a tensor (amax / 448 over the calibration images) and E4M3 weights with one scale
an output channel; their sums are exact; everything between linears that the scheme keeps in bf16 is rounded to it; the residual stream stays float32.
"""
import math

import ml_dtypes
import numpy as np

erf = np.vectorize(math.erf, otypes=[float])
ACT = {
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)), "silu": lambda x: x / (1 + np.exp(-x)), "relu": lambda x: np.maximum(x, 0), "tanh": np.tanh,
}
ACT["gelu_pytorch_tanh"] = ACT["gelu_new"]


def e4m3(x):
    """Nearest E4M3 value, saturating at 448."""
    return np.clip(x, -448, 448).astype(np.float32).astype(ml_dtypes.float8_e4m3fn).astype(np.float64)


def i8(x):
    """Nearest whole number, saturating at 127."""
    return np.rint(np.clip(x, -127, 127))


def bf16(x):
    return np.asarray(x, np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)


class Model:
    """A ViT or DeiT from its config.json values and its tensors (names of the newer scheme, with or without the family's prefix)."""

    def __init__(self, config, tensors):
        self.config = config
        self.tensors = {name.removeprefix(config["model_type"] + "."): value.astype(np.float64) for name, value in tensors.items()}

    def run(self, pixels, scheme="f64", ranges=None):
        """The answer [batch, classes]. scheme: f64, bf16, fp8, fp8 without scales, int8 (by token after norms, by tensor elsewhere), int8 static or int8 token. ranges: amax by the name of each linear's input; filled where a name is missing."""
        self.scheme, self.ranges = scheme, {} if ranges is None else ranges
        self.calibrating = scheme == "f64"
        c, t = self.config, self.tensors
        x = self.embed(pixels.astype(np.float64))
        share = c.get("layer_share_map", list(range(c["num_hidden_layers"])))
        for layer, source in enumerate(share):
            x = self.block(x, f"layers.{source}.", f"b{layer}")
        x = self.norm(x, "layernorm")
        architecture = c["architectures"][0]
        if architecture.endswith("Model"):
            return ACT[c["pooler_act"]](self.plain(x[:, 0], "pooler.dense"))
        if architecture.endswith("WithTeacher"):
            return (self.plain(x[:, 0], "cls_classifier") + self.plain(x[:, 1], "distillation_classifier")) / 2
        return self.plain(x[:, 0], "classifier")

    def low(self, x):
        """What the scheme keeps in 16 bits."""
        return x if self.scheme == "f64" else bf16(x)

    def plain(self, x, name):
        """A linear that is not quantised: 16-bit operands unless the scheme is f64."""
        return self.low(x) @ self.low(self.tensors[f"{name}.weight"]).T + self.tensors[f"{name}.bias"]

    def linear(self, x, name, label):
        if self.calibrating:
            self.ranges[label] = max(self.ranges.get(label, 0.0), float(np.abs(x).max()))
        w, b = self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias", 0.0)
        if self.scheme == "fp8 without scales":
            return e4m3(x) @ e4m3(w).T + b
        if self.scheme.startswith("int8"):
            token = self.scheme == "int8 token" or (self.scheme == "int8" and label.endswith((".qkv", ".fc1")))
            scale = np.abs(x).max(-1, keepdims=True) / 127 if token else np.full(1, self.ranges[label] / 127)
            channel = np.abs(w).max(1, keepdims=True) / 127
            scale[scale == 0], channel[channel == 0] = 1.0, 1.0
            return (i8(x / scale) @ i8(w / channel).T) * scale * channel[:, 0] + b
        if self.scheme != "fp8":
            return self.low(x) @ self.low(w).T + b
        scale = self.ranges[label] / 448 or 1.0
        channel = np.abs(w).max(1, keepdims=True) / 448
        channel[channel == 0] = 1.0
        return (e4m3(x / scale) @ e4m3(w / channel).T) * (scale * channel[:, 0]) + b

    def norm(self, x, name):
        mean = x.mean(-1, keepdims=True)
        var = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) / np.sqrt(var + self.config.get("layer_norm_eps", 1e-12)) * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def embed(self, pixels):
        w, b = self.tensors["embeddings.patch_embeddings.projection.weight"], self.tensors["embeddings.patch_embeddings.projection.bias"]
        n, channels, height, width = pixels.shape
        d, _, ph, pw = w.shape
        patches = pixels.reshape(n, channels, height // ph, ph, width // pw, pw).transpose(0, 2, 4, 1, 3, 5).reshape(n, -1, channels * ph * pw)
        x = self.low(patches) @ self.low(w.reshape(d, -1)).T + b
        prefix = [np.broadcast_to(self.tensors[f"embeddings.{name}"], (n, 1, d)) for name in ("cls_token", "distillation_token")
                  if f"embeddings.{name}" in self.tensors]
        return np.concatenate([*prefix, x], 1) + self.tensors["embeddings.position_embeddings"]

    def block(self, x, name, label):
        c = self.config
        heads = c["num_attention_heads"]
        h = self.norm(x, f"{name}layernorm_before")
        split = lambda y: self.low(y).reshape(*y.shape[:2], heads, -1).transpose(0, 2, 1, 3)
        q, k, v = (split(self.linear(h, f"{name}attention.{part}_proj", f"{label}.qkv")) for part in "qkv")
        scores = q @ k.transpose(0, 1, 3, 2) * q.shape[-1] ** -0.5
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        a = (p @ v).transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1)
        x = x + self.linear(a, f"{name}attention.o_proj", f"{label}.proj")
        h = self.norm(x, f"{name}layernorm_after")
        m = ACT[c["hidden_act"]](self.linear(h, f"{name}mlp.fc1", f"{label}.fc1"))
        if "mlp_gate" in c:
            block, k = c["mlp_gate"]["block"], c["mlp_gate"]["k"]
            score = self.linear(h, f"{name}mlp.gate", f"{label}.gate")
            keep = np.argsort(np.argsort(-score, axis=-1, kind="stable"), axis=-1, kind="stable") < k
            m = m * np.repeat(keep / (1 + np.exp(-score)), block, axis=-1)
        return x + self.linear(m, f"{name}mlp.fc2", f"{label}.fc2")


def load(folder):
    """Model of a folder with one safetensors file, in either naming scheme."""
    import json

    import seeded
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    tensors = {}
    for name, value in load_file(folder / "model.safetensors").items():
        if "encoder.layer." in name:
            name = name.replace("encoder.layer.", "layers.")
            for new, old in seeded.LEGACY_NAMES.items():
                if f".{old}." in name and not (old == "output.dense" and "attention.output" in name):
                    name = name.replace(f".{old}.", f".{new}.")
                    break
        tensors[name] = value
    return Model(config, tensors)
