"""A ViT in PyTorch whose modules have the names of Hugging Face's checkpoints; transformers' own model does as well."""
import json
from pathlib import Path

from safetensors.torch import load_file
import torch
from torch import nn
from torch.nn import functional


class Parts(nn.Module):
    """Modules by name."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class Layer(nn.Module):
    """One encoder block: [B, T, D] to [B, T, D]."""

    def __init__(self, width, heads, mlp, epsilon):
        super().__init__()
        self.heads = heads
        self.attention = Parts(attention=Parts(query=nn.Linear(width, width), key=nn.Linear(width, width), value=nn.Linear(width, width)),
                               output=Parts(dense=nn.Linear(width, width)))
        self.intermediate, self.output = Parts(dense=nn.Linear(width, mlp)), Parts(dense=nn.Linear(mlp, width))
        self.layernorm_before, self.layernorm_after = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)

    def forward(self, x):
        batch, tokens, width = x.shape
        y, a = self.layernorm_before(x), self.attention.attention
        q, k, v = (part(y).reshape(batch, tokens, self.heads, -1).transpose(1, 2) for part in (a.query, a.key, a.value))
        y = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.attention.output.dense(y)
        return x + self.output.dense(functional.gelu(self.intermediate.dense(self.layernorm_after(x))))


class ViT(nn.Module):
    """ViTForImageClassification of a folder: [B, C, H, W] to logits."""

    def __init__(self, folder):
        super().__init__()
        c = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        width, patch = c["hidden_size"], c["patch_size"]
        tokens = (c["image_size"] // patch)**2 + 1
        embeddings = Parts(patch_embeddings=Parts(projection=nn.Conv2d(c["num_channels"], width, patch, patch)))
        embeddings.cls_token, embeddings.position_embeddings = nn.Parameter(torch.zeros(1, 1, width)), nn.Parameter(torch.zeros(1, tokens, width))
        layers = nn.ModuleList(Layer(width, c["num_attention_heads"], c["intermediate_size"], c["layer_norm_eps"]) for _ in range(c["num_hidden_layers"]))
        self.vit = Parts(embeddings=embeddings, encoder=Parts(layer=layers), layernorm=nn.LayerNorm(width, c["layer_norm_eps"]))
        self.classifier = nn.Linear(width, len(c["id2label"]))
        self.load_state_dict(load_file(Path(folder) / "model.safetensors"))

    def forward(self, x):
        e = self.vit.embeddings
        x = e.patch_embeddings.projection(x).flatten(2).transpose(1, 2)
        x = torch.cat([e.cls_token.expand(len(x), -1, -1), x], 1) + e.position_embeddings
        for layer in self.vit.encoder.layer:
            x = layer(x)
        return self.classifier(self.vit.layernorm(x)[:, 0])
