"""Quantisation-aware training with PyTorch: linears that compute as the compiled ones will, and a checkpoint that compiles to what was trained.

    qat.prepare(model)                                   # every nn.Linear but the last becomes an E4M3Linear; precision="nvfp4": an NVFP4Linear
    qat.calibrate(model, batches)                        # scales of their inputs; NVFP4 needs none
    aligned = qat.Alignment(model, teacher, names)       # features of chosen modules beside the float model's
    logits, loss = aligned(x)                            # ... train on loss, or on loss + a loss of the task
    qat.export(model, source_folder, output_folder)      # codes and scales in the compressed-tensors format, those of NVFP4 in ModelOpt's

Arithmetic: codes = E4M3(clamp(v * (1 / scale), -448, 448)) in f32, to nearest even, as vit.quantize says; v stands for an input with one scale that
calibration found, or for a row of weights with the scale max |row| / 448. NVFP4 is of weights alone: t = max |W| / 2688, s = E4M3(max |16 of a row| / 6 * (1 / t)),
codes = E2M1(v * (1 / (s t))), as vitrify-compile --precision=nvfp4 rounds them. Gradients pass through the rounding, and not through the clamp
(straight-through estimator: Bengio, Léonard, Courville, arXiv 1308.3432). PyTorch is not a requirement of the package: install it to use this module.
"""
import copy
import json
import shutil
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from vitrify.errors import VitrifyError
from vitrify.files import replacing

E4M3_MAX = 448.0
E2M1_MAX = 6.0
BLOCK = 16  # columns of NVFP4 that share a scale


class _FakeQuantise(torch.autograd.Function):
    @staticmethod
    def forward(context, values, scale):
        scaled = values.float() * (1.0 / scale.float())
        context.save_for_backward(scaled.abs() <= E4M3_MAX)
        codes = scaled.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)
        return (codes.float() * scale).to(values.dtype)

    @staticmethod
    def backward(context, gradient):
        inside, = context.saved_tensors
        return gradient * inside, None


def fake_quantise(values, scale):
    """values rounded to E4M3 codes times `scale` (a scalar, or [N, 1] for rows of weights); same shape and type."""
    return _FakeQuantise.apply(values, scale)


class E4M3Linear(nn.Module):
    """A linear on E4M3 codes: weight float [N, K] that is trained, bias [N] or None, input_scale [] found by `calibrate`.

    Until input_scale is known the input is not rounded.
    """

    def __init__(self, linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("input_scale", torch.zeros((), dtype=torch.float32, device=linear.weight.device))

    def weight_scale(self):
        """float32 [N, 1]: max |row| / 448, and 1 for a row of zeros."""
        most = self.weight.detach().float().abs().amax(1, keepdim=True)
        return torch.where(most > 0, most / E4M3_MAX, torch.ones_like(most))

    def codes(self):
        """float8_e4m3fn [N, K]."""
        scaled = self.weight.detach().float() * (1.0 / self.weight_scale())
        return scaled.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)

    def forward(self, x):
        if self.input_scale > 0:
            x = fake_quantise(x, self.input_scale)
        return functional.linear(x, fake_quantise(self.weight, self.weight_scale()), self.bias)


def round_e2m1(values):
    """float32 values to the nearest of 0, 0.5, 1, 1.5, 2, 3, 4 and 6 and their negatives, ties to the even code."""
    most = values.abs().clamp(max=E2M1_MAX)
    step = torch.where(most < 2, 0.5, torch.where(most < 4, 1.0, 2.0))
    return torch.copysign(torch.round(most / step) * step, values)


class _FakeBlocks(torch.autograd.Function):
    @staticmethod
    def forward(context, weight, scale):
        each = scale.repeat_interleave(BLOCK, 1)
        scaled = torch.where(each > 0, weight.float() * (1.0 / each), 0.0)
        context.save_for_backward(scaled.abs() <= E2M1_MAX)
        return (round_e2m1(scaled) * each).to(weight.dtype)

    @staticmethod
    def backward(context, gradient):
        inside, = context.saved_tensors
        return gradient * inside, None


class NVFP4Linear(nn.Module):
    """A linear on NVFP4 codes: weight float [N, K] that is trained, K a multiple of 16, bias [N] or None; its input is not rounded."""

    def __init__(self, linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features
        if self.in_features % BLOCK:
            raise VitrifyError(f"a linear of {self.in_features} inputs has no form in nvfp4; expected a multiple of {BLOCK}")

    def scales(self):
        """(float8_e4m3fn [N, K / 16], float32 []): of the blocks, and of all."""
        w = self.weight.detach().float()
        of_all = (w.abs().max().double() / (E2M1_MAX * E4M3_MAX)).float()
        of_all = torch.where(of_all > 0, of_all, torch.ones_like(of_all))
        most = w.abs().reshape(len(w), -1, BLOCK).amax(2)
        most = torch.where(most > 0, (most.double() / E2M1_MAX).float(), torch.ones_like(most))
        return (most * (1.0 / of_all)).clamp(max=E4M3_MAX).to(torch.float8_e4m3fn), of_all

    def codes(self):
        """uint8 [N, K / 2]: E2M1 codes, two a byte, the first in its low half."""
        blocks, of_all = self.scales()
        each = (blocks.float() * of_all).repeat_interleave(BLOCK, 1)
        scaled = torch.where(each > 0, self.weight.detach().float() * (1.0 / each), 0.0)
        values = round_e2m1(scaled)
        magnitudes = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6], device=values.device)
        code = torch.bucketize(values.abs(), magnitudes) + 8 * torch.signbit(values)
        return (code[:, 0::2] | code[:, 1::2] << 4).to(torch.uint8)

    def forward(self, x):
        blocks, of_all = self.scales()
        return functional.linear(x, _FakeBlocks.apply(self.weight, blocks.float() * of_all), self.bias)


