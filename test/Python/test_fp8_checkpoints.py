"""FP8 checkpoints of every format in use: codes and scales come through bit for bit, the compiled program computes what numpy does with them."""
import json

import fp8_checkpoints
import ml_dtypes
import numpy as np
import pytest
from conftest import EXAMPLE, ROOT
from safetensors.numpy import load_file, save_file
from test_simulate import digits

import seeded
import simulate
from vitrify.compiler import CompileOptions, compile_model
from vitrify.errors import VitrifyError
from vitrify.importer import import_folder
from vitrify.targets import host_target
from vitrify.tools import run_tool

MODEL = EXAMPLE / "vit_mnist_gelu_rescaled"  # without its scales it answers by chance
E4M3 = ml_dtypes.float8_e4m3fn
NEWER = {"attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj", "attention.attention.value": "attention.v_proj",
         "attention.output.dense": "attention.o_proj", "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2"}


def newer(module):
    """layers.0.mlp.fc1 of vit.encoder.layer.0.intermediate.dense."""
    layer, part = module.removeprefix("vit.encoder.layer.").split(".", 1)
    return f"layers.{layer}.{NEWER[part]}"


class Simulation(simulate.Model):
    """The checkpoint's arithmetic in float64: inputs rounded to E4M3 as the format says, weights codes times scales."""

    def use(self, folder, form, block=fp8_checkpoints.BLOCK):
        config, granularity, self.activations = fp8_checkpoints.formats(block)[form]
        self.weights, self.static, self.scale_block = {}, {}, block
        stored = fp8_checkpoints.read(folder / "model.safetensors")
        for name in stored:
            if stored[name].dtype != E4M3:
                continue
            module = name.removesuffix("._weight_qdata").removesuffix(".weight")
            scale = next(stored[module + s] for s in (".weight_scale_inv", ".weight_scale", "._weight_scale") if module + s in stored).astype(np.float64)
            codes = stored[name].astype(np.float64)
            if granularity == "block":
                scale = np.repeat(np.repeat(scale, block, 0), block, 1)[:codes.shape[0], :codes.shape[1]]
            self.weights[newer(module)] = codes * scale
            for s in (".activation_scale", ".input_scale"):
                if module + s in stored:
                    self.static[newer(module)] = np.float64(stored[module + s].reshape(-1)[0])
        return self

    def linear(self, x, name, label):
        if name not in getattr(self, "weights", {}):
            return super().linear(x, name, label)
        return self.quantised(x, name) @ self.weights[name].T + self.tensors[f"{name}.bias"]

    def quantised(self, x, name):
        if self.activations is None:
            return x
        shape = x.shape
        x = x.reshape(-1, shape[-1]).astype(np.float32)
        if self.activations == "static":
            scale = np.float32(self.static[name])
        elif self.activations == "token":
            scale = np.abs(x).max(1, keepdims=True) / np.float32(448)
        else:
            grouped = np.abs(x).reshape(len(x), -1, self.scale_block).max(2) / np.float32(448)
            scale = np.repeat(grouped, self.scale_block, 1)
        codes = np.clip(x * (np.float32(1) / scale), -448, 448).astype(E4M3)
        return (codes.astype(np.float64) * scale).reshape(shape)


def simulation(folder=MODEL):
    model = simulate.load(folder)
    model.__class__ = Simulation
    return model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Test digits, their labels, and the amax of each linear's input over the calibration digits."""
    root = tmp_path_factory.mktemp("fp8")
    x, labels = digits(EXAMPLE, "test-1000")
    np.save(root / "x.npy", x)
    ranges, model = {}, simulation()

    def see(x, name, label):
        ranges[name] = max(ranges.get(name, 0), float(np.abs(x).max()))
        return simulate.Model.linear(model, x, name, label)

    model.linear = see
    model.run(digits(EXAMPLE, "calibration-200")[0])
    modules = {n.removesuffix(".weight") for n in load_file(MODEL / "model.safetensors") if fp8_checkpoints.is_linear(n)}
    return root / "x.npy", labels, {module: ranges[newer(module)] for module in modules}


