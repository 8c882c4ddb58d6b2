"""Runs under a weight budget: the same answers, no more memory than the budget, the smallest budget that works is named; on the CPU and the emulated GPU."""
import json
import re

import numpy as np
import pytest
from conftest import EXAMPLE, ROOT
from safetensors.numpy import save_file

from vitrify.compiler import CompileOptions, compile_model
from vitrify.errors import VitrifyError
from vitrify.importer import import_folder
from vitrify.targets import host_target
from vitrify.tools import run_tool

HIDDEN, MLP, LAYERS = 384, 1536, 12
EMULATED = ROOT / "build" / "lib" / "emulator" / "libcuda.so.1"


def seeded_vit(folder, distinct=LAYERS):
    """A ViT of 85 MB in f32 whose layers use `distinct` sets of weights in turn, each stored in every layer."""
    folder.mkdir()
    config = {"model_type": "vit", "architectures": ["ViTForImageClassification"], "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 6,
              "intermediate_size": MLP, "image_size": 32, "patch_size": 16, "num_channels": 3, "hidden_act": "gelu", "id2label": {"0": "a", "1": "b"}}
    (folder / "config.json").write_text(json.dumps(config))
    made = {}

    def random(seed, *shape):
        return (np.random.RandomState(seed).standard_normal(shape) * shape[-1] ** -0.5).astype(np.float32)

    for layer in range(LAYERS):
        seed, base = 100 * (layer % distinct), f"vit.encoder.layer.{layer}."
        for i, (part, n, k) in enumerate((("attention.attention.query", HIDDEN, HIDDEN), ("attention.attention.key", HIDDEN, HIDDEN),
                                          ("attention.attention.value", HIDDEN, HIDDEN), ("attention.output.dense", HIDDEN, HIDDEN),
                                          ("intermediate.dense", MLP, HIDDEN), ("output.dense", HIDDEN, MLP))):
            made[f"{base}{part}.weight"], made[f"{base}{part}.bias"] = random(seed + i, n, k), random(seed + 50 + i, n)
        for norm in ("layernorm_before", "layernorm_after"):
            made[f"{base}{norm}.weight"], made[f"{base}{norm}.bias"] = np.ones(HIDDEN, np.float32), np.zeros(HIDDEN, np.float32)
    e = "vit.embeddings."
    made |= {f"{e}cls_token": random(1, 1, 1, HIDDEN), f"{e}position_embeddings": random(2, 1, 5, HIDDEN),
             f"{e}patch_embeddings.projection.weight": random(3, HIDDEN, 3, 16, 16), f"{e}patch_embeddings.projection.bias": random(4, HIDDEN),
             "vit.layernorm.weight": np.ones(HIDDEN, np.float32), "vit.layernorm.bias": np.zeros(HIDDEN, np.float32),
             "classifier.weight": random(5, 2, HIDDEN), "classifier.bias": random(6, 2)}
    save_file(made, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    root = tmp_path_factory.mktemp("vit")
    np.save(root / "x.npy", np.random.RandomState(9).standard_normal((2, 3, 32, 32)).astype(np.float32))
    compile_model(seeded_vit(root / "model"), None, root / "m.vitrify", CompileOptions(precision="f32"))
    return root


def run(root, bundle, *options):
    run_tool("vitrify-run", [bundle, f"--input={root / 'x.npy'}", f"--output={root / 'y.npy'}", *options])
    return np.load(root / "y.npy")


def smallest(root, bundle, *options):
    with pytest.raises(VitrifyError) as caught:
        run(root, bundle, "--weight-budget=1", *options)
    message = str(caught.value)
    found = re.search(r"the weight budget of 1 bytes is too small: step '(\S+)' reads (\d+) bytes of weights at once; the smallest budget that works is (\d+)$", message)
    assert found and found[2] == found[3], message
    return int(found[3])


def test_the_smallest_budget_is_named_and_works(vit):
    bundle = vit / "m.vitrify"
    least = smallest(vit, bundle)
    assert MLP * HIDDEN * 4 <= least <= 1.05 * MLP * HIDDEN * 4  # fc1 or fc2 with its bias
    expected = run(vit, bundle)
    for budget in (least, least + 4096, 3 * least, 1 << 40):
        assert np.array_equal(run(vit, bundle, f"--weight-budget={budget}"), expected), budget
        assert np.array_equal(run(vit, bundle, f"--weight-budget={budget}", "--threads=1"), expected), budget
    with pytest.raises(VitrifyError, match="too small"):
        run(vit, bundle, f"--weight-budget={least - 1}")


def test_resident_memory_stays_within_the_budget(vit):
    bench = lambda *options: json.loads(run_tool("vitrify-run", [vit / "m.vitrify", f"--input={vit / 'x.npy'}", "--bench=4", "--warmup=1", *options]))
    whole, budget = bench(), 6 << 20
    streamed = bench(f"--weight-budget={budget}")
    weights = json.loads(run_tool("vitrify-inspect", [vit / "m.vitrify", "--json"]))["weights"]["tensor_bytes"]
    print(f"weights {weights}, peak of all resident {whole['peak_rss_bytes']}, with a budget of {budget} {streamed['peak_rss_bytes']}")
    assert whole["peak_rss_bytes"] > weights
    assert streamed["peak_rss_bytes"] < budget + (32 << 20) < weights


def test_contexts_share_a_budget(vit):
    least = smallest(vit, vit / "m.vitrify")
    done = json.loads(run_tool("vitrify-run", [vit / "m.vitrify", f"--input={vit / 'x.npy'}", "--bench=6", "--contexts=3", f"--weight-budget={least}"]))
    assert done["runs"] >= 6


def test_twelve_layers_of_two_blocks_store_load_and_stream_two(vit, tmp_path):
    """Found without being told: each layer has a copy of its own in the checkpoint."""
    compile_model(seeded_vit(tmp_path / "model", distinct=2), None, tmp_path / "m.vitrify", CompileOptions(precision="f32"))
    report = lambda bundle: json.loads(run_tool("vitrify-inspect", [bundle, "--json"]))["weights"]
    shared, whole = report(tmp_path / "m.vitrify"), report(vit / "m.vitrify")
    block = 4 * (4 * HIDDEN * (HIDDEN + 1) + MLP * (HIDDEN + 1) + HIDDEN * (MLP + 1))
    assert whole["tensor_bytes"] - shared["tensor_bytes"] >= 10 * block
    assert shared["tensor_bytes"] <= 2.2 * block
    (tmp_path / "x.npy").symlink_to(vit / "x.npy")
    peak = lambda *options: json.loads(run_tool("vitrify-run", [tmp_path / "m.vitrify", f"--input={tmp_path / 'x.npy'}", "--bench=2", *options]))["peak_rss_bytes"]
    everything = peak()
    assert everything < 3 * 2 * block  # loaded once, not six times
    expected = run(tmp_path, tmp_path / "m.vitrify")
    budget = int(2.2 * block)  # both blocks fit: nothing is read twice
    assert np.array_equal(run(tmp_path, tmp_path / "m.vitrify", f"--weight-budget={budget}"), expected)


@pytest.mark.skipif(not EMULATED.exists(), reason="the emulated driver is not built")
def test_emulated_gpu_streams_through_its_budget(tmp_path):
    import_folder(EXAMPLE / "vit_mnist_gelu_rescaled", tmp_path / "model.mlir")
    run_tool("vitrify-compile", [tmp_path / "model.mlir", "-o", tmp_path / "m.vitrify", "--target=sm_89", f"--target={host_target()}", "--precision=f16"])
    np.save(tmp_path / "x.npy", np.random.RandomState(3).standard_normal((1, 1, 28, 28)).astype(np.float32))
    device = "--device=emulator:sm_89"
    expected = run(tmp_path, tmp_path / "m.vitrify", device)
    least = smallest(tmp_path, tmp_path / "m.vitrify", device)
    assert least % 256 == 0
    for budget in (least, least + 256 * 7, 1 << 30 if least < 1 << 20 else 4 * least):
        assert np.array_equal(run(tmp_path, tmp_path / "m.vitrify", device, f"--weight-budget={min(budget, 1 << 24)}"), expected), budget
