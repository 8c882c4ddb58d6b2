"""Writes the vit dialect's text: sources, derived weights, and one entry function."""
import math

from vitrify.importer.mapping import Codes


def number(value):
    """A float as MLIR's parser takes it: with a decimal point, shortest digits that read back as the same double."""
    text = repr(float(value))
    mantissa, _, exponent = text.partition("e")
    return (mantissa if "." in mantissa else mantissa + ".0") + (f"e{exponent}" if exponent else "")


def string(text):
    """A string literal: quotes, backslashes and bytes outside printable ASCII as two hexadecimal digits."""
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in (34, 92) else f"\\{b:02X}" for b in text.encode("utf-8")) + '"'


def tensor(shape, element="f32"):
    return f"tensor<{'x'.join([*map(str, shape), element])}>"


def layers(*names):
    return "layers [" + ", ".join(string(n) for n in names) + "]"


class Function:
    """The body of the entry: every method appends an op and returns its SSA value as (name, type)."""

    def __init__(self, weights):
        self.weights, self.lines, self.count, self.loaded, self.coded, self.names = weights, [], 0, {}, {}, {}

    def emit(self, text, result_type, hint="v"):
        name = f"%{hint}{self.count}"
        self.count += 1
        self.lines.append(f"{name} = {text}")
        return name, result_type

    def get(self, symbol):
        """The weight as a value; one vit.get for each symbol, so layers that share weights share the value."""
        if symbol not in self.loaded:
            weight = self.weights[symbol]
            kind = tensor(weight.shape, element_of(weight))
            self.loaded[symbol] = self.emit(f"vit.get @{symbol} : {kind}", kind, "w")
        return self.loaded[symbol]

    def epilogue(self, ins, body, block_arguments):
        """Text of an epilogue region. ins: (value, map) pairs; body: lines; block_arguments: names after %acc."""
        operands = ", ".join(f"{value[0]} [{m}] : {value[1]}" for value, m in ins)
        arguments = ", ".join(["%acc: f32", *(f"{name}: f32" for name in block_arguments)])
        return f" epilogue({operands}) group 1 {{\n  ^bb0({arguments}):\n" + "".join(f"    {line}\n" for line in body) + "  }"

    def linear(self, x, symbol, rows, names, extra=None, head="linear", options=""):
        """x times the weight's transpose plus its bias if it has one. extra: (ins, lines, arguments, result) continues from %r."""
        weight = self.weights[f"{symbol}.w"]
        out = tensor((rows, weight.shape[0]))
        ins, body, arguments, result = [], [], [], "%acc"
        if isinstance(weight, Codes) and weight.granularity == "nvfp4":
            w, scale, each = self.get(f"{symbol}.w"), self.get(f"{symbol}.w.scale"), self.get(f"{symbol}.w.scale.each")
            options = f"w_scales({scale[0]} : {scale[1]}) "
            ins, body, arguments, result = [(each, "(m, n) -> (n)")], ["%x = arith.mulf %acc, %ws : f32"], ["%ws"], "%x"
        elif isinstance(weight, Codes) and not is_expanded(weight):
            x, w, options, ins, body, arguments, result = self.codes(x, weight, symbol, names[0])
        else:
            w = self.get(f"{symbol}.w")
        if f"{symbol}.b" in self.weights:
            ins, arguments = ins + [(self.get(f"{symbol}.b"), "(m, n) -> (n)")], arguments + ["%bias"]
            body, result = body + [f"%r = arith.addf {result}, %bias : f32"], "%r"
        if extra is not None:
            more_ins, lines, more_arguments, more_result = extra
            ins, arguments = ins + more_ins, arguments + more_arguments
            body, result = body + [line.replace("$in", result) for line in lines], more_result
        region = self.epilogue(ins, [*body, f"vit.yield {result} : f32"], arguments) if body else ""
        return self.emit(f"vit.{head} {x[0]}, {w[0]} {options}{layers(*names)} : {x[1]}, {w[1]} -> {out}{region}", out)

    def named(self, value, name):
        """Remembers what a value is called; what is done to it for several layers is called so too, and is then one op."""
        self.names[value] = name
        return value

    def quantise(self, x, key, text, layer):
        """Codes and scales of x, by the rest of the op's text; once for each value and text."""
        layer = self.names.get(x, layer)
        if (x, key) not in self.coded:
            name, columns = f"%q{self.count}", x[1].split("x")[1]
            self.count += 1
            scales = {"static": "1x", "tensor": "1x", "token": "?x1x"}.get(key[0]) or f"?x{int(columns) // key[1]}x"
            codes, scales = f"tensor<?x{columns}xf8E4M3FN>", f"tensor<{scales}f32>"
            self.lines.append(f"{name}:2 = vit.quantize {text} {layers(layer + '#q')} : {x[1]} -> {codes}, {scales}")
            self.coded[x, key] = (f"{name}#0", codes), (f"{name}#1", scales)
        return self.coded[x, key]

    def codes(self, x, weight, symbol, name):
        """Operands of a linear whose weight is codes: (x, w, options, epilogue's ins, body, arguments, result). Scales by tensor, channel and token stand in
        dequantisations, which the compiler folds; those that vary along K are the linear's own."""
        rows = f"{symbol}.w.scale.rows"
        codes, scale = self.get(f"{symbol}.w"), self.get(rows if rows in self.weights else f"{symbol}.w.scale")
        static = self.get(f"{symbol}.x.scale") if weight.activations == "static" else None
        key, text = {"static": lambda: (("static", static), f"tensor {x[0]} scale({static[0]} : {static[1]})"), "tensor": lambda: (("tensor",), f"tensor {x[0]}"),
                     "token": lambda: (("token",), f"token {x[0]}"),
                     "group": lambda: (("group", weight.block[1]), f"block {x[0]} block {weight.block[1]}")}[weight.activations]()
        q, s = self.quantise(x, key, text, name)
        if weight.granularity != "block":
            dequantise = lambda c, t, kind, what: self.emit(f"vit.dequantize {c[0]}, {t[0]} {layers(what)} : {c[1]}, {t[1]} -> {kind}", kind)
            return dequantise(q, s, x[1], self.names.get(x, name) + "#q"), dequantise(codes, scale, tensor(weight.shape), f"{symbol}.w"), "", [], [], [], "%acc"
        along = f"w_scales({scale[0]} : {scale[1]}) "
        if static:  # one scale of all activations is a factor of the sum
            return q, codes, along, [(static, "(m, n) -> ()")], ["%x = arith.mulf %acc, %xs : f32"], ["%xs"], "%x"
        return q, codes, f"x_scales({s[0]} : {s[1]}) " + along, [], [], [], "%acc"

    def norm(self, x, symbol, eps, name):
        g, b = self.get(f"{symbol}.g"), self.get(f"{symbol}.b")
        return self.named(self.emit(f"vit.norm layer {x[0]} gamma({g[0]} : {g[1]}) beta({b[0]} : {b[1]}) eps {number(eps)} {layers(name)} : {x[1]} -> {x[1]}", x[1]), name)

    def act(self, kind, x, name):
        return self.named(self.emit(f"vit.act {kind} {x[0]} {layers(name)} : {x[1]}", x[1]), name)

    def residual(self, x, y, name):
        return self.emit(f"vit.residual {x[0]}, {y[0]} {layers(name)} : {x[1]}, {y[1]} -> {x[1]}", x[1])


