"""The importer: what it must take, written as the dialect that vitrify-opt accepts, and what it must refuse with one message."""
import json
import re

import numpy as np
import pytest
from conftest import EXAMPLE, GOLDEN

import seeded
from vitrify.cli import main
from vitrify.errors import VitrifyError
from vitrify.importer import import_folder
from vitrify.tools import run_tool


def text_of(folder, tmp_path):
    """The module that the folder becomes, after vitrify-opt has parsed and verified it."""
    output = tmp_path / "out.mlir"
    import_folder(folder, output)
    run_tool("vitrify-opt", [output])
    return output.read_text()


@pytest.mark.parametrize("name", seeded.MODELS)
def test_seeded_models_are_valid_ir(name, tmp_path):
    text = text_of(seeded.write_folder(name, tmp_path / "m"), tmp_path)
    config = seeded.MODELS[name]["config"]
    assert text.count("vit.attention") == config["num_hidden_layers"]
    assert text.count("vit.source") == seeded.MODELS[name].get("files", 1)
    stored = {seeded.stored_name(k, seeded.MODELS[name].get("scheme", "legacy")) for k in seeded.tensors(name)}
    assert set(re.findall(r'vit\.read @\w+ "([^"]+)"', text)) == stored


@pytest.mark.parametrize("folder", [EXAMPLE / "vit_mnist_gelu_rescaled", *sorted(GOLDEN.glob("vit_mnist_*"))], ids=lambda p: p.name)
def test_trained_models_are_valid_ir(folder, tmp_path):
    text_of(folder, tmp_path)


def test_weights_are_named_not_copied(tmp_path):
    text = text_of(seeded.write_folder("hd24", tmp_path / "m"), tmp_path)
    assert 'vit.source @ckpt path "m/model.safetensors"' in text
    assert f"size {(tmp_path / 'm' / 'model.safetensors').stat().st_size} " in text
    assert "dense<" not in text


def test_share_map_shares_symbols(tmp_path):
    text = text_of(GOLDEN / "vit_mnist_shared_compact", tmp_path)
    assert {int(n) for n in re.findall(r"vit\.weight @b(\d+)\.q\.w", text)} == {0, 3}
    assert text.count("vit.get @b0.q.w") == 1 and text.count('"b5.fc1"') == 1


def test_gate_is_a_factor_in_the_epilogue(tmp_path):
    text = text_of(GOLDEN / "vit_mnist_gated", tmp_path)
    assert text.count("vit.gate topk k 4 weight sigmoid") == 4
    assert text.count("(m, n) -> (m, n floordiv 16)") == 4


def test_teacher_averages_two_heads(tmp_path):
    text = text_of(seeded.write_folder("deit_teacher", tmp_path / "m"), tmp_path)
    assert "vit.pool token 0" in text and "vit.pool token 1" in text and "5.000000e-01" in text and "vit.concat" in text


def test_bf16_checkpoint_is_cast(tmp_path):
    text = text_of(seeded.write_folder("bf16_stored", tmp_path / "m"), tmp_path)
    assert "xbf16>" in text and text.count("vit.cast") == text.count("vit.read")


@pytest.mark.parametrize("name, kind", [("gelu", "gelu_erf"), ("gelu_new", "gelu_tanh"), ("gelu_pytorch_tanh", "gelu_tanh"), ("quick_gelu", "quick_gelu"),
                                        ("silu", "silu"), ("swish", "silu"), ("relu", "relu"), ("tanh", "tanh")])
def test_activations(name, kind, small_model, edit_config, tmp_path):
    assert f"vit.act {kind} " in text_of(edit_config(small_model, hidden_act=name), tmp_path)


def test_defaults_of_the_configuration(small_model, edit_config, tmp_path):
    text = text_of(edit_config(small_model, layer_norm_eps=None, hidden_act=None, architectures=None), tmp_path)
    assert "eps 1.0e-12" in text and "gelu_erf" in text


