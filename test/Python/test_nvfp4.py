"""NVFP4 weights: codes and scales are what the format's specification gives, bit for bit, and what runs is their product. numpy is the oracle."""
import json
import shutil

import ml_dtypes
import numpy as np
import nvfp4_oracle
import pytest
import seeded
import simulate
from conftest import EXAMPLE
from fp8_checkpoints import is_linear
from safetensors.numpy import load_file, save_file
from test_fp8_checkpoints import newer
from test_simulate import digits
from x86_kernels import BF16, Kernels, op_targets, tensor_type

from vitrify.cli import main
from vitrify.compiler import CompileOptions, compile_model
from vitrify.errors import VitrifyError
from vitrify.evaluate import evaluate
from vitrify.importer import import_folder
from vitrify.tools import run_tool

MODEL = EXAMPLE / "vit_mnist_gelu_rescaled"
FC1 = "vit.encoder.layer.1.intermediate.dense"


class Simulation(simulate.Model):
    """Float64 arithmetic with some linears' weights given."""

    def linear(self, x, name, label):
        if name not in getattr(self, "given", {}):
            return super().linear(x, name, label)
        return x @ self.given[name].T + self.tensors[f"{name}.bias"]


def simulation(given):
    model = simulate.load(MODEL)
    model.__class__, model.given = Simulation, given
    return model


def bundle_tensors(bundle):
    data = (bundle / "weights.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    return {k: (e, np.frombuffer(data[start + e["data_offsets"][0]:start + e["data_offsets"][1]], np.uint8)) for k, e in header.items() if k != "__metadata__"}


def layers_of(bundle):
    target = json.loads(run_tool("vitrify-inspect", [bundle, "--json"]))["targets"][0]
    return {layer["name"]: layer for layer in target["layers"]}


def run(bundle, x, *options):
    run_tool("vitrify-run", [bundle, f"--input={x}", "--batch=50", f"--output={bundle}.npy", *options])
    return np.load(f"{bundle}.npy")


def relative(found, expected):
    return float(np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()))


@pytest.fixture(scope="module")
def x(tmp_path_factory):
    path = tmp_path_factory.mktemp("nvfp4") / "x.npy"
    np.save(path, digits(EXAMPLE, "test-1000")[0][:100])
    return path


def quantised(tensors):
    """Module -> what the oracle makes of its weight; query, key and value are quantised together."""
    made = {}
    modules = [n.removesuffix(".weight") for n in tensors if is_linear(n)]
    for module in [m for m in modules if m.endswith("attention.query")]:
        parts = [module.replace("query", part) for part in ("query", "key", "value")]
        made[tuple(parts)] = nvfp4_oracle.quantise(np.concatenate([tensors[f"{p}.weight"] for p in parts]))
    for module in [m for m in modules if ".attention.attention." not in m]:
        made[module,] = nvfp4_oracle.quantise(tensors[f"{module}.weight"])
    return made


def weights_of(made):
    given = {}
    for modules, (codes, scales, of_all) in made.items():
        whole = nvfp4_oracle.decode(codes, scales) * np.float64(of_all)
        given |= {newer(module): part for module, part in zip(modules, np.split(whole, len(modules)))}
    return given


@pytest.mark.parametrize("target", op_targets())
def test_codes_scales_and_results_are_the_specifications(target, x, tmp_path):
    made = quantised(load_file(MODEL / "model.safetensors"))
    bundle = tmp_path / "m.vitrify"
    compile_model(MODEL, None, bundle, CompileOptions(precision="nvfp4", targets=(target,)))
    found = [(e, data) for e, data in bundle_tensors(bundle).values() if e["dtype"] == "F4"]
    assert len(found) == len(made) == 16
    seen = set()
    for entry, data in found:
        for modules, (codes, scales, _) in made.items():
            if np.prod(entry["shape"][:-1]) * entry["shape"][-1] < codes.size * 9 / 8 or modules in seen:
                continue
            c, s = nvfp4_oracle.stored(entry, data, len(codes))
            if c.shape == codes.shape and np.array_equal(s.view(np.uint8), scales.view(np.uint8)):
                assert np.array_equal(c, codes), modules
                seen.add(modules)
                break
    assert len(seen) == 16
    oracle = simulation(weights_of(made)).run(np.load(x))
    dot = target == "x86-64-v4-bf16"
    logits = run(bundle, x)
    assert relative(logits, oracle) <= 0.02  # activations are rounded to bf16
    assert np.array_equal(run(bundle, x, "--low-memory"), logits)
    layers = layers_of(bundle)
    assert {layers[n]["precision"] for n in ("b0.q", "b1.fc1", "b3.fc2")} == {"nvfp4"} and layers["head"]["precision"] != "nvfp4"
    assert layers["b1.fc1"]["instructions"] == ("bf16" if dot else "f32")


