"""The models of models.py in plain PyTorch, as one would write them: fused qkv is left to the compiler, attention is the library's."""
import json

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, width, heads, epsilon):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    def __init__(self, folder):
        super().__init__()
        config = json.loads((folder / "config.json").read_text())
        weights = load_file(folder / "model.safetensors")
        width, root, epsilon = config["hidden_size"], config["model_type"], config["layer_norm_eps"]
        at = f"{root}.embeddings"
        self.patch = nn.Conv2d(3, width, config["patch_size"], config["patch_size"])
        prefix = [weights[f"{at}.{name}"] for name in ("cls_token", "distillation_token") if f"{at}.{name}" in weights]
        self.prefix, self.positions = nn.Parameter(torch.cat(prefix, 1)), nn.Parameter(weights[f"{at}.position_embeddings"])
        self.blocks = nn.ModuleList(Block(width, config["num_attention_heads"], epsilon) for _ in range(config["num_hidden_layers"]))
        self.norm, self.head = nn.LayerNorm(width, epsilon), nn.Linear(width, len(config["id2label"]))

        def take(module, *names):
            for part in ("weight", "bias"):
                getattr(module, part).data = torch.cat([weights[f"{name}.{part}"] for name in names])

        take(self.patch, f"{at}.patch_embeddings.projection")
        for i, block in enumerate(self.blocks):
            layer = f"{root}.encoder.layer.{i}"
            take(block.qkv, *(f"{layer}.attention.attention.{part}" for part in ("query", "key", "value")))
            for module, name in ((block.out, "attention.output.dense"), (block.fc1, "intermediate.dense"), (block.fc2, "output.dense"),
                                 (block.norm1, "layernorm_before"), (block.norm2, "layernorm_after")):
                take(module, f"{layer}.{name}")
        take(self.norm, f"{root}.layernorm")
        take(self.head, "classifier")

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.prefix.expand(x.shape[0], -1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])