def test_known_unused_tensors_are_left_out(small_model, edit_tensors, tmp_path):
    edit_tensors(small_model, lambda t: t.update({"vit.embeddings.mask_token": np.zeros((1, 1, 48), np.float32),
                                                  "vit.pooler.dense.weight": np.zeros((48, 48), np.float32)}))
    assert "pooler" not in text_of(small_model, tmp_path)


def test_preprocess_is_written_beside(tmp_path):
    import_folder(EXAMPLE / "vit_mnist_gelu_rescaled", tmp_path / "m.mlir")
    steps = json.loads((tmp_path / "preprocess.json").read_text())
    assert (steps["channels"], steps["height"], steps["width"]) == (1, 28, 28)
    assert steps["resize"] == {"mode": "exact", "height": 28, "width": 28, "interpolation": "bilinear"}
    assert steps["mean"] == [0.1307] and steps["std"] == [0.3081] and steps["labels"] == [str(i) for i in range(10)]


def test_no_preprocessing_for_what_is_no_image(tmp_path):
    (tmp_path / "preprocess.json").write_text("{}")
    assert import_folder(seeded.write_folder("one_patch", tmp_path / "m"), tmp_path / "m.mlir").preprocess is None
    assert not (tmp_path / "preprocess.json").exists()


def test_licence_comes_from_the_model_card(small_model, tmp_path):
    (small_model / "README.md").write_text("---\nlicense: apache-2.0\ntags: [vision]\n---\n# A model\n")
    assert 'license = "apache-2.0"' in text_of(small_model, tmp_path)


def refused(folder, tmp_path, *parts):
    """The import fails with one message that holds all parts, and leaves nothing behind."""
    before = set(tmp_path.iterdir())
    with pytest.raises(VitrifyError) as caught:
        import_folder(folder, tmp_path / "out.mlir")
    message = str(caught.value)
    assert "\n" not in message and not message.endswith(".")
    for part in parts:
        assert part in message, message
    assert set(tmp_path.iterdir()) == before


CONFIG_ERRORS = [
    (dict(hidden_size=None), ("config.json", "hidden_size", "missing")),
    (dict(num_hidden_layers=None), ("num_hidden_layers", "missing")),
    (dict(image_size=None), ("image_size", "missing")),
    (dict(model_type="swin"), ("model_type 'swin'", "vit, deit")),
    (dict(model_type=None), ("model_type",)),
    (dict(hidden_act="prelu"), ("hidden_act", "'prelu'", "gelu_pytorch_tanh")),
    (dict(hidden_act=3), ("hidden_act", "3")),
    (dict(hidden_size=-48), ("hidden_size", "positive integer", "-48")),
    (dict(hidden_size="48"), ("hidden_size", "'48'")),
    (dict(num_attention_heads=5), ("hidden_size 48", "num_attention_heads 5")),
    (dict(image_size=[15, 8]), ("image_size [15, 8]", "patch_size [8, 4]")),
    (dict(image_size=[16, 8, 3]), ("image_size", "pair")),
    (dict(layer_norm_eps=0), ("layer_norm_eps", "0")),
    (dict(qkv_bias="yes"), ("qkv_bias", "true or false")),
    (dict(architectures=["ViTForMaskedImageModeling"]), ("architectures", "ViTForMaskedImageModeling", "ViTForImageClassification")),
    (dict(architectures=["DeiTModel"]), ("DeiTModel", "'vit'")),
    (dict(id2label={"0": "a", "2": "b"}), ("id2label", "gap")),
    (dict(id2label={"0": "a"}), ("4 rows", "1 classes")),
    (dict(layer_share_map=[0, 2]), ("layer_share_map", "layer 1 uses layer 2")),
    (dict(layer_share_map=[0]), ("layer_share_map", "expected 2 integers")),
    (dict(mlp_gate={"type": "threshold"}), ("mlp_gate", "topk_block")),
    (dict(mlp_gate={"type": "topk_block", "block": 7, "k": 1}), ("block 7", "intermediate_size 64")),
    (dict(quantization_config={"quant_method": "fp8"}), ("q_proj.weight", "element type F32", "expected F8_E4M3 codes")),
]


