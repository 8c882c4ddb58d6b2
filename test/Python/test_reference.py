"""The reference interpreter against PyTorch: every op of the vit dialect, epilogues and recipes, and whole models."""
import numpy as np
import pytest
from conftest import EXAMPLE, GOLDEN
from test_simulate import digits

import seeded
from vitrify.errors import VitrifyError
from vitrify.importer import import_folder
from vitrify.tools import run_tool

ELEMENT = {np.dtype(np.float32): "f32", np.dtype(np.int32): "i32", np.dtype(np.uint8): "f8E4M3FN"}


def kind(array, element=None):
    return f"tensor<{'x'.join([*map(str, array.shape), element or ELEMENT[array.dtype]])}>"


def evaluate(tmp_path, text, inputs, results=1):
    """Runs a module's @forward on arrays and returns its results."""
    (tmp_path / "m.mlir").write_text(text)
    arguments = [tmp_path / "m.mlir"]
    for i, array in enumerate(inputs):
        np.save(tmp_path / f"i{i}.npy", array)
        arguments += [f"--input={tmp_path}/i{i}.npy"]
    run_tool("vitrify-evaluate", arguments + [f"--output={tmp_path}/o{i}.npy" for i in range(results)])
    found = [np.load(tmp_path / f"o{i}.npy") for i in range(results)]
    return found[0] if results == 1 else found


def function(inputs, body, result, elements=()):
    """@forward over inputs (name -> array) with one op's text; {name} and {name:t} stand for a value and its type."""
    types = {name: kind(array, dict(elements).get(name)) for name, array in inputs.items()}
    values = {name: f"%{name}" for name in inputs} | {f"{name}_t": t for name, t in types.items()}
    arguments = ", ".join(f"%{name}: {t}" for name, t in types.items())
    return f"func.func @forward({arguments}) -> {result} {{\n  {body.format(**values)}\n  return %r : {result}\n}}\n"


def close(found, expected, tolerance=2e-6):
    assert found.shape == expected.shape
    assert np.abs(found.astype(np.float64) - expected).max(initial=0) <= tolerance * max(1.0, np.abs(expected).max(initial=0))


def load(family):
    return dict(np.load(GOLDEN / "ops" / f"{family}.npz"))


def cases(family):
    return sorted({name.split(".")[0] for name in load(family) if "." in name})


def case_of(family, name):
    return {key.split(".", 1)[1]: value for key, value in load(family).items() if key.startswith(name + ".")}


@pytest.mark.parametrize("name", cases("norm"))
def test_norm(name, tmp_path):
    c = case_of("norm", name)
    inputs = {key: c[key] for key in ("x", "gamma", "beta") if key in c}
    beta = "beta({beta} : {beta_t}) " if "beta" in c else ""
    width = "width 24 " if "width24" in name else ""
    body = f"%r = vit.norm {name.split('_')[0]} {{x}} gamma({{gamma}} : {{gamma_t}}) {beta}eps {c['eps']:.3e} {width}layers [\"n\"] : {{x_t}} -> {{x_t}}"
    close(evaluate(tmp_path, function(inputs, body, kind(c["y"])), inputs.values()), c["y"])


BIAS = ' epilogue({b} [(m, n) -> (n)] : {b_t}) group 1 {{\n  ^bb0(%acc: f32, %bias: f32):\n    %s = arith.addf %acc, %bias : f32\n    vit.yield %s : f32\n  }}'


@pytest.mark.parametrize("name", [n for n in cases("linear") if n != "scaled"])
def test_linear(name, tmp_path):
    c = case_of("linear", name)
    inputs = {key: c[key] for key in ("x", "w", "b")}
    body = '%r = vit.linear {x}, {w} layers ["l"] : {x_t}, {w_t} -> ' + kind(c["y"]) + BIAS
    close(evaluate(tmp_path, function(inputs, body, kind(c["y"])), inputs.values()), c["y"])


def test_linear_with_scales_along_k(tmp_path):
    c = case_of("linear", "scaled")
    inputs = {key: c[key] for key in ("x", "w", "xs", "ws")}
    body = '%r = vit.linear {x}, {w} x_scales({xs} : {xs_t}) w_scales({ws} : {ws_t}) layers ["l"] : {x_t}, {w_t} -> ' + kind(c["y"])
    # Blocks of 4 rows over 10: ceil(10 / 3) = 4.
    close(evaluate(tmp_path, function(inputs, body, kind(c["y"])), inputs.values()), c["y"])