def test_bytes_are_told_as_they_are(tmp_path):
    """4.5 bits a weight but for what fills the last panels, and less than half of E4M3."""
    compile_model(MODEL, None, tmp_path / "m.vitrify", CompileOptions(precision="nvfp4"))
    weights = json.loads(run_tool("vitrify-inspect", [tmp_path / "m.vitrify", "--json"]))["weights"]
    count = sum(t.size for n, t in load_file(MODEL / "model.safetensors").items() if is_linear(n))
    four = [t for t in weights["tensors"] if t["dtype"] == "F4"]
    assert weights["bytes_by_dtype"]["F4"] == sum(t["bytes"] for t in four)
    assert count * 4.5 / 8 <= weights["bytes_by_dtype"]["F4"] <= 1.35 * count * 4.5 / 8  # rows of 96 fill 64 + 32 of 128
    assert not any(t["dtype"] == "F8_E4M3" for t in weights["tensors"])  # scales are in the blocks


def test_interpreter_and_specification_agree(x, tmp_path):
    """The module as the passes make it, in the interpreter; recipes are its own there."""
    np.save(tmp_path / "x.npy", np.load(x)[:4])
    module = import_folder(MODEL, tmp_path / "model.mlir").module
    run_tool("vitrify-opt", [module, "--vit-optimize=precision=nvfp4 target=x86-64-v4-bf16", f"-o={tmp_path / 'opt.mlir'}"])
    assert "f4E2M1FN" in (tmp_path / "opt.mlir").read_text()
    oracle = simulation(weights_of(quantised(load_file(MODEL / "model.safetensors")))).run(np.load(tmp_path / "x.npy"))
    assert relative(evaluate(tmp_path / "opt.mlir", np.load(tmp_path / "x.npy")), oracle) <= 0.02


# rows, N, K: tails of panels, one row, one block.
@pytest.mark.parametrize("target", op_targets())
@pytest.mark.parametrize("dtype", [np.float32, BF16], ids=["f32", "bf16"])
@pytest.mark.parametrize("shape", [(1, 1, 16), (13, 70, 48), (7, 256, 320), (50, 33, 96)], ids=str)
def test_kernels(target, dtype, shape):
    rows, n, k = shape
    rng = np.random.default_rng(n + k)
    inputs = rng.standard_normal((rows, k)).astype(np.float32).astype(dtype)
    codes, scales, _ = nvfp4_oracle.quantise(rng.standard_normal((n, k)).astype(np.float32))
    w = nvfp4_oracle.decode(codes, scales)
    text = "".join(f'vit.weight @{name} : {kind} {{\n  %0 = vit.read @ckpt "{name}" : {kind}\n  vit.yield %0 : {kind}\n}}\n'
                   for name, kind in (("w", f"tensor<{n}x{k}xf4E2M1FN>"), ("s", f"tensor<{n}x{k // 16}xf8E4M3FN>")))
    text += (f"func.func @f(%x: {tensor_type(inputs)}) {{\n  %w = vit.get @w : tensor<{n}x{k}xf4E2M1FN>\n  %s = vit.get @s : tensor<{n}x{k // 16}xf8E4M3FN>\n"
             f'  %r = vit.linear %x, %w w_scales(%s : tensor<{n}x{k // 16}xf8E4M3FN>) layers ["l"] : {tensor_type(inputs)}, tensor<{n}x{k}xf4E2M1FN> -> '
             f"tensor<?x{n}xf32>\n  return\n}}\n")
    kernels = Kernels(text, target)
    expected = inputs.astype(np.float64) @ w.T
    bound = (k + 4) * 2.0**-24 * (np.abs(inputs.astype(np.float64)) @ np.abs(w).T) + 1e-37
    out, = kernels.call({0: inputs, 1: w.astype(np.float32)}, [np.empty((rows, n), np.float32)])
    assert np.all(np.abs(out - expected) <= bound)