@pytest.mark.parametrize("values, parts", CONFIG_ERRORS, ids=lambda v: "-".join(v) if isinstance(v, dict) else "")
def test_broken_configuration(values, parts, small_model, edit_config, tmp_path):
    refused(edit_config(small_model, **values), tmp_path, *parts)


@pytest.mark.parametrize("content, part", [("{", "not valid JSON"), ("[1]", "expected a JSON object"), ('{"a": 1, "a": 2}', "'a' appears twice")])
def test_configuration_that_is_no_configuration(content, part, small_model, tmp_path):
    (small_model / "config.json").write_text(content)
    refused(small_model, tmp_path, "config.json", part)


QUERY = "vit.layers.0.attention.q_proj.weight"


@pytest.mark.parametrize("change, parts", [
    (lambda t: t.pop(QUERY), (QUERY, "missing", "[48, 48]")),
    (lambda t: t.update({QUERY: t[QUERY][:40]}), (QUERY, "expected shape [48, 48]", "found [40, 48]")),
    (lambda t: t.update({"vit.layers.2.extra": t[QUERY]}), ("unexpected tensor 'vit.layers.2.extra'", "[48, 48]")),
    (lambda t: t.update({"vit.layers.0.attention.q_proj.bias": t[QUERY][0]}), ("unexpected tensor", "q_proj.bias")),
    (lambda t: t[QUERY].__setitem__((3, 5), np.nan), (QUERY, "value 149", "NaN")),
    (lambda t: t[QUERY].__setitem__((0, 0), -np.inf), (QUERY, "value 0", "infinite")),
    (lambda t: t.update({QUERY: t[QUERY].astype(np.int32)}), (QUERY, "element type", "I32")),
    (lambda t: t.update({"vit.embeddings.position_embeddings": np.zeros((1, 6, 48), np.float32)}), ("position_embeddings", "[1, 5, 48]", "[1, 6, 48]")),
], ids=["missing", "misshapen", "extra", "extra-bias", "nan", "infinite", "integers", "positions"])
def test_broken_tensors(change, parts, small_model, edit_tensors, tmp_path):
    refused(edit_tensors(small_model, change), tmp_path, *parts)


@pytest.mark.parametrize("values, part", [
    ({"image_mean": [0.5, 0.5]}, "image_mean: expected 3 numbers"), ({"image_mean": [0, 0, 0], "image_std": [0, 1, 1]}, "image_std: expected 3 positive"),
    ({"size": {"height": 20, "width": 8}}, "size [20, 8] is not the model's image_size [16, 8]"), ({"size": {"height": "a"}}, "size: expected positive"),
    ({"size": 16, "do_center_crop": True, "crop_size": 8}, "crop_size [8, 8]"), ({"size": {"height": 16, "width": 8}, "resample": 9}, "resample"),
    ({"rescale_factor": -1}, "rescale_factor")])
def test_broken_preprocessing(values, part, small_model, tmp_path):
    (small_model / "preprocessor_config.json").write_text(json.dumps({"image_mean": 0.5, "image_std": 0.5} | values))
    refused(small_model, tmp_path, "preprocessor_config.json", part)


def test_missing_folder_and_unwritable_output(small_model, tmp_path, capsys):
    assert main(["import", str(tmp_path / "nothing"), "-o", str(tmp_path / "x.mlir")]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert main(["import", str(small_model), "-o", str(tmp_path / "no" / "x.mlir")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["import", str(small_model), "-o", str(small_model / "config.json" / "x.mlir")]) == 1
    assert main(["import", str(small_model), "-o", str(tmp_path / "x.mlir"), "--max-batch", "0"]) == 1
    assert "batch bounds" in capsys.readouterr().err


def test_unknown_options_are_one_message(capsys):
    assert main(["import", "--nonsense"]) == 1
    assert main(["frobnicate"]) == 1
    assert capsys.readouterr().err.count("vitrify: error: ") == 2