@pytest.mark.parametrize("name", ["gelu_erf", "gelu_tanh", "quick_gelu", "silu", "relu", "tanh", "sigmoid"])
def test_activation(name, tmp_path):
    data = load("act")
    body = f'%r = vit.act {name} {{x}} layers ["a"] : {{x_t}}'
    found = evaluate(tmp_path, function({"x": data["x"]}, body, kind(data["x"])), [data["x"]])
    expected = data[name].astype(np.float64)
    assert (np.abs(found - expected) <= 2e-7 * np.abs(expected) + 1e-12).all()


@pytest.mark.parametrize("name", ["silu", "gelu_erf"])
def test_glu(name, tmp_path):
    data = load("glu")
    inputs = {"a": data["a"], "b": data["b"]}
    body = f'%r = vit.glu {name} {{a}}, {{b}} layers ["g"] : {{a_t}}, {{b_t}} -> {{a_t}}'
    close(evaluate(tmp_path, function(inputs, body, kind(data["a"])), inputs.values()), data[name])


@pytest.mark.parametrize("name", cases("attention"))
def test_attention(name, tmp_path):
    c = case_of("attention", name)
    inputs = {key: c[key] for key in ("q", "k", "v")}
    options = f"heads {c['heads']} kv_heads {c['kv_heads']} scale {float(c['scale']):.17e}" + (" causal" if c.get("causal", 0) else "")
    if c["uniform"]:
        options += f" uniform {c['uniform']}" + (f" kv_uniform {c['kv_uniform']}" if c.get("kv_uniform", 0) else "")
    else:
        inputs["cq"] = c["cu_q"]
        options += " cu_seqlens_q({cq} : {cq_t})"
        if not np.array_equal(c["cu_q"], c["cu_k"]):
            inputs["ck"] = c["cu_k"]
            options += " cu_seqlens_k({ck} : {ck_t})"
    if "key_mask" in c:
        inputs["mask"] = c["key_mask"]
        options += " key_mask({mask} : {mask_t})"
    body = f'%r = vit.attention {{q}}, {{k}}, {{v}} {options} layers ["a"] : {{q_t}}, {{k_t}}, {{v_t}} -> {kind(c["y"])}'
    close(evaluate(tmp_path, function(inputs, body, kind(c["y"])), inputs.values()), c["y"])


@pytest.mark.parametrize("name, op", [("vision", "vision_2d"), ("mrope", "mrope")])
def test_rope(name, op, tmp_path):
    c = case_of("rope", name)
    inputs = {"x": c["x"], "p": c["positions"]}
    sections = f"sections [{', '.join(map(str, c['sections']))}] " if "sections" in c else ""
    body = f'%r = vit.rope {op} {{x}}, {{p}} head_dim {c["head_dim"]} theta {float(c["theta"]):.6e} {sections}layers ["r"] : {{x_t}}, {{p_t}} -> {{x_t}}'
    close(evaluate(tmp_path, function(inputs, body, kind(c["x"])), inputs.values()), c["y"], 5e-6)


def test_residual(tmp_path):
    d = load("residual")
    inputs = {"x": d["x"], "y": d["y"], "s": d["scale"]}
    for option, name in (("", "plain"), ("scale({s} : {s_t}) ", "scaled")):
        body = f'%r = vit.residual {{x}}, {{y}} {option}layers ["r"] : {{x_t}}, {{y_t}} -> {{x_t}}'
        close(evaluate(tmp_path, function(inputs, body, kind(d["x"])), inputs.values()), d[name])


@pytest.mark.parametrize("name", ["uniform5.token0", "uniform5.token3", "uniform5.mean0", "uniform5.mean1", "ragged.token0", "ragged.mean0"])
def test_pool(name, tmp_path):
    d = load("pool")
    inputs = {"x": d["x"], "c": d["cu_seqlens"]}
    segments = "uniform 5" if name.startswith("uniform") else "cu_seqlens({c} : {c_t})"
    how = name.split(".")[1]
    body = f'%r = vit.pool {how[:-1]} {how[-1]} {{x}} {segments} layers ["p"] : {{x_t}} -> {kind(d[name])}'
    close(evaluate(tmp_path, function(inputs, body, kind(d[name])), inputs.values()), d[name])


