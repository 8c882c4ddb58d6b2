"""Small seeded vision towers of three families, written as vit modules with their checkpoint, each step beside its numpy f64 value.

DINOv2 (Oquab et al., 2023; registers: Darcet et al., 2023), SigLIP (Zhai et al., 2023) and the vision tower of CLIP (Radford et al., 2021). What a module
computes is said twice, once as text and once in numpy by the papers' formulas, and the two share no code with the compiler.
"""
import json
import math

import numpy as np
from vit_generator import tensor, write_safetensors

erf = np.vectorize(math.erf, otypes=[float])
ACTS = {"gelu_erf": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))), "silu": lambda x: x / (1 + np.exp(-x)), "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
        "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))}


class Value:
    """An SSA value, its type, and what it is for the model's images."""

    def __init__(self, name, kind, array):
        self.name, self.kind, self.array = name, kind, array


class Tower:
    """Writes a tower step by step. Rows of all images lie one after the other; `tokens` of them are an image's."""

    def __init__(self, seed, images, channels, height, width):
        self.rng = np.random.default_rng(seed)
        self.tensors, self.weights, self.lines, self.values, self.images = {}, [], [], {}, images
        self.inputs = [self.rng.standard_normal((images, channels, height, width)).astype(np.float32)]
        self.pixels = Value("%pixels", f"tensor<?x{channels}x{height}x{width}xf32>", self.inputs[0].astype(np.float64))
        self.arguments = [f'%pixels: {self.pixels.kind} {{vit.name = "pixels", vit.dims = [#vit.dim<"images", 1, 1, 64>]}}']

    def weight(self, name, shape, rows=None, around=0.0, scale=None):
        """A tensor of the checkpoint, or rows [first, last) of one that was read before."""
        if name not in self.tensors:
            scale = scale or (0.3 if len(shape) == 1 else 1.2 * shape[-1] ** -0.5)
            self.tensors[name] = (around + self.rng.standard_normal(shape) * scale).astype(np.float32)
        array, kind = self.tensors[name], tensor(*shape)
        symbol, text = name, f'  %0 = vit.read @ckpt "{name}" : {kind}\n  vit.yield %0 : {kind}\n'
        if rows:
            array, whole, kind = array[rows[0]:rows[1]], kind, tensor(rows[1] - rows[0], *shape[1:])
            symbol = f"{name}.{rows[0]}"
            text = (f'  %0 = vit.read @ckpt "{name}" : {whole}\n  %1 = vit.slice %0 axis 0 from {rows[0]} to {rows[1]} : {whole} -> {kind}\n'
                    f"  vit.yield %1 : {kind}\n")
        self.weights.append(f"vit.weight @{symbol} : {kind} {{\n{text}}}")
        return self.emit(f"vit.get @{symbol} : {kind}", kind, array.astype(np.float64))

    def emit(self, text, kind, array, layer=None):
        value = Value(f"%v{len(self.lines)}", kind, array)
        self.lines.append(f"  {value.name} = {text}")
        if layer:
            self.values[layer] = array
        return value

    def argument(self, name, array, element):
        kind = f"tensor<?x{'x'.join(map(str, array.shape[1:]))}x{element}>"
        self.inputs.append(array)
        self.arguments.append(f'%{name}: {kind} {{vit.name = "{name}", vit.dims = [#vit.dim<"rows", 1, 1, 4096>]}}')
        return Value(f"%{name}", kind, array)

    @staticmethod
    def bias_of(b):
        if b is None:
            return ""
        return (f" epilogue({b.name} [(m, n) -> (n)] : {b.kind}) group 1 {{\n    ^bb0(%acc: f32, %bias: f32):\n      %r = arith.addf %acc, %bias : f32\n"
                "      vit.yield %r : f32\n    }")

    def patches(self, d, patch, bias=True):
        b, c, h, w = self.pixels.array.shape
        x = self.pixels.array.reshape(b, c, h // patch, patch, w // patch, patch).transpose(0, 2, 4, 1, 3, 5).reshape(-1, c * patch * patch)
        weight = self.weight("patch.w", (d, c * patch * patch))
        bias = self.weight("patch.b", (d,)) if bias else None
        kind = tensor("?", d)
        return self.emit(f'vit.patch_embed {self.pixels.name}, {weight.name} patch {patch} x {patch} layers ["embed.patch"] : {self.pixels.kind}, {weight.kind} -> '
                         f"{kind}{self.bias_of(bias)}", kind, x @ weight.array.T + (bias.array if bias else 0), "embed.patch")

    def tokens(self, x, prefix=None, registers=None, position=None):
        own = len(x.array) // self.images
        parts, text = [], f"vit.assemble_tokens {x.name}"
        for name, table in (("prefix", prefix), ("registers", registers), ("position", position)):
            text += f" {name}({table.name} : {table.kind})" if table else ""
        for image in x.array.reshape(self.images, own, -1):
            first = prefix.array if prefix else image[:0]
            if position:
                first, image = first + position.array[:len(first)], image + position.array[len(first):]
            parts += [first, registers.array if registers else image[:0], image]
        return self.emit(f'{text} uniform {own} layers ["embed.tokens"] : {x.kind} -> {x.kind}', x.kind, np.concatenate(parts), "embed.tokens")

    def norm(self, x, layer, eps):
        d = x.array.shape[1]
        g, b = self.weight(f"{layer}.g", (d,), around=1.0, scale=0.2), self.weight(f"{layer}.b", (d,))
        centred = x.array - x.array.mean(1, keepdims=True)
        y = centred / np.sqrt((centred**2).mean(1, keepdims=True) + eps) * g.array + b.array
        return self.emit(f'vit.norm layer {x.name} gamma({g.name} : {g.kind}) beta({b.name} : {b.kind}) eps {eps:.1e} layers ["{layer}"] : {x.kind} -> {x.kind}',
                         x.kind, y, layer)

    def linear(self, x, n, layer, bias=True, packed=None):
        """`packed`: (name, its rows in all, which of them) where several linears are one tensor."""
        k = x.array.shape[1]
        name, total, first = packed or (layer, n, 0)
        rows = (first, first + n) if packed else None
        w = self.weight(f"{name}.w", (total, k), rows)
        b = self.weight(f"{name}.b", (total,), rows) if bias else None
        kind = tensor("?" if x.kind.startswith("tensor<?") else len(x.array), n)
        return self.emit(f'vit.linear {x.name}, {w.name} layers ["{layer}"] : {x.kind}, {w.kind} -> {kind}{self.bias_of(b)}', kind,
                         x.array @ w.array.T + (b.array if bias else 0), layer)

    def act(self, x, kind, layer):
        return self.emit(f'vit.act {kind} {x.name} layers ["{layer}"] : {x.kind}', x.kind, ACTS[kind](x.array), layer)

    def residual(self, x, y, layer, scale=None):
        scaled = f" scale({scale.name} : {scale.kind})" if scale else ""
        return self.emit(f'vit.residual {x.name}, {y.name}{scaled} layers ["{layer}"] : {x.kind}, {y.kind} -> {x.kind}', x.kind,
                         x.array + y.array * (scale.array if scale else 1), layer)

    def attention(self, q, k, v, heads, layer, probe=False):
        """Within images; a probe is one query for each."""
        keys, d = len(k.array) // self.images, q.array.shape[1]
        split = lambda x: x.array.reshape(-1, keys if x is not q or not probe else 1, heads, d // heads).transpose(0, 2, 1, 3)
        queries = np.broadcast_to(split(q), (self.images, heads, 1 if probe else keys, d // heads))
        scores = queries @ split(k).transpose(0, 1, 3, 2) * (d // heads) ** -0.5
        p = np.exp(scores - scores.max(-1, keepdims=True))
        y = (p / p.sum(-1, keepdims=True) @ split(v)).transpose(0, 2, 1, 3).reshape(-1, d)
        where = f"uniform 1 kv_uniform {keys}" if probe else f"uniform {keys}"
        kind = tensor("?", d)
        return self.emit(f'vit.attention {q.name}, {k.name}, {v.name} heads {heads} kv_heads {heads} scale {(d // heads) ** -0.5!r} {where} layers ["{layer}"] : '
                         f"{q.kind}, {k.kind}, {v.kind} -> {kind}", kind, y, layer)

    def pool(self, x, how, layer):
        own = len(x.array) // self.images
        rows = x.array.reshape(self.images, own, -1)
        return self.emit(f'vit.pool {how} 0 {x.name} uniform {own} layers ["{layer}"] : {x.kind} -> {x.kind}', x.kind,
                         rows.mean(1) if how == "mean" else rows[:, 0], layer)

    def block(self, x, number, heads, mlp, act, eps, layer_scale=False, swiglu=False):
        d, b = x.array.shape[1], f"b{number}"
        scale = lambda which: self.weight(f"{b}.{which}", (d,), scale=0.5) if layer_scale else None
        h = self.norm(x, f"{b}.ln1", eps)
        q, k, v = (self.linear(h, d, f"{b}.{part}") for part in "qkv")
        y = self.linear(self.attention(q, k, v, heads, f"{b}.attn"), d, f"{b}.proj")
        x = self.residual(x, y, f"{b}.res1", scale("ls1"))
        h = self.norm(x, f"{b}.ln2", eps)
        if swiglu:  # gate, then up, in one tensor
            gate, up = (self.linear(h, mlp, f"{b}.{part}", packed=(f"{b}.in", 2 * mlp, i * mlp)) for i, part in enumerate(("gate", "up")))
            h = self.emit(f'vit.glu silu {gate.name}, {up.name} layers ["{b}.act"] : {gate.kind}, {up.kind} -> {gate.kind}', gate.kind,
                          ACTS["silu"](gate.array) * up.array, f"{b}.act")
        else:
            h = self.act(self.linear(h, mlp, f"{b}.fc1"), act, f"{b}.act")
        return self.residual(x, self.linear(h, d, f"{b}.fc2"), f"{b}.res2", scale("ls2"))

    def write(self, folder, result):
        """model.mlir, its checkpoint, ranges.json and the inputs' .npy; the oracle's answer is result.array."""
        size, digest = write_safetensors(folder / "model.safetensors", self.tensors)
        self.values["pixels"] = self.inputs[0]
        amax = {name: float(np.abs(array).max()) for name, array in self.values.items()}
        (folder / "ranges.json").write_text(json.dumps(
            {"format": 1, "method": "amax", "images": self.images, "values": {name: {"amax": a, "range": a} for name, a in amax.items()}}))
        (folder / "model.mlir").write_text(
            f'vit.source @ckpt path "model.safetensors" size {size} header_sha256 "{digest}"\n' + "\n".join(self.weights) +
            f'\nfunc.func @forward({", ".join(self.arguments)}) -> ({result.kind} {{vit.name = "embedding"}}) {{\n' + "\n".join(self.lines) +
            f"\n  return {result.name} : {result.kind}\n}}\n")
        for i, array in enumerate(self.inputs):
            np.save(folder / f"i{i}.npy", array)
        return result.array


def bicubic(table, side, down, across):
    """Indices [rows, 16] and weights of a table of side x side positions at down x across places, by Keys' kernel with a = -0.75."""
    def taps(size):
        at = (np.arange(size) + 0.5) * side / size - 0.5
        first = np.floor(at).astype(int)
        t = np.abs(at - first - np.arange(-1, 3)[:, None])
        near, far = (1.25 * t - 2.25) * t * t + 1, ((-0.75 * t + 3.75) * t - 6) * t + 3
        return np.clip(first + np.arange(-1, 3)[:, None], 0, side - 1).T, np.where(t <= 1, near, far).T
    (iy, wy), (ix, wx) = taps(down), taps(across)
    index = (iy[:, None, :, None] * side + ix[None, :, None, :]).reshape(-1, 16)
    weights = (wy[:, None, :, None] * wx[None, :, None, :]).reshape(-1, 16)
    return index.astype(np.int32), weights.astype(np.float32), np.einsum("nt,ntd->nd", weights, table[index])


def dinov2(folder, images, swiglu=False, down=5, across=3, seed=1):
    """Class token, four registers after the positions, LayerScale; positions of a 4 x 4 table resized to an oblong image."""
    d, heads, side = 96, 2, 4
    t = Tower(seed, images, 3, 14 * down, 14 * across)
    x, table = t.patches(d, 14), t.weight("embed.pos", (side * side, d))
    index, weights, where = bicubic(table.array, side, down, across)
    i, w = (t.argument(name, np.tile(a, (images, 1)), element) for name, a, element in (("index", index, "i32"), ("taps", weights, "f32")))
    p = t.emit(f'vit.pos_gather {table.name}, {i.name}, {w.name} layers ["embed.pos"] : {table.kind}, {i.kind}, {w.kind} -> {x.kind}', x.kind,
               np.tile(where, (images, 1)), "embed.pos")
    x = t.residual(x, p, "embed.sum")
    x = t.tokens(x, t.weight("embed.cls", (1, d)), t.weight("embed.registers", (4, d)))
    mlp = (int(d * 4 * 2 / 3) + 7) // 8 * 8 if swiglu else 4 * d
    for number in range(2):
        x = t.block(x, number, heads, mlp, "gelu_erf", 1e-6, layer_scale=True, swiglu=swiglu)
    return t.write(folder, t.pool(t.norm(x, "ln", 1e-6), "token", "pool"))


def siglip(folder, images, head=True, seed=2):
    """No class token, heads of 72; a probe attends to all tokens and goes through an MLP, or their mean is taken."""
    d, heads = 144, 2
    t = Tower(seed, images, 3, 48, 80)
    x = t.patches(d, 16)
    x = t.tokens(x, position=t.weight("embed.pos", (15, d)))
    for number in range(2):
        x = t.block(x, number, heads, 200, "gelu_tanh", 1e-6)
    x = t.norm(x, "ln", 1e-6)
    if not head:
        return t.write(folder, t.pool(x, "mean", "pool"))
    probe = t.weight("head.probe", (1, d))
    q, k, v = (t.linear(source, d, f"head.{part}", packed=("head.in", 3 * d, i * d)) for i, (part, source) in enumerate((("q", probe), ("k", x), ("v", x))))
    x = t.linear(t.attention(q, k, v, heads, "head.attn", probe=True), d, "head.proj")
    h = t.act(t.linear(t.norm(x, "head.ln", 1e-6), 200, "head.fc1"), "gelu_tanh", "head.act")
    return t.write(folder, t.residual(x, t.linear(h, d, "head.fc2"), "head.res"))


def clip(folder, images, seed=3):
    """Patches without a bias, a class embedding, a norm before the first block, quick GELU, a projection without a bias."""
    d, heads = 128, 2
    t = Tower(seed, images, 3, 80, 48)
    x = t.tokens(t.patches(d, 16, bias=False), prefix=t.weight("embed.cls", (1, d)), position=t.weight("embed.pos", (16, d)))
    x = t.norm(x, "pre", 1e-5)
    for number in range(2):
        x = t.block(x, number, heads, 4 * d, "quick_gelu", 1e-5)
    return t.write(folder, t.linear(t.norm(t.pool(x, "token", "pool"), "post", 1e-5), 64, "projection", bias=False))


FAMILIES = {"dinov2": dinov2, "dinov2_swiglu": lambda folder, images: dinov2(folder, images, swiglu=True, down=3, across=5, seed=4), "siglip": siglip,
            "siglip_mean": lambda folder, images: siglip(folder, images, head=False, seed=5), "clip": clip}