def run(bundle, x):
    run_tool("vitrify-run", [bundle, f"--input={x}", "--batch=100", f"--output={bundle}.npy"])
    return np.load(f"{bundle}.npy")


@pytest.mark.parametrize("form", fp8_checkpoints.FORMATS)
def test_codes_and_scales_come_through_and_are_what_runs(form, data, tmp_path):
    x, labels, ranges = data
    folder = tmp_path / "model"
    codes = fp8_checkpoints.write(MODEL, folder, form, ranges)
    import_folder(folder, tmp_path / "model.mlir")
    precision = "f32" if form == "compressed_weights_only" else "bf16"
    compile_model(tmp_path / "model.mlir", None, tmp_path / "m.vitrify", CompileOptions(precision=precision, report=str(tmp_path / "r.json")))
    stored = fp8_checkpoints.read(tmp_path / "m.vitrify" / "weights.safetensors").values()
    expected = np.bincount(np.concatenate([c.view(np.uint8).ravel() for c in codes.values()]), minlength=256)
    found = np.zeros(256, np.int64)
    for tensor in stored:
        if tensor.dtype == E4M3:
            found += np.bincount(tensor.view(np.uint8).ravel(), minlength=256)
    if form == "compressed_weights_only":
        assert found.sum() == 0  # they are multiplied out by the compiler
    else:  # panels are filled up with zeros
        assert np.array_equal(found[1:], expected[1:])
    logits = run(tmp_path / "m.vitrify", x)
    oracle = simulation().use(folder, form).run(np.load(x)[:100])
    error = np.sqrt(np.square(logits[:100] - oracle).mean() / np.square(oracle).mean())
    assert error <= 0.02, error  # attention is in bf16, and codes at a tie may fall the other way
    assert 100 * (logits.argmax(-1) == labels).mean() >= 98.0
    layers = {layer["name"]: layer["precision"] for layer in json.loads(run_tool("vitrify-inspect", [tmp_path / "m.vitrify", "--json"]))["targets"][0]["layers"]}
    assert layers["b0.fc1"] == ("f32" if form == "compressed_weights_only" else "f8e4m3") and layers["head"] != "f8e4m3"