@pytest.mark.parametrize("how, option", [("topk", "k 4"), ("threshold", "at 2.5e-01")])
@pytest.mark.parametrize("weight", ["one", "score", "sigmoid", "softmax"])
def test_gate(how, option, weight, tmp_path):
    d = load("gate")
    body = f'%r = vit.gate {how} {option} weight {weight} {{s}} layers ["g"] : {{s_t}} -> {{s_t}}'
    close(evaluate(tmp_path, function({"s": d["scores"]}, body, kind(d["scores"])), [d["scores"]]), d[f"{how}.{weight}"])


def test_gate_as_a_factor_in_an_epilogue(tmp_path):
    d = load("gated_linear")
    inputs = {"x": d["x"], "w": d["w"], "b": d["b"], "q": d["scores"]}
    body = f"""%g = vit.gate topk k 2 weight sigmoid {{q}} layers ["g"] : {{q_t}} -> {{q_t}}
  %r = vit.linear {{x}}, {{w}} active(%g : {{q_t}}) layers ["l"] : {{x_t}}, {{w_t}} -> {kind(d["y"])}
    epilogue({{b}} [(m, n) -> (n)] : {{b_t}}, %g [(m, n) -> (m, n floordiv 8)] : {{q_t}}) group 1 {{{{
  ^bb0(%acc: f32, %bias: f32, %weight: f32):
    %s = arith.addf %acc, %bias : f32
    %a = vit.act gelu_erf %s : f32
    %f = arith.mulf %a, %weight : f32
    vit.yield %f : f32
  }}}}"""
    close(evaluate(tmp_path, function(inputs, body, kind(d["y"])), inputs.values()), d["y"])


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_pos_gather(name, tmp_path):
    d = load("pos_gather")
    inputs = {"t": d["table"], "i": d[f"{name}.index"], "w": d[f"{name}.weights"]}
    body = f'%r = vit.pos_gather {{t}}, {{i}}, {{w}} layers ["p"] : {{t_t}}, {{i_t}}, {{w_t}} -> {kind(d[f"{name}.y"])}'
    close(evaluate(tmp_path, function(inputs, body, kind(d[f"{name}.y"])), inputs.values()), d[f"{name}.y"])


def test_merge_patches(tmp_path):
    d = load("merge_patches")
    body = f'%r = vit.merge_patches {{x}} by 4 layers ["m"] : {{x_t}} -> {kind(d["y"])}'
    close(evaluate(tmp_path, function({"x": d["x"]}, body, kind(d["y"])), [d["x"]]), d["y"], 0)


@pytest.mark.parametrize("name", cases("patch_embed"))
def test_patch_embed(name, tmp_path):
    c = case_of("patch_embed", name)
    inputs = {"x": c["pixels"], "w": c["weight"], "b": c["bias"]}
    body = f'%r = vit.patch_embed {{x}}, {{w}} patch {c["patch"][0]} x {c["patch"][1]} layers ["p"] : {{x_t}}, {{w_t}} -> {kind(c["y"])}' + BIAS
    close(evaluate(tmp_path, function(inputs, body, kind(c["y"])), inputs.values()), c["y"])


@pytest.mark.parametrize("name, prefix, position", [("vit", "cls", "position4"), ("deit", "both", "position5"), ("patches_only", None, "position3"),
                                                    ("position_on_patches", "cls", "position3"), ("with_registers", "cls", "position4")])
def test_assemble_tokens(name, prefix, position, tmp_path):
    d = load("assemble_tokens")
    d["both"] = np.concatenate([d["cls"], d["dist"]])
    inputs = {"x": d["patches"], "p": d[position], "t": d[prefix or "cls"], "g": d["registers"]}
    options = ("prefix({t} : {t_t}) " if prefix else "") + ("registers({g} : {g_t}) " if name == "with_registers" else "") + "position({p} : {p_t}) uniform 3"
    body = f'%r = vit.assemble_tokens {{x}} {options} layers ["t"] : {{x_t}} -> {kind(d[name])}'
    close(evaluate(tmp_path, function(inputs, body, kind(d[name])), inputs.values()), d[name])


def test_embed_and_scatter(tmp_path):
    d = load("embed")
    inputs = {"t": d["table"], "i": d["ids"]}
    body = f'%r = vit.embed {{t}}, {{i}} layers ["e"] : {{t_t}}, {{i_t}} -> {kind(d["y"])}'
    close(evaluate(tmp_path, function(inputs, body, kind(d["y"])), inputs.values()), d["y"], 0)
    d = load("scatter_rows")
    inputs = {"x": d["x"], "s": d["source"], "i": d["index"]}
    for mode in ("set", "add"):
        body = f'%r = vit.scatter_rows {mode} {{x}}, {{s}}, {{i}} layers ["s"] : {{x_t}}, {{s_t}}, {{i_t}} -> {{x_t}}'
        close(evaluate(tmp_path, function(inputs, body, kind(d["x"])), inputs.values()), d[mode])