def checkpoint(folder, change=None, algorithm="NVFP4", beside=True):
    """The model as NVIDIA's Model Optimizer writes it, by the oracle: each linear on its own. Returns the oracle's codes and scales."""
    shutil.copytree(MODEL, folder)
    told = {"quant_algo": algorithm, "group_size": 16, "kv_cache_quant_algo": None, "exclude_modules": ["classifier"]}
    if beside:
        (folder / "hf_quant_config.json").write_text(json.dumps({"producer": {"name": "modelopt"}, "quantization": told}))
    else:
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(values | {"quantization_config": {"quant_method": "modelopt"} | told}))
    out, made = {}, {}
    for name, value in load_file(folder / "model.safetensors").items():
        if not is_linear(name):
            out[name] = value
            continue
        module = name.removesuffix(".weight")
        codes, scales, of_all = made[module,] = nvfp4_oracle.quantise(value)
        out |= {name: codes[:, 0::2] | codes[:, 1::2] << 4, f"{module}.weight_scale": scales, f"{module}.weight_scale_2": np.array(of_all, np.float32),
                f"{module}.input_scale": np.array(0.01, np.float32)}
    if change:
        change(out)
    save_file(out, folder / "model.safetensors", metadata={"format": "pt"})
    return made


@pytest.mark.parametrize("algorithm, beside, precision", [("NVFP4", True, "bf16"), ("W4A16_NVFP4", False, "f32")])
def test_a_checkpoints_codes_come_through(algorithm, beside, precision, x, tmp_path):
    made = checkpoint(tmp_path / "model", algorithm=algorithm, beside=beside)
    import_folder(tmp_path / "model", tmp_path / "model.mlir")
    compile_model(tmp_path / "model.mlir", None, tmp_path / "m.vitrify", CompileOptions(precision=precision))
    codes, scales = np.zeros(16, np.int64), np.zeros(256, np.int64)
    for entry, data in bundle_tensors(tmp_path / "m.vitrify").values():
        if entry["dtype"] == "F4":
            c, s = nvfp4_oracle.stored(entry, data)
            codes += np.bincount(c.ravel(), minlength=16)
            scales += np.bincount(s.view(np.uint8).ravel(), minlength=256)
    expected = [sum(np.bincount(np.ascontiguousarray(m[i]).view(np.uint8).ravel(), minlength=size) for m in made.values()) for i, size in ((0, 16), (1, 256))]
    assert np.array_equal(codes[1:], expected[0][1:]) and np.array_equal(scales[1:], expected[1][1:])  # zeros fill panels
    oracle = simulation(weights_of(made)).run(np.load(x))
    assert relative(run(tmp_path / "m.vitrify", x), oracle) <= (0.02 if precision == "bf16" else 1e-4)
    assert layers_of(tmp_path / "m.vitrify")["b0.k"]["precision"] == "nvfp4"


@pytest.mark.parametrize("change, message", [
    (lambda t: t.pop(f"{FC1}.weight_scale"), "weight_scale' is missing"),
    (lambda t: t.pop(f"{FC1}.weight_scale_2"), "weight_scale_2' is missing: the scale of all blocks"),
    (lambda t: t.update({f"{FC1}.weight_scale": np.ones((384, 6), np.float32)}), r"expected F8_E4M3 scales \[384, 6\], found F32"),
    (lambda t: t.update({f"{FC1}.weight_scale": np.ones((384, 3), nvfp4_oracle.E4M3)}), r"expected F8_E4M3 scales \[384, 6\], found F8_E4M3 \[384, 3\]"),
    (lambda t: t.update({f"{FC1}.weight": np.ones((384, 96), np.uint8)}), r"expected shape \[384, 48\], found \[384, 96\]"),
    (lambda t: t.update({f"{FC1}.weight": np.ones((384, 96), np.float32)}), "has element type F32; expected U8"),
    (lambda t: t.update({f"{FC1}.weight_scale_2": np.float32([np.nan])}), "not positive and finite"),
    (lambda t: t.update({f"{FC1}.weight_scale": np.full((384, 6), np.nan, nvfp4_oracle.E4M3)}), "value 0 is NaN"),
])
def test_broken_checkpoints_are_refused(change, message, tmp_path):
    checkpoint(tmp_path / "model", change)
    with pytest.raises(VitrifyError, match=message):
        import_folder(tmp_path / "model", tmp_path / "model.mlir")


