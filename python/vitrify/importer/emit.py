"""Writes the vit dialect's text: sources, derived weights, and one entry function."""


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
        self.weights, self.lines, self.count, self.loaded = weights, [], 0, {}

    def emit(self, text, result_type, hint="v"):
        name = f"%{hint}{self.count}"
        self.count += 1
        self.lines.append(f"{name} = {text}")
        return name, result_type

    def get(self, symbol):
        """The weight as a value; one vit.get for each symbol, so layers that share weights share the value."""
        if symbol not in self.loaded:
            kind = tensor(self.weights[symbol].shape)
            self.loaded[symbol] = self.emit(f"vit.get @{symbol} : {kind}", kind, "w")
        return self.loaded[symbol]

    def epilogue(self, ins, body, block_arguments):
        """Text of an epilogue region. ins: (value, map) pairs; body: lines; block_arguments: names after %acc."""
        operands = ", ".join(f"{value[0]} [{m}] : {value[1]}" for value, m in ins)
        arguments = ", ".join(["%acc: f32", *(f"{name}: f32" for name in block_arguments)])
        return f" epilogue({operands}) group 1 {{\n  ^bb0({arguments}):\n" + "".join(f"    {line}\n" for line in body) + "  }"

    def linear(self, x, symbol, rows, names, extra=None, head="linear", options=""):
        """x times the weight's transpose plus its bias if it has one. extra: (ins, lines, arguments, result) continues from %r."""
        w = self.get(f"{symbol}.w")
        out = tensor((rows, self.weights[f"{symbol}.w"].shape[0]))
        ins, body, arguments, result = [], [], [], "%acc"
        if f"{symbol}.b" in self.weights:
            ins, arguments, result = [(self.get(f"{symbol}.b"), "(m, n) -> (n)")], ["%bias"], "%r"
            body = ["%r = arith.addf %acc, %bias : f32"]
        if extra is not None:
            more_ins, lines, more_arguments, more_result = extra
            ins, arguments = ins + more_ins, arguments + more_arguments
            body, result = body + [line.replace("$in", result) for line in lines], more_result
        region = self.epilogue(ins, [*body, f"vit.yield {result} : f32"], arguments) if body else ""
        return self.emit(f"vit.{head} {x[0]}, {w[0]} {options}{layers(*names)} : {x[1]}, {w[1]} -> {out}{region}", out)

    def norm(self, x, symbol, eps, name):
        g, b = self.get(f"{symbol}.g"), self.get(f"{symbol}.b")
        return self.emit(f"vit.norm layer {x[0]} gamma({g[0]} : {g[1]}) beta({b[0]} : {b[1]}) eps {number(eps)} {layers(name)} : {x[1]} -> {x[1]}", x[1])

    def act(self, kind, x, name):
        return self.emit(f"vit.act {kind} {x[0]} {layers(name)} : {x[1]}", x[1])

    def residual(self, x, y, name):
        return self.emit(f"vit.residual {x[0]}, {y[0]} {layers(name)} : {x[1]}, {y[1]} -> {x[1]}", x[1])


def encoder_layer(f, c, x, index):
    """One pre-norm block on hidden states x; weights of the layer that share_map names, layer names of its own."""
    w, n, rows = f"b{c.share_map[index]}", f"b{index}", "?"
    h = f.norm(x, f"{w}.ln1", c.eps, f"{n}.ln1")
    q, k, v = (f.linear(h, f"{w}.{part}", rows, [f"{n}.{part}"]) for part in "qkv")
    a = f.emit(f"vit.attention {q[0]}, {k[0]}, {v[0]} heads {c.heads} kv_heads {c.heads} scale {number(c.head_dim ** -0.5)} uniform {c.tokens} "
               f"{layers(f'{n}.attn')} : {q[1]}, {k[1]}, {v[1]} -> {q[1]}", q[1])
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