LINEARS = {"e4m3": E4M3Linear, "nvfp4": NVFP4Linear}


def prepare(model, skip=("classifier", "pooler"), precision="e4m3"):
    """Replaces nn.Linear modules in place by E4M3Linear or NVFP4Linear, but for those with a part of their name in `skip`. Returns their names."""
    if precision not in LINEARS:
        raise VitrifyError(f"unknown precision {precision!r}; expected one of {', '.join(LINEARS)}")
    names = [name for name, module in model.named_modules() if type(module) is nn.Linear and not set(name.split(".")) & set(skip)]
    if not names:
        raise VitrifyError("the model has no linear to prepare")
    for name in names:
        parent, _, child = name.rpartition(".")
        owner = model.get_submodule(parent)
        setattr(owner, child, LINEARS[precision](getattr(owner, child)))
    return names


def calibrate(model, batches):
    """Sets every input_scale of an E4M3Linear to the largest magnitude of that input over `batches` / 448; inputs are not rounded meanwhile."""
    most, hooks = {}, []
    linears = {name: module for name, module in model.named_modules() if isinstance(module, E4M3Linear)}
    for name, module in linears.items():
        module.input_scale.zero_()

        def look(_, inputs, name=name):
            most[name] = max(most.get(name, 0.0), float(inputs[0].detach().abs().max()))

        hooks.append(module.register_forward_pre_hook(look))
    try:
        with torch.no_grad():
            for batch in batches:
                model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if set(most) != set(linears):
        raise VitrifyError(f"no image reached {', '.join(sorted(set(linears) - set(most))[:3])}")
    for name, module in linears.items():
        module.input_scale.fill_(max(most[name], torch.finfo(torch.float32).tiny * E4M3_MAX) / E4M3_MAX)


class Alignment:
    """Runs a student and its float teacher on the same batch; the loss is how far the features of the named modules are apart.

    For each: the squared difference over the teacher's mean square, averaged; so no layer outweighs the others by its size.
    """

    def __init__(self, student, teacher, names):
        self.student, self.teacher, self.names = student, copy.deepcopy(teacher).eval().requires_grad_(False), list(names)
        self._seen = {}
        for side, model in (("student", student), ("teacher", self.teacher)):
            known = dict(model.named_modules())
            for name in self.names:
                if name not in known:
                    raise VitrifyError(f"the {side} has no module {name}")
                known[name].register_forward_hook(self._keep(side, name))

    def _keep(self, side, name):
        def hook(_, inputs, output):
            self._seen[side, name] = output[0] if isinstance(output, tuple) else output

        return hook

    def __call__(self, x):
        """(the student's result, loss)."""
        with torch.no_grad():
            self.teacher(x)
        result, loss = self.student(x), 0.0
        for name in self.names:
            wanted, found = self._seen["teacher", name], self._seen["student", name]
            loss = loss + functional.mse_loss(found, wanted) / wanted.square().mean().clamp_min(1e-12)
        return result, loss / len(self.names)


def export(model, source, folder):
    """Writes a checkpoint that `vitrify import` takes: codes, scales of rows and inputs, and every other tensor as float32.

    source: the folder that the model came from (config.json, preprocessor_config.json). Raises VitrifyError for a linear that was not calibrated.
    """
    from safetensors.torch import save

    source, folder = Path(source), Path(folder)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    linears = {name: module for name, module in model.named_modules() if isinstance(module, tuple(LINEARS.values()))}
    kinds = {type(module) for module in linears.values()}
    if len(kinds) != 1:
        raise VitrifyError(f"a checkpoint has linears of one precision; the model has {'none' if not kinds else 'several'}")
    nvfp4 = kinds == {NVFP4Linear}
    tensors = {}
    for name, value in model.state_dict().items():
        owner, _, last = name.rpartition(".")
        if owner in linears and last in ("weight", "input_scale"):
            continue
        tensors[name] = value.detach().float().contiguous()
    for name, linear in linears.items():
        if nvfp4:
            blocks, of_all = linear.scales()
            tensors |= {f"{name}.weight": linear.codes(), f"{name}.weight_scale": blocks, f"{name}.weight_scale_2": of_all}
            continue
        if not linear.input_scale > 0:
            raise VitrifyError(f"{name} was not calibrated")
        tensors |= {f"{name}.weight": linear.codes(), f"{name}.weight_scale": linear.weight_scale(), f"{name}.input_scale": linear.input_scale.reshape(1).clone()}
    floats = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    eight = {"num_bits": 8, "type": "float", "symmetric": True}
    config["quantization_config"] = {"quant_method": "modelopt", "quant_algo": "W4A16_NVFP4", "group_size": BLOCK, "ignore": floats} if nvfp4 else {
        "quant_method": "compressed-tensors", "format": "float-quantized", "ignore": floats,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": eight | {"strategy": "channel", "dynamic": False},
                                      "input_activations": eight | {"strategy": "tensor", "dynamic": False}}}}
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.glob("preprocessor_config.json"):
        shutil.copyfile(file, folder / file.name)
    with replacing(folder / "model.safetensors", "wb") as stream:
        stream.write(save(tensors))
    with replacing(folder / "config.json") as stream:
        json.dump(config, stream, indent=1)