def encoder_layer(f, c, x, index):
    """One pre-norm block on hidden states x; weights of the layer that share_map names, layer names of its own."""
    w, n, rows = f"b{c.share_map[index]}", f"b{index}", "?"
    h = f.norm(x, f"{w}.ln1", c.eps, f"{n}.ln1")
    q, k, v = (f.linear(h, f"{w}.{part}", rows, [f"{n}.{part}"]) for part in "qkv")
    a = f.emit(f"vit.attention {q[0]}, {k[0]}, {v[0]} heads {c.heads} kv_heads {c.heads} scale {number(c.head_dim ** -0.5)} uniform {c.tokens} "
               f"{layers(f'{n}.attn')} : {q[1]}, {k[1]}, {v[1]} -> {q[1]}", q[1])
    f.named(a, f"{n}.attn")
    x = f.residual(x, f.linear(a, f"{w}.proj", rows, [f"{n}.proj"]), f"{n}.res1")
    h = f.norm(x, f"{w}.ln2", c.eps, f"{n}.ln2")
    if c.gate_block:
        scores = f.linear(h, f"{w}.gate", rows, [f"{n}.gate.fc"])
        g = f.emit(f"vit.gate topk k {c.gate_k} weight sigmoid {scores[0]} {layers(f'{n}.gate')} : {scores[1]} -> {scores[1]}", scores[1])
        gated = ([(g, f"(m, n) -> (m, n floordiv {c.gate_block})")],
                 [f"%a = vit.act {c.activation} $in : f32", "%g = arith.mulf %a, %weight : f32"], ["%weight"], "%g")
        h = f.linear(h, f"{w}.fc1", rows, [f"{n}.fc1", f"{n}.act", f"{n}.gated"], gated)
    else:
        h = f.act(c.activation, f.linear(h, f"{w}.fc1", rows, [f"{n}.fc1"]), f"{n}.act")
    return f.residual(x, f.linear(h, f"{w}.fc2", rows, [f"{n}.fc2"]), f"{n}.res2")