def test_interpreter_and_numpy_agree_to_rounding(data, tmp_path):
    """In f32 the program as imported is the simulation but for codes at ties."""
    x, _, ranges = data
    np.save(tmp_path / "x.npy", np.load(x)[:8])
    for form in ("fine_grained", "fine_grained_static", "compressed_tensor_static", "torchao"):
        fp8_checkpoints.write(MODEL, tmp_path / form, form, ranges)
        import_folder(tmp_path / form, tmp_path / f"{form}.mlir")
        run_tool("vitrify-evaluate", [tmp_path / f"{form}.mlir", f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'y.npy'}"])
        oracle = simulation().use(tmp_path / form, form).run(np.load(tmp_path / "x.npy"))
        assert np.sqrt(np.square(np.load(tmp_path / "y.npy") - oracle).mean() / np.square(oracle).mean()) <= 0.003, form


def test_qat_scales_are_those_of_training(data, tmp_path):
    """Fake-quantised weights: codes are round(w / s) with training's s, once."""
    x, labels, ranges = data
    folder = tmp_path / "qat"
    fp8_checkpoints.shutil.copytree(MODEL, folder)
    tensors = load_file(folder / "model.safetensors")
    expected = np.zeros(256, np.int64)
    for name in [n for n in tensors if fp8_checkpoints.is_linear(n)]:
        module = name.removesuffix(".weight")
        scale = (np.abs(tensors[name]).max(1) / 448 * np.float32(0.77)).astype(np.float32)  # not what the compiler would choose
        tensors[f"{module}.weight_fake_quant.scale"] = scale
        tensors[f"{module}.weight_fake_quant.zero_point"] = np.zeros(len(scale), np.int32)
        tensors[f"{module}.activation_fake_quant.scale"] = np.float32([ranges[module] / 448])
        codes = np.clip(tensors[name] * (np.float32(1) / scale)[:, None], -448, 448).astype(E4M3)
        expected += np.bincount(codes.view(np.uint8).ravel(), minlength=256)
    save_file(tensors, folder / "model.safetensors")
    compile_model(folder, None, tmp_path / "m.vitrify", CompileOptions(precision="bf16"))
    stored = fp8_checkpoints.read(tmp_path / "m.vitrify" / "weights.safetensors").values()
    found = sum(np.bincount(t.view(np.uint8).ravel(), minlength=256) for t in stored if t.dtype == E4M3)
    assert np.array_equal(found[1:], expected[1:])
    assert 100 * (run(tmp_path / "m.vitrify", x).argmax(-1) == labels).mean() >= 97.5


FC1 = "vit.encoder.layer.1.intermediate.dense"
BROKEN = [
    ("fine_grained", lambda t: t.pop(f"{FC1}.weight_scale_inv"), "weight_scale_inv' is missing: the scales of a linear that fp8 quantises"),
    ("fine_grained", lambda t: t.update({f"{FC1}.weight_scale_inv": np.ones((3, 3), np.float32)}), r"expected 36 scales, found shape \[3, 3\]"),
    ("fine_grained", lambda t: t.update({f"{FC1}.weight": np.ones((384, 96), np.float32)}), "has element type F32; expected F8_E4M3 codes"),
    ("compressed_tensor_static", lambda t: t.pop(f"{FC1}.input_scale"), "input_scale' is missing: the input scale"),
    ("compressed_channel_token", lambda t: t.update({f"{FC1}.weight_scale": np.zeros((384, 1), np.float32)}), "value 0 is not positive and finite"),
    ("modelopt", lambda t: t.update({f"{FC1}.weight_scale": np.float32([np.inf])}), "not positive and finite"),
    ("fbgemm", lambda t: t.update({"classifier.weight": t["classifier.weight"].astype(E4M3)}), "has E4M3 codes, but its layer is skipped"),
    ("torchao", lambda t: t.pop(f"{FC1}._weight_scale"), "_weight_scale' is missing"),
    ("fbgemm", lambda t: t[f"{FC1}.weight"].view(np.uint8).__setitem__((0, 3), 0x7F), "value 3 is NaN"),
]


@pytest.mark.parametrize("form, change, message", BROKEN, ids=[f"{form}-{i}" for i, (form, _, _) in enumerate(BROKEN)])
def test_broken_checkpoints_are_one_message(form, change, message, data, tmp_path):
    fp8_checkpoints.write(MODEL, tmp_path / "model", form, data[2], change)
    with pytest.raises(VitrifyError, match=message):
        import_folder(tmp_path / "model", tmp_path / "m.mlir")
    assert not (tmp_path / "m.mlir").exists()


CONFIGS = [
    ({"quant_method": "gptq"}, "unknown quant_method 'gptq'; expected one of fp8, compressed-tensors"),
    ({"quant_method": "fp8", "weight_block_size": [128]}, r"weight_block_size: expected \[rows, columns\]"),
    ({"quant_method": "fp8", "fmt": "e5m2"}, "fmt: expected e4m3"),
    ({"quant_method": "fp8", "activation_scheme": "never"}, "activation_scheme: expected dynamic or static"),
    ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "format: expected float-quantized"),
    ({"quant_method": "compressed-tensors", "config_groups": {}}, "config_groups: expected one group"),
    (fp8_checkpoints.compressed({"strategy": "channel", "num_bits": 4}, None), "expected symmetric floats of 8 bits"),
    (fp8_checkpoints.compressed({"strategy": "block"}, {"strategy": "token", "dynamic": True}), "weights in blocks need activations in groups of 128"),
    ({"quant_method": "modelopt", "quant_algo": "W4A8"}, "unknown quant_algo 'W4A8'; expected one of FP8"),
    ({"quant_method": "fbgemm_fp8", "activation_scale_ub": -1}, "activation_scale_ub: expected a positive number"),
]


@pytest.mark.parametrize("config, message", CONFIGS, ids=[str(i) for i in range(len(CONFIGS))])
def test_unknown_formats_are_one_message(config, message, mnist_copy, edit_config, tmp_path):
    with pytest.raises(VitrifyError, match=message):
        import_folder(edit_config(mnist_copy, quantization_config=config), tmp_path / "m.mlir")


