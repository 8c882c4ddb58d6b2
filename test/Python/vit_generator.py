"""Random small modules over all ops of the vit dialect: text, a checkpoint, and inputs, for tests that compare meanings.

A module starts from hidden states or from images, takes a number of random steps that keep [rows, D], and returns the final
states and whatever else the steps made. Widths are those where kernels and passes go wrong: 1, 7, 72, 96 columns, 1, 5, 197
tokens. Equal seeds give equal modules.
"""
import hashlib
import json
from dataclasses import dataclass, field

import numpy as np

WIDTHS, TOKENS = (1, 7, 72, 96), (1, 5, 197)
ACTS = ("gelu_erf", "gelu_tanh", "quick_gelu", "silu", "relu", "tanh", "sigmoid")
# Every op but those of recipes; test_random_modules.py checks that the generator makes them all.
OPS = ("patch_embed", "assemble_tokens", "pos_gather", "merge_patches", "embed", "scatter_rows", "pool", "norm", "residual", "linear", "act",
       "glu", "attention", "rope", "cache_append", "gate", "convert", "quantize", "dequantize")
RECIPES = ("read", "get", "literal", "slice", "gather", "concat", "transpose", "reshape", "cast", "amax", "sum", "recip", "mul", "add", "sub", "round",
           "dequant", "pad")


@dataclass
class Generated:
    """A module's text, the arrays of its @forward in order, how many results it has, and the text of its arguments."""

    text: str
    inputs: list = field(default_factory=list)
    results: int = 0
    arguments: list = field(default_factory=list)


def tensor(*shape, element="f32"):
    return f"tensor<{'x'.join([*map(str, shape), element])}>"