def test_other_block_sizes_are_refused(tmp_path):
    checkpoint(tmp_path / "model")
    told = json.loads((tmp_path / "model/hf_quant_config.json").read_text())
    told["quantization"]["group_size"] = 32
    (tmp_path / "model/hf_quant_config.json").write_text(json.dumps(told))
    with pytest.raises(VitrifyError, match="group_size: expected 16 for NVFP4, found 32"):
        import_folder(tmp_path / "model", tmp_path / "model.mlir")


@pytest.mark.parametrize("name, whole", [("hd24", False), ("hd40_mlp4304", True)])
def test_layers_without_blocks_of_16_stay_in_16_bits_and_say_so(name, whole, tmp_path):
    folder = seeded.write_folder(name, tmp_path / "model")
    compile_model(folder, None, tmp_path / "m.vitrify", CompileOptions(precision="nvfp4"))
    layers = layers_of(tmp_path / "m.vitrify")
    for part, columns in (("b0.q", 72), ("b0.proj", 72), ("b0.fc1", 72), ("b0.fc2", 200)):
        if whole:
            assert layers[part]["precision"] == "nvfp4"
        else:
            assert layers[part]["precision"] == "bf16" and layers[part]["note"] == f"its {columns} columns are no multiple of 16, as blocks of nvfp4 are"


def test_on_a_gpu_codes_are_multiplied_out_and_said_to_be(x, tmp_path):
    """There is no kernel for codes of 4 bits on GPUs: 16 bits that hold the same numbers, with a note at each layer."""
    made = checkpoint(tmp_path / "model")
    import_folder(tmp_path / "model", tmp_path / "model.mlir")
    np.save(tmp_path / "x.npy", np.load(x)[:2])
    run_tool("vitrify-compile", [tmp_path / "model.mlir", "-o", tmp_path / "m.vitrify", "--target=sm_89", "--precision=f16"])
    run_tool("vitrify-run", [tmp_path / "m.vitrify", "--device=emulator:sm_89", f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'y.npy'}"])
    oracle = simulation(weights_of(made)).run(np.load(tmp_path / "x.npy"))
    assert relative(np.load(tmp_path / "y.npy"), oracle) <= 0.01
    layers = layers_of(tmp_path / "m.vitrify")
    for name in ("b0.q", "b1.fc1", "b3.fc2"):
        assert layers[name]["precision"] == "f16" and layers[name]["note"] == "its codes of 4 bits are multiplied out, as there is no kernel for them"


@pytest.mark.parametrize("target", op_targets())
def test_codes_without_their_scales_have_no_kernel(target, tmp_path):
    for w_scales, given in (("", ""), ("w_scales(%s : tensor<8x2xf32>) ", "%s: tensor<8x2xf32>")):
        (tmp_path / "m.mlir").write_text(
            'vit.weight @w : tensor<8x32xf4E2M1FN> {\n  %0 = vit.literal dense<1.0> : tensor<8x32xf4E2M1FN>\n  vit.yield %0 : tensor<8x32xf4E2M1FN>\n}\n'
            f"func.func @f(%x: tensor<?x32xf32>{', ' if given else ''}{given}) {{\n  %w = vit.get @w : tensor<8x32xf4E2M1FN>\n"
            f'  %r = vit.linear %x, %w {w_scales}layers ["l"] : tensor<?x32xf32>, tensor<8x32xf4E2M1FN> -> tensor<?x8xf32>\n  return\n}}\n')
        with pytest.raises(VitrifyError, match="weights of element type f4E2M1FN without scales in f8E4M3FN of 16 columns each"):
            run_tool("vitrify-kernels", [tmp_path / "m.mlir", f"--target={target}"])