def test_cache_append(tmp_path):
    cache, rows = seeded.normal(1, (2, 5, 3)), seeded.normal(2, (3, 3))
    inputs = {"c": cache, "x": rows, "n": np.int32([1, 3]), "u": np.int32([0, 2, 3])}
    body = '%r = vit.cache_append {c}, {x}, {n}, {u} layers ["c"] : {c_t}, {x_t}, {n_t}, {u_t} -> {c_t}'
    expected = cache.copy()
    expected[0, 1:3], expected[1, 3] = rows[:2], rows[2]
    assert np.array_equal(evaluate(tmp_path, function(inputs, body, kind(cache)), inputs.values()), expected)
    inputs["n"] = np.int32([4, 0])
    with pytest.raises(VitrifyError, match="row 5 of segment 0 is past the capacity 5"):
        evaluate(tmp_path, function(inputs, body, kind(cache)), inputs.values())


def test_every_float16_to_e4m3_and_every_code_back(tmp_path):
    d = load("convert")
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)[None]
    body = '%c = vit.convert {x} sat : {x_t} to tensor<1x65536xf8E4M3FN>\n  %r = vit.convert %c : tensor<1x65536xf8E4M3FN> to {x_t}'
    found = evaluate(tmp_path, function({"x": halves}, body, kind(halves)), [halves])
    assert np.array_equal(found[0], d["to_f32"][d["from_f16"]], equal_nan=True)
    codes = np.arange(256, dtype=np.uint8)[None]
    body = "%r = vit.convert {x} : {x_t} to tensor<1x256xf32>"
    assert np.array_equal(evaluate(tmp_path, function({"x": codes}, body, "tensor<1x256xf32>"), [codes])[0], d["to_f32"], equal_nan=True)


@pytest.mark.parametrize("name", ["tensor", "channel", "token", "block"])
def test_quantize_and_dequantize(name, tmp_path):
    d, values = load("quantize"), load("convert")["to_f32"]
    x, scale = d["x"], d[f"{name}.scale"]
    inputs = {"x": x, "s": scale}
    option = {"channel": "scale({s} : {s_t}) ", "block": "block 8 "}.get(name, "")
    text = f"""func.func @forward(%x: {kind(x)}, %s: {kind(scale)}) -> ({kind(x, "f8E4M3FN")}, {kind(scale)}, {kind(x)}) {{
  %c, %t = vit.quantize {name} %x {option.format(s="%s", s_t=kind(scale))}layers ["q"] : {kind(x)} -> {kind(x, "f8E4M3FN")}, {kind(scale)}
  %d = vit.dequantize %c, %t layers ["d"] : {kind(x, "f8E4M3FN")}, {kind(scale)} -> {kind(x)}
  return %c, %t, %d : {kind(x, "f8E4M3FN")}, {kind(scale)}, {kind(x)}
}}
"""
    codes, scales, back = evaluate(tmp_path, text, inputs.values(), 3)
    assert np.array_equal(codes, values[d[f"{name}.codes"]])
    assert np.array_equal(scales, scale) and np.array_equal(back, d[f"{name}.dequantized"])