def test_a_file_in_codes_needs_its_configuration(data, tmp_path, edit_config):
    fp8_checkpoints.write(MODEL, tmp_path / "model", "fbgemm")
    with pytest.raises(VitrifyError, match="has E4M3 codes, but there is no quantization_config"):
        import_folder(edit_config(tmp_path / "model", quantization_config=None), tmp_path / "m.mlir")


# On the emulated sm_89; FP8 there is the tensor instructions' own.
@pytest.mark.skipif(not (ROOT / "build" / "lib" / "emulator" / "libcuda.so.1").exists(), reason="the emulated driver is not built")
@pytest.mark.parametrize("form", ["modelopt", "compressed_channel_token"])
def test_on_the_emulated_gpu(form, data, tmp_path):
    x, _, ranges = data
    np.save(tmp_path / "x.npy", np.load(x)[:2])
    fp8_checkpoints.write(MODEL, tmp_path / "model", form, ranges)
    import_folder(tmp_path / "model", tmp_path / "model.mlir")
    run_tool("vitrify-compile", [tmp_path / "model.mlir", "-o", tmp_path / "m.vitrify", "--target=sm_89", "--precision=f16"])
    run_tool("vitrify-run", [tmp_path / "m.vitrify", "--device=emulator:sm_89", f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'y.npy'}"])
    oracle = simulation().use(tmp_path / "model", form).run(np.load(tmp_path / "x.npy"))
    assert np.sqrt(np.square(np.load(tmp_path / "y.npy") - oracle).mean() / np.square(oracle).mean()) <= 0.05
    target = json.loads(run_tool("vitrify-inspect", [tmp_path / "m.vitrify", "--json"]))["targets"][0]
    assert {layer["precision"] for layer in target["layers"] if layer["name"] in ("b0.q", "b2.fc1", "b3.fc2")} == {"f8e4m3"}


@pytest.mark.skipif(not (ROOT / "build" / "lib" / "emulator" / "libcuda.so.1").exists(), reason="the emulated driver is not built")
@pytest.mark.parametrize("form", ["fine_grained", "fine_grained_static", "compressed_block"])
def test_blocks_of_128_on_the_emulated_gpu(form, tmp_path):
    """Scales of 128 x 128 weights and of 128 activations, found at run time or static: the products of a block have a factor of their own."""
    generator = seeded.write_vit(tmp_path / "source", 8, 256, 4, layers=2, mlp=384)
    np.save(tmp_path / "x.npy", generator.standard_normal((2, 3, 224, 224), dtype=np.float32))
    modules = [n.removesuffix(".weight") for n in load_file(tmp_path / "source" / "model.safetensors") if fp8_checkpoints.is_linear(n)]
    fp8_checkpoints.write(tmp_path / "source", tmp_path / "model", form, dict.fromkeys(modules, 8.0), block=128)
    import_folder(tmp_path / "model", tmp_path / "model.mlir")
    targets = [f"--target={name}" for name in (host_target(), "sm_89")]
    run_tool("vitrify-compile", [tmp_path / "model.mlir", "-o", tmp_path / "m.vitrify", *targets, "--precision=f16"])
    oracle = simulation(tmp_path / "source").use(tmp_path / "model", form, 128).run(np.load(tmp_path / "x.npy"))
    error = {}
    for device in ("cpu", "emulator:sm_89"):
        run_tool("vitrify-run", [tmp_path / "m.vitrify", f"--device={device}", f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'y.npy'}"])
        error[device] = np.sqrt(np.square(np.load(tmp_path / "y.npy") - oracle).mean() / np.square(oracle).mean())
    assert error["cpu"] <= 0.05 and error["emulator:sm_89"] <= 0.05, error
    target = next(t for t in json.loads(run_tool("vitrify-inspect", [tmp_path / "m.vitrify", "--json"]))["targets"] if t["name"] == "sm_89")
    assert {layer["precision"] for layer in target["layers"] if layer["name"] in ("b0.q", "b1.fc1", "b1.fc2")} == {"f8e4m3"}