class Generator:
    def __init__(self, seed, folder, width=None, tokens=None):
        self.rng = np.random.default_rng(seed)
        self.d = width or int(self.pick(WIDTHS))
        self.tokens = tokens or int(self.pick(TOKENS))
        self.images = int(self.pick((1, 2)))
        self.rows = self.images * self.tokens
        self.folder, self.tensors, self.weights, self.lines = folder, {}, [], []
        self.arguments, self.inputs, self.returned, self.count = [], [], [], 0

    # Choices and names.
    def pick(self, options):
        return options[self.rng.integers(len(options))]

    def divisor(self, n, multiple=1):
        return int(self.pick([k for k in range(multiple, n + 1, multiple) if n % k == 0]))

    def name(self, hint):
        self.count += 1
        return f"{hint}{self.count}"

    def layers(self, hint):
        return f'layers ["{self.name(hint)}"]'

    def emit(self, text, kind):
        value = "%" + self.name("v")
        self.lines.append(f"  {value} = {text}")
        return value, kind

    def argument(self, array, element="f32", dynamic=True):
        kind = tensor(*(["?"] if dynamic else [array.shape[0]]), *array.shape[1:], element=element)
        value = "%" + self.name("a")
        self.arguments.append(f'{value}: {kind} {{vit.name = "{value[1:]}"}}')
        self.inputs.append(array)
        return value, kind

    def states(self, rows=None):
        return self.argument(self.rng.standard_normal((rows or self.rows, self.d)).astype(np.float32))

    # Weights: most are read, some are derived by a few steps that keep the type.
    def weight(self, *shape, scale=None):
        key = self.name("t")
        values = self.rng.standard_normal(shape) * (scale or 1 / np.sqrt(shape[-1]))
        self.tensors[key] = values.astype(np.float32)
        kind, lines = tensor(*shape), [f'%0 = vit.read @ckpt "{key}" : {tensor(*shape)}']
        steps = [self.cut_and_join, self.permute, self.twice, self.halve, self.scale_rows, self.codes, self.reshaped, self.padded]
        current = "%0"
        for step in self.rng.permutation(len(steps))[: self.rng.integers(0, 3)]:
            current = steps[step](lines, current, shape)
        symbol = self.name("w")
        self.weights.append(f"vit.weight @{symbol} : {kind} {{\n  " + "\n  ".join([*lines, f"vit.yield {current} : {kind}"]) + "\n}")
        if self.rng.random() < 0.3:  # another weight that is this one
            other = self.name("w")
            self.weights.append(f"vit.weight @{other} : {kind} {{\n  %0 = vit.get @{symbol} : {kind}\n  vit.yield %0 : {kind}\n}}")
            symbol = other
        return self.emit(f"vit.get @{symbol} : {kind}", kind)

    def step(self, lines, text):
        value = f"%{len(lines)}"
        lines.append(f"{value} = {text}")
        return value

    def cut_and_join(self, lines, x, shape):
        n, rest, cut = shape[0], shape[1:], int(self.rng.integers(1, shape[0])) if shape[0] > 1 else 0
        if not cut:
            return x
        a = self.step(lines, f"vit.slice {x} axis 0 from {cut} to {n} : {tensor(*shape)} -> {tensor(n - cut, *rest)}")
        b = self.step(lines, f"vit.slice {x} axis 0 from 0 to {cut} : {tensor(*shape)} -> {tensor(cut, *rest)}")
        return self.step(lines, f"vit.concat {a}, {b} axis 0 : {tensor(n - cut, *rest)}, {tensor(cut, *rest)} -> {tensor(*shape)}")

    def permute(self, lines, x, shape):
        axis = int(self.rng.integers(len(shape)))
        order = ", ".join(map(str, self.rng.permutation(shape[axis])))
        return self.step(lines, f"vit.gather {x} axis {axis} [{order}] : {tensor(*shape)} -> {tensor(*shape)}")

    def twice(self, lines, x, shape):
        one = self.step(lines, "vit.literal dense<1.25> : tensor<1xf32>")
        y = self.step(lines, f"vit.{self.pick(('mul', 'add', 'sub'))} {x}, {one} : {tensor(*shape)}, tensor<1xf32> -> {tensor(*shape)}")
        return self.step(lines, f"vit.add {y}, {x} : {tensor(*shape)}, {tensor(*shape)} -> {tensor(*shape)}")

    def halve(self, lines, x, shape):
        element = self.pick(("f16", "bf16"))
        half = self.step(lines, f"vit.cast {x} : {tensor(*shape)} -> {tensor(*shape, element=element)}")
        return self.step(lines, f"vit.cast {half} : {tensor(*shape, element=element)} -> {tensor(*shape)}")

    def scale_rows(self, lines, x, shape):
        if len(shape) != 2:
            return x
        vector = tensor(shape[0])
        amax = self.step(lines, f"vit.amax {x} axis 1 div 1.0 : {tensor(*shape)} -> {vector}")
        inverse = self.step(lines, f"vit.recip {amax} : {vector} -> {vector}")
        scaled = self.step(lines, f"vit.mul {x}, {inverse} : {tensor(*shape)}, {vector} -> {tensor(*shape)}")
        mean = self.step(lines, f"vit.sum {scaled} : {tensor(*shape)} -> {vector}")
        return self.step(lines, f"vit.sub {scaled}, {mean} : {tensor(*shape)}, {vector} -> {tensor(*shape)}")

    def codes(self, lines, x, shape):
        scale = self.step(lines, f"vit.amax {x} div 448.0 : {tensor(*shape)} -> tensor<1xf32>")
        codes = tensor(*shape, element="f8E4M3FN")
        c = self.step(lines, f"vit.round {x}, {scale} : {tensor(*shape)}, tensor<1xf32> -> {codes}")
        return self.step(lines, f"vit.dequant {c}, {scale} : {codes}, tensor<1xf32> -> {tensor(*shape)}")

    def reshaped(self, lines, x, shape):
        if len(shape) == 2:
            x = self.step(lines, f"vit.transpose {x} : {tensor(*shape)} -> {tensor(*shape[::-1])}")
            return self.step(lines, f"vit.reshape {x} : {tensor(*shape[::-1])} -> {tensor(*shape)}")
        return x

    def padded(self, lines, x, shape):
        n = shape[0]
        more = -(-n // 16) * 16
        y = self.step(lines, f"vit.pad {x} axis 0 to_multiple 16 : {tensor(*shape)} -> {tensor(more, *shape[1:])}")
        return self.step(lines, f"vit.slice {y} axis 0 from 0 to {n} : {tensor(more, *shape[1:])} -> {tensor(*shape)}")

    # Steps on hidden states x = (value, type) of [rows, D].
    def start(self):
        prefix = int(self.rng.integers(0, 2)) if self.tokens > 1 else 0
        if self.rng.random() < 0.5:
            return self.states()
        patches, p = self.tokens - prefix, int(self.pick((1, 2)))
        down = self.divisor(patches)
        pixels = self.argument(self.rng.standard_normal((self.images, 3, down * p, patches // down * p)).astype(np.float32))
        w, b = self.weight(self.d, 3 * p * p), self.weight(self.d)
        x = self.emit(f"vit.patch_embed {pixels[0]}, {w[0]} patch {p} x {p} {self.layers('patch')} : {pixels[1]}, {w[1]} -> {tensor('?', self.d)}"
                      + self.epilogue([(b, "(m, n) -> (n)")], ["%r = arith.addf %acc, %e0 : f32"]), tensor("?", self.d))
        first = self.weight(prefix, self.d) if prefix else None
        where = self.weight(self.tokens, self.d)
        return self.emit(f"vit.assemble_tokens {x[0]} " + (f"prefix({first[0]} : {first[1]}) " if first else "") +
                         f"position({where[0]} : {where[1]}) uniform {patches} {self.layers('tokens')} : {x[1]} -> {x[1]}", x[1])

    @staticmethod
    def epilogue(ins, body, result="%r", element="f32"):
        """Group 1 region over operands (value, map); they are %e0, %e1, ... in the body."""
        operands = ", ".join(f"{value[0]} [{where}] : {value[1]}" for value, where in ins)
        arguments = "".join(f", %e{i}: f32" for i in range(len(ins)))
        return f" epilogue({operands}) group 1 {{\n  ^bb0(%acc: f32{arguments}):\n" + "".join(f"    {line}\n" for line in body) + \
            f"    vit.yield {result} : {element}\n  }}"

    def norm(self, x):
        # Norms of one column forget it: layer norm gives beta, RMS the sign.
        if self.d == 1:
            return self.emit(f"vit.act tanh {x[0]} {self.layers('act')} : {x[1]}", x[1])
        width = self.divisor(self.d) if self.rng.random() < 0.5 else self.d
        width = self.d if width == 1 else width
        kind, g = self.pick(("layer", "rms")), self.weight(width)
        beta = self.weight(width) if kind == "layer" else None
        return self.emit(f"vit.norm {kind} {x[0]} gamma({g[0]} : {g[1]}) " + (f"beta({beta[0]} : {beta[1]}) " if beta else "") +
                         f"eps 1.0e-6 width {width} {self.layers('norm')} : {x[1]} -> {x[1]}", x[1])

    def linear_of(self, x, n, extra=(), lines=(), result="%r"):
        """A linear with a bias; `extra` operands are %e1, %e2, ... and `lines` go on from %r."""
        w, b = self.weight(n, self.d), self.weight(n)
        out = tensor("?", n)
        region = self.epilogue([(b, "(m, n) -> (n)"), *extra], ["%r = arith.addf %acc, %e0 : f32", *lines], result)
        return self.emit(f"vit.linear {x[0]}, {w[0]} {self.layers('linear')} : {x[1]}, {w[1]} -> {out}{region}", out)

    def linear(self, x):
        return self.linear_of(x, self.d)

    def act(self, x):
        return self.emit(f"vit.act {self.pick(ACTS)} {x[0]} {self.layers('act')} : {x[1]}", x[1])

    def glu(self, x):
        a, b = self.linear(x), self.linear(x)
        return self.emit(f"vit.glu {self.pick(ACTS)} {a[0]}, {b[0]} {self.layers('glu')} : {x[1]}, {x[1]} -> {x[1]}", x[1])

    def paired(self, x):
        """Gate and up as neighbours: a linear whose epilogue sees pairs."""
        w, out = self.weight(2 * self.d, self.d), tensor("?", self.d)
        return self.emit(f"""vit.linear {x[0]}, {w[0]} {self.layers('pair')} : {x[1]}, {w[1]} -> {out} epilogue() group 2 {{
  ^bb0(%acc: vector<2xf32>):
    %g = vector.extract %acc[0] : f32 from vector<2xf32>
    %u = vector.extract %acc[1] : f32 from vector<2xf32>
    %a = vit.act {self.pick(ACTS)} %g : f32
    %r = arith.mulf %a, %u : f32
    vit.yield %r : f32
  }}""", out)

    def residual(self, x):
        y = self.linear(x)
        s = self.weight(self.d) if self.rng.random() < 0.5 else None
        return self.emit(f"vit.residual {x[0]}, {y[0]} " + (f"scale({s[0]} : {s[1]}) " if s else "") +
                         f"{self.layers('residual')} : {x[1]}, {y[1]} -> {x[1]}", x[1])

    def attention(self, x):
        heads = self.divisor(self.d)
        kv = self.divisor(heads)
        width = self.d // heads * kv
        q, k, v = self.linear(x), self.linear_of(x, width), self.linear_of(x, width)
        return self.emit(f"vit.attention {q[0]}, {k[0]}, {v[0]} heads {heads} kv_heads {kv} scale {self.rng.uniform(0.1, 1):.3f} "
                         f"{self.pick(('', 'causal '))}uniform {self.tokens} {self.layers('attention')} : {q[1]}, {k[1]}, {v[1]} -> {x[1]}", x[1])

    def rope(self, x):
        if self.d % 4:
            return self.norm(x)
        hd, kind = self.divisor(self.d, 4), self.pick(("vision_2d", "mrope"))
        axes = 2 if kind == "vision_2d" else 3
        where = self.rng.integers(0, 14, (axes, self.rows)).astype(np.int32)
        value = "%" + self.name("a")
        self.arguments.append(f"{value}: {tensor(axes, '?', element='i32')}")
        self.inputs.append(where)
        return self.emit(f"vit.rope {kind} {x[0]}, {value} head_dim {hd} theta 1.0e4 {self.layers('rope')} : {x[1]}, {tensor(axes, '?', element='i32')} "
                         f"-> {x[1]}", x[1])

    def gated(self, x):
        blocks = self.divisor(self.d)
        scores = self.linear_of(x, blocks)
        how = self.pick((f"topk k {self.rng.integers(1, blocks + 1)}", "threshold at 0.05"))
        g = self.emit(f"vit.gate {how} weight {self.pick(('one', 'score', 'sigmoid', 'softmax'))} {scores[0]} {self.layers('gate')} : {scores[1]} -> {scores[1]}",
                      scores[1])
        return self.linear_of(x, self.d, [(g, f"(m, n) -> (m, n floordiv {self.d // blocks})")],
                              [f"%a = vit.act {self.pick(ACTS)} %r : f32", "%g = arith.mulf %a, %e1 : f32"], "%g")

    def quantized(self, x):
        how = self.pick(("tensor", "static", "channel", "token", "block"))
        codes, options = tensor("?", self.d, element="f8E4M3FN"), ""
        if how in ("static", "channel"):
            n = 1 if how == "static" else self.d
            key = self.name("t")
            self.tensors[key] = self.rng.uniform(0.01, 0.1, n).astype(np.float32)
            symbol = self.name("w")
            self.weights.append(f'vit.weight @{symbol} : {tensor(n)} {{\n  %0 = vit.read @ckpt "{key}" : {tensor(n)}\n  vit.yield %0 : {tensor(n)}\n}}')
            s = self.emit(f"vit.get @{symbol} : {tensor(n)}", tensor(n))
            options, scales = f"scale({s[0]} : {s[1]}) ", tensor(n)
        elif how == "block":
            block = self.divisor(self.d)
            options, scales = f"block {block} ", tensor("?", self.d // block)
        else:
            scales = tensor(1) if how == "tensor" else tensor("?", 1)
        layers = self.layers("quantize")
        self.count += 1
        value = f"%q{self.count}"
        self.lines.append(f"  {value}:2 = vit.quantize {'tensor' if how == 'static' else how} {x[0]} {options}{layers} : {x[1]} -> {codes}, {scales}")
        return self.emit(f"vit.dequantize {value}#0, {value}#1 {layers} : {codes}, {scales} -> {x[1]}", x[1])

    def converted(self, x):
        half = tensor("?", self.d, element=self.pick(("f16", "bf16")))
        h = self.emit(f"vit.convert {x[0]} : {x[1]} to {half}", half)
        return self.emit(f"vit.convert {h[0]} : {half} to {x[1]}", x[1])

    def gathered(self, x):
        taps, rows = 4, 9
        table = self.weight(rows, self.d)
        index = self.argument(self.rng.integers(0, rows, (self.rows, taps)).astype(np.int32), "i32")
        w = self.argument(self.rng.dirichlet(np.ones(taps), self.rows).astype(np.float32))
        p = self.emit(f"vit.pos_gather {table[0]}, {index[0]}, {w[0]} {self.layers('pos')} : {table[1]}, {index[1]}, {w[1]} -> {x[1]}", x[1])
        return self.emit(f"vit.residual {x[0]}, {p[0]} {self.layers('residual')} : {x[1]}, {p[1]} -> {x[1]}", x[1])

    def scattered(self, x):
        k = int(self.rng.integers(1, self.rows + 1))
        table, ids = self.weight(11, self.d), self.argument(self.rng.integers(0, 11, k).astype(np.int32), "i32")
        e = self.emit(f"vit.embed {table[0]}, {ids[0]} {self.layers('embed')} : {table[1]}, {ids[1]} -> {tensor('?', self.d)}", tensor("?", self.d))
        at = self.argument(self.rng.integers(0, self.rows, k).astype(np.int32), "i32")
        return self.emit(f"vit.scatter_rows {self.pick(('set', 'add'))} {x[0]}, {e[0]}, {at[0]} {self.layers('scatter')} : {x[1]}, {e[1]}, {at[1]} -> {x[1]}", x[1])

    # Steps that leave a result of their own.
    def pooled(self, x):
        self.returned.append(self.emit(f"vit.pool {self.pick(('token', 'mean'))} {self.rng.integers(self.tokens)} {x[0]} uniform {self.tokens} "
                                       f"{self.layers('pool')} : {x[1]} -> {x[1]}", x[1]))
        return x

    def merged(self, x):
        factor = self.divisor(self.rows)
        kind = tensor("?", self.d * factor)
        self.returned.append(self.emit(f"vit.merge_patches {x[0]} by {factor} {self.layers('merge')} : {x[1]} -> {kind}", kind))
        return x

    def cached(self, x):
        filled = self.rng.integers(0, 3, self.images).astype(np.int32)
        cache = self.argument(self.rng.standard_normal((self.images, self.tokens + 3, self.d)).astype(np.float32), dynamic=False)
        lengths = self.argument(filled, "i32", dynamic=False)
        cu = self.argument(np.arange(self.images + 1, dtype=np.int32) * self.tokens, "i32", dynamic=False)
        self.returned.append(self.emit(f"vit.cache_append {cache[0]}, {x[0]}, {lengths[0]}, {cu[0]} {self.layers('cache')} : {cache[1]}, {x[1]}, "
                                       f"{lengths[1]}, {cu[1]} -> {cache[1]}", cache[1]))
        return x

    STEPS = (norm, linear, act, glu, paired, residual, attention, rope, gated, quantized, converted, gathered, scattered, pooled, merged, cached)

    def module(self, steps, without):
        choices = [step for step in self.STEPS if step.__name__ not in without]
        x = self.start()
        for _ in range(steps):
            x = self.norm(self.pick(choices)(self, x))  # normed, so that values stay of order 1
        self.returned.append(x)
        size, digest = write_safetensors(self.folder / "random.safetensors", self.tensors)
        kinds = ", ".join(kind for _, kind in self.returned)
        text = f'vit.source @ckpt path "random.safetensors" size {size} header_sha256 "{digest}"\n' + "\n".join(self.weights) + \
            f"\nfunc.func @forward({', '.join(self.arguments)}) -> ({kinds}) {{\n" + "\n".join(self.lines) + \
            f"\n  return {', '.join(value for value, _ in self.returned)} : {kinds}\n}}\n"
        return Generated(text, self.inputs, len(self.returned), self.arguments)


def write_safetensors(path, tensors):
    """Writes f32 tensors; returns the file's size and the SHA-256 of its header, as vit.source names them."""
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    path.write_bytes(head + b"".join(array.tobytes() for array in tensors.values()))
    return len(head) + offset, hashlib.sha256(head).hexdigest()


def generate(seed, folder, width=None, tokens=None, steps=6, without=()):
    """A random module whose checkpoint is written into `folder`; its text belongs beside it. `without`: steps that it does not take."""
    return Generator(seed, folder, width, tokens).module(steps, without)