def test_epilogue_of_a_group(tmp_path):
    """GLU over column pairs: group 2, one result column for each pair; and a vector body that reduces and shuffles."""
    x, w = seeded.normal(1, (5, 6)), seeded.normal(2, (8, 6))
    acc = x.astype(np.float64) @ w.T.astype(np.float64)
    body = """%r = vit.linear {x}, {w} layers ["l"] : {x_t}, {w_t} -> tensor<5x4xf32> epilogue() group 2 {{
  ^bb0(%acc: vector<2xf32>):
    %a = vector.extract %acc[0] : f32 from vector<2xf32>
    %b = vector.extract %acc[1] : f32 from vector<2xf32>
    %s = vit.act silu %a : f32
    %p = arith.mulf %s, %b : f32
    vit.yield %p : f32
  }}"""
    inputs = {"x": x, "w": w}
    close(evaluate(tmp_path, function(inputs, body, "tensor<5x4xf32>"), inputs.values()), acc[:, ::2] / (1 + np.exp(-acc[:, ::2])) * acc[:, 1::2])
    body = """%r = vit.linear {x}, {w} layers ["l"] : {x_t}, {w_t} -> tensor<5x8xf32> epilogue() group 4 {{
  ^bb0(%acc: vector<4xf32>):
    %m = vector.reduction <maximumf>, %acc : vector<4xf32> into f32
    %b = vector.broadcast %m : f32 to vector<4xf32>
    %t = vector.shuffle %acc, %b [3, 2, 1, 4] : vector<4xf32>, vector<4xf32>
    vit.yield %t : vector<4xf32>
  }}"""
    groups = acc.reshape(5, 2, 4)
    expected = np.concatenate([groups[..., [3, 2, 1]], groups.max(-1, keepdims=True)], -1).reshape(5, 8)
    close(evaluate(tmp_path, function(inputs, body, "tensor<5x8xf32>"), inputs.values()), expected)


def test_recipes(tmp_path):
    """Weights derived through every step, against numpy."""
    from safetensors.numpy import save_file

    from vitrify.importer.checkpoint import SafeTensorsFile
    a, b = seeded.normal(3, (6, 4), 5.0), seeded.normal(4, (2, 4))
    save_file({"a": a, "b": b}, tmp_path / "w.safetensors")
    file = SafeTensorsFile(tmp_path / "w.safetensors")
    text = f"""vit.source @w path "w.safetensors" size {file.size} header_sha256 "{file.header_sha256}"
vit.weight @join : tensor<8x4xf32> {{
  %0 = vit.read @w "a" : tensor<6x4xf32>
  %1 = vit.read @w "b" : tensor<2x4xf32>
  %2 = vit.concat %0, %1 axis 0 : tensor<6x4xf32>, tensor<2x4xf32> -> tensor<8x4xf32>
  vit.yield %2 : tensor<8x4xf32>
}}
vit.weight @scale : tensor<8xf32> {{
  %0 = vit.get @join : tensor<8x4xf32>
  %1 = vit.amax %0 axis 1 div 448.0 : tensor<8x4xf32> -> tensor<8xf32>
  vit.yield %1 : tensor<8xf32>
}}
vit.weight @back : tensor<8x4xf32> {{
  %0 = vit.get @join : tensor<8x4xf32>
  %1 = vit.get @scale : tensor<8xf32>
  %2 = vit.round %0, %1 : tensor<8x4xf32>, tensor<8xf32> -> tensor<8x4xf8E4M3FN>
  %3 = vit.dequant %2, %1 : tensor<8x4xf8E4M3FN>, tensor<8xf32> -> tensor<8x4xf32>
  vit.yield %3 : tensor<8x4xf32>
}}
vit.weight @moved : tensor<4x4xf32> {{
  %0 = vit.get @join : tensor<8x4xf32>
  %1 = vit.transpose %0 : tensor<8x4xf32> -> tensor<4x8xf32>
  %2 = vit.gather %1 axis 1 [7, 0, 2] : tensor<4x8xf32> -> tensor<4x3xf32>
  %3 = vit.pad %2 axis 1 to_multiple 4 : tensor<4x3xf32> -> tensor<4x4xf32>
  %4 = vit.slice %0 axis 0 from 2 to 6 : tensor<8x4xf32> -> tensor<4x4xf32>
  %5 = vit.literal dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %6 = vit.recip %5 : tensor<4xf32> -> tensor<4xf32>
  %7 = vit.mul %4, %6 columns : tensor<4x4xf32>, tensor<4xf32> -> tensor<4x4xf32>
  %8 = vit.sum %7 : tensor<4x4xf32> -> tensor<4xf32>
  %9 = vit.sub %3, %8 : tensor<4x4xf32>, tensor<4xf32> -> tensor<4x4xf32>
  %10 = vit.add %9, %7 : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  %11 = vit.cast %10 : tensor<4x4xf32> -> tensor<4x4xbf16>
  %12 = vit.reshape %11 : tensor<4x4xbf16> -> tensor<16xbf16>
  %13 = vit.cast %12 : tensor<16xbf16> -> tensor<16xf32>
  %14 = vit.reshape %13 : tensor<16xf32> -> tensor<4x4xf32>
  vit.yield %14 : tensor<4x4xf32>
}}
func.func @forward() -> (tensor<8x4xf32>, tensor<4x4xf32>) {{
  %b = vit.get @back : tensor<8x4xf32>
  %m = vit.get @moved : tensor<4x4xf32>
  return %b, %m : tensor<8x4xf32>, tensor<4x4xf32>
}}
"""
    back, moved = evaluate(tmp_path, text, [], 2)
    import ml_dtypes
    join = np.concatenate([a, b])
    scale = np.abs(join).max(1, keepdims=True) / np.float32(448)
    assert np.array_equal(back, (join * (np.float32(1) / scale)).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scale)
    seven = join[2:6] * (np.float32(1) / np.float32([1, 2, 3, 4]))
    three = np.concatenate([join.T[:, [7, 0, 2]], np.zeros((4, 1), np.float32)], 1)
    expected = three - seven.astype(np.float64).sum(1, keepdims=True).astype(np.float32) + seven
    assert np.array_equal(moved, expected.astype(ml_dtypes.bfloat16).astype(np.float32))