def forward(f, c):
    """The whole model from %pixels; returns the result's value and its name for the caller."""
    pixels = ("%pixels", tensor(("?", c.channels, *c.image)))
    p = f.linear(pixels, "embed.patch", "?", ["embed.patch"], head="patch_embed", options=f"patch {c.patch[0]} x {c.patch[1]} ")
    prefix = f.get("embed.cls")
    if c.family == "deit":
        prefix = f.get("embed.prefix")
    pos = f.get("embed.pos")
    x = f.emit(f"vit.assemble_tokens {p[0]} prefix({prefix[0]} : {prefix[1]}) position({pos[0]} : {pos[1]}) uniform {c.patches} "
               f"{layers('embed.tokens')} : {p[1]} -> {p[1]}", p[1])
    for index in range(c.layers):
        x = encoder_layer(f, c, x, index)
    x = f.norm(x, "norm", c.eps, "norm")

    def pool(token, name):
        return f.emit(f"vit.pool token {token} {x[0]} uniform {c.tokens} {layers(name)} : {x[1]} -> {x[1]}", x[1])

    if c.head == "classifier":
        return f.linear(pool(0, "pool"), "head", "?", ["head"]), "logits"
    if c.head == "teacher":
        cls = f.linear(pool(0, "pool.cls"), "head.cls", "?", ["head.cls"])
        average = ([(cls, "(m, n) -> (m, n)")],
                   ["%half = arith.constant 5.000000e-01 : f32", "%s = arith.addf $in, %other : f32", "%a = arith.mulf %s, %half : f32"], ["%other"], "%a")
        return f.linear(pool(1, "pool.dist"), "head.dist", "?", ["head.dist", "head"], average), "logits"
    cls = pool(0, "pool")
    if "pooler.w" not in f.weights:
        return cls, "embedding"
    return f.act(c.pooler_activation, f.linear(cls, "pooler", "?", ["pooler"]), "pooler.act"), "embedding"


def element_of(weight):
    """Element type of a weight in the graph."""
    if getattr(weight, "granularity", None) == "nvfp4":
        return "f4E2M1FN"
    return getattr(weight, "element", "f8E4M3FN" if isinstance(weight, Codes) and not is_expanded(weight) else "f32")


def is_expanded(weight):
    """Whether a quantised linear computes with floats: only its weight is quantised to E4M3, or its blocks do not divide the columns."""
    return weight.granularity != "nvfp4" and _is_multiplied_out(weight)


def _is_multiplied_out(weight):
    return weight.activations is None or (weight.granularity == "block" and weight.shape[1] % weight.block[1] != 0)