@pytest.mark.parametrize("name, batch", [(name, batch) for name, spec in seeded.MODELS.items() for batch in spec["batches"]])
def test_seeded_models(name, batch, tmp_path):
    import_folder(seeded.write_folder(name, tmp_path / "m"), tmp_path / "m.mlir")
    np.save(tmp_path / "x.npy", seeded.pixels(name, batch))
    run_tool("vitrify-evaluate", [tmp_path / "m.mlir", f"--input={tmp_path}/x.npy", f"--output={tmp_path}/y.npy"])
    close(np.load(tmp_path / "y.npy"), np.load(GOLDEN / "models" / f"{name}.npz")[f"y{batch}"], 1e-6)


@pytest.mark.parametrize("name", ["gelu_rescaled", "relu_l1", "gated", "shared_compact"])
def test_trained_models(name, tmp_path):
    folder = EXAMPLE / "vit_mnist_gelu_rescaled" if name == "gelu_rescaled" else GOLDEN / f"vit_mnist_{name}"
    import_folder(folder, tmp_path / "m.mlir")
    np.save(tmp_path / "x.npy", digits(GOLDEN / "mnist", "t10k")[0][:64])
    run_tool("vitrify-evaluate", [tmp_path / "m.mlir", f"--input={tmp_path}/x.npy", f"--output={tmp_path}/y.npy", f"--values={tmp_path}/values"])
    close(np.load(tmp_path / "y.npy"), np.load(GOLDEN / "models" / f"mnist_{name}.npz")["logits64"], 2e-6)
    assert np.load(tmp_path / "values" / "b3.res2.npy").shape[0] == 64 * 17


ERRORS = [
    ('%r = vit.embed {t}, {i} layers ["e"] : {t_t}, {i_t} -> tensor<2x3xf32>', dict(t=np.zeros((4, 3), np.float32), i=np.int32([0, 4])),
     "index 4 is outside the 4 rows", "tensor<2x3xf32>"),
    ('%r = vit.pool token 0 {x} cu_seqlens({i} : {i_t}) layers ["p"] : {x_t} -> tensor<1x3xf32>', dict(x=np.zeros((4, 3), np.float32), i=np.int32([0, 5])),
     "cu_seqlens must rise from 0 to the number of rows, 4", "tensor<1x3xf32>"),
]


@pytest.mark.parametrize("body, inputs, part, result", ERRORS, ids=["index", "segments"])
def test_errors_at_run_time(body, inputs, part, result, tmp_path):
    with pytest.raises(VitrifyError, match=part):
        evaluate(tmp_path, function(inputs, body, result), inputs.values())


def test_a_checkpoint_that_changed_is_refused(small_model, tmp_path):
    import_folder(small_model, tmp_path / "m.mlir")
    np.save(tmp_path / "x.npy", seeded.pixels("new_names", 3))
    arguments = [tmp_path / "m.mlir", f"--input={tmp_path}/x.npy"]
    run_tool("vitrify-evaluate", arguments)
    path = small_model / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"format":"pt"', b'"format":"tp"'))
    with pytest.raises(VitrifyError, match="its size or header changed"):
        run_tool("vitrify-evaluate", arguments)
    path.unlink()
    with pytest.raises(VitrifyError):
        run_tool("vitrify-evaluate", arguments)
    path.write_bytes(data)
    np.save(tmp_path / "x.npy", seeded.pixels("new_names", 3)[:, :2])
    with pytest.raises(VitrifyError, match="argument 0: expected"):
        run_tool("vitrify-evaluate", arguments)