def scale_shape(weight):
    if weight.granularity == "tensor":
        return (1,)
    return (weight.shape[0], 1) if weight.granularity == "channel" else tuple(-(-size // step) for size, step in zip(weight.shape, weight.block))


def row_blocks(weight):
    """For a linear whose rows are no multiple of the block's: which block each smaller one that does divide them is of. A linear's own scales say no sizes."""
    n, h = weight.shape[0], weight.block[0]
    if weight.granularity != "block" or n <= h or n % h == 0:
        return []
    step = math.gcd(n, h)
    return [i * step // h for i in range(n // step)]


def row_shape(weight):
    return (len(row_blocks(weight)), scale_shape(weight)[1])


def codes_text(weight, symbol_of):
    """The vit.weights of a quantised linear: codes and scales as stored, the scales in f32, which holds all of them exactly; by training, codes are rounded
    here, by the scales that training rounded with. Codes of a linear that computes with floats are multiplied by their scales."""
    if weight.granularity == "nvfp4":
        return blocks_text(weight, symbol_of)
    read = lambda t: f"%0 = vit.read @{symbol_of[t.file.path]} {string(t.name)} : {tensor(t.shape, t.mlir_element)}"
    scales = Scales(f"{weight.symbol}.scale", weight.scale, scale_shape(weight))
    text = weight_text(scales, symbol_of[weight.scale.file.path])
    if weight.input_scale is not None:
        text += weight_text(Scales(f"{weight.symbol.removesuffix('.w')}.x.scale", weight.input_scale, (1,)), symbol_of[weight.input_scale.file.path])
    if not is_expanded(weight) and row_blocks(weight):
        of, to, indices = tensor(scales.shape), tensor(row_shape(weight)), ", ".join(map(str, row_blocks(weight)))
        text += (f"  vit.weight @{scales.symbol}.rows : {to} {{\n    %0 = vit.get @{scales.symbol} : {of}\n    %1 = vit.gather %0 axis 0 [{indices}] : {of} -> {to}\n"
                 f"    vit.yield %1 : {to}\n  }}\n")
    stored, codes, floats = tensor(weight.shape, weight.tensor.mlir_element), tensor(weight.shape, "f8E4M3FN"), tensor(weight.shape)
    lines, kind = [read(weight.tensor)], codes
    if is_expanded(weight) or stored != codes:
        scale, of = "%1", tensor(scales.shape)
        lines.append(f"%1 = vit.get @{scales.symbol} : {of}")
        if weight.granularity == "channel":
            of = tensor((weight.shape[0],))
            lines.append(f"%2 = vit.reshape %1 : {tensor(scales.shape)} -> {of}")
            scale = "%2"
        block = f" block [{weight.block[0]}, {weight.block[1]}]" if weight.granularity == "block" else ""
        kind = floats if stored == codes else codes
        op = "dequant" if stored == codes else "round"
        lines.append(f"%3 = vit.{op} %0, {scale}{block} : {stored}, {of} -> {kind}")
    value = "%3" if len(lines) > 1 else "%0"
    body = "".join(f"    {line}\n" for line in [*lines, f"vit.yield {value} : {kind}"])
    return text + f"  vit.weight @{weight.symbol} : {kind} {{\n{body}  }}\n"


def blocks_text(weight, symbol_of):
    """The vit.weights of a linear of NVFP4 codes: codes and scales as stored, and the scale of all blocks for each row, so that linears can be joined."""
    n = weight.shape[0]
    scale, of_all, each = tensor(scale_shape(weight), "f8E4M3FN"), Scales(f"{weight.symbol}.scale.all", weight.tensor_scale, (1,)), tensor((n,))
    text = weight_text(of_all, symbol_of[weight.tensor_scale.file.path])
    for symbol, stored, kind in ((f"{weight.symbol}.scale", weight.scale, scale), (weight.symbol, weight.tensor, tensor(weight.shape, "f4E2M1FN"))):
        text += (f"  vit.weight @{symbol} : {kind} {{\n    %0 = vit.read @{symbol_of[stored.file.path]} {string(stored.name)} : {kind}\n"
                 f"    vit.yield %0 : {kind}\n  }}\n")
    return text + (f"  vit.weight @{weight.symbol}.scale.each : {each} {{\n    %0 = vit.literal dense<1.0> : {each}\n    %1 = vit.get @{of_all.symbol} : tensor<1xf32>\n"
                   f"    %2 = vit.mul %0, %1 : {each}, tensor<1xf32> -> {each}\n    vit.yield %2 : {each}\n  }}\n")


class Scales:
    """A weight that is a tensor of scales in another shape."""

    def __init__(self, symbol, stored, shape, element="f32"):
        self.symbol, self.tensor, self.shape, self.element = symbol, stored, shape, element


def weight_text(weight, source):
    """A vit.weight: the tensor as stored, brought to the graph's shape and to f32."""
    lines, stored = [], weight.tensor
    kind = tensor(stored.shape, stored.mlir_element)
    lines.append(f"%0 = vit.read @{source} {string(stored.name)} : {kind}")
    value = "%0"
    if stored.shape != weight.shape:
        shaped = tensor(weight.shape, stored.mlir_element)
        lines.append(f"%1 = vit.reshape {value} : {kind} -> {shaped}")
        value, kind = "%1", shaped
    if stored.mlir_element != "f32":
        lines.append(f"%2 = vit.cast {value} : {kind} -> {tensor(weight.shape)}")
        value = "%2"
    body = "".join(f"    {line}\n" for line in [*lines, f"vit.yield {value} : {tensor(weight.shape)}"])
    return f"  vit.weight @{weight.symbol} : {tensor(weight.shape)} {{\n{body}  }}\n"


def module_text(config, weights, sources, info, bounds):
    """The whole module. sources: path text -> (symbol, file); info: what the bundle's manifest says of the model; bounds: of the batch."""
    symbol_of = {file.path: symbol for symbol, (_, file) in sources.items()}
    text = "module attributes {vit.model = {" + ", ".join(f"{key} = {string(value)}" for key, value in sorted(info.items())) + "}} {\n"
    for symbol, (path, file) in sources.items():
        text += f"  vit.source @{symbol} path {string(path)} size {file.size} header_sha256 {string(file.header_sha256)}\n"
    shapes = dict(weights)
    for weight in weights.values():
        if isinstance(weight, Codes):
            text += codes_text(weight, symbol_of)
            shapes[f"{weight.symbol}.scale"] = Scales("", None, scale_shape(weight), "f8E4M3FN" if weight.granularity == "nvfp4" else "f32")
            shapes[f"{weight.symbol}.scale.each"] = Scales("", None, weight.shape[:1])
            if row_blocks(weight):
                shapes[f"{weight.symbol}.scale.rows"] = Scales("", None, row_shape(weight))
            shapes[f"{weight.symbol.removesuffix('.w')}.x.scale"] = Scales("", None, (1,))
        else:
            text += weight_text(weight, symbol_of[weight.tensor.file.path])
    if config.family == "deit":
        kind, one = tensor((2, config.hidden)), tensor((1, config.hidden))
        text += (f"  vit.weight @embed.prefix : {kind} {{\n    %0 = vit.get @embed.cls : {one}\n    %1 = vit.get @embed.dist : {one}\n"
                 f"    %2 = vit.concat %0, %1 axis 0 : {one}, {one} -> {kind}\n    vit.yield %2 : {kind}\n  }}\n")
        shapes["embed.prefix"] = type(weights["embed.cls"])("embed.prefix", None, (2, config.hidden))
    function = Function(shapes)
    result, name = forward(function, config)
    pixels = tensor(("?", config.channels, *config.image))
    dims = f"#vit.dim<\"images\", {', '.join(map(str, bounds))}>"
    text += (f"  func.func @forward(%pixels: {pixels} {{vit.name = \"pixels\", vit.dims = [{dims}]}}) -> ({result[1]} {{vit.name = {string(name)}}}) {{\n")
    for line in function.lines:
        text += "    " + line.replace("\n", "\n    ") + "\n"
    return text + f"    return {result[0]} : {result[1]}\n  }}\n}}\n"
