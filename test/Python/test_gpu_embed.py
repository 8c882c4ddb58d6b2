"""GPU kernels from pixels to tokens and back to one row an image, on the emulator against numpy in f64."""
import numpy as np
import pytest
from gpu_ops import BF16, F16, F32, I32, NAMES, U8, UNIT, Case, Kernels, Result, Static, Weight, check, f64, kind, normal, refused, rows, sum_bound, yielded


def image_type(image, static, interleaved=False):
    b, *sizes = image.shape
    channels = 2 if interleaved else 0
    name = "ui8" if image.dtype == U8 else NAMES[image.dtype]
    return f"tensor<?x{'x'.join(str(n) if static or i == channels else '?' for i, n in enumerate(sizes))}x{name}>"


def patch_case(shape, patch, n, pixels, dtype, out=F32, static=True, weight=None, bias=None, image=None, seed=0, interleaved=False):
    rng = np.random.default_rng([*shape, seed])
    b, c, h, w = shape
    ph, pw = patch
    k = c * ph * pw
    if image is None:
        image = rng.integers(0, 256, shape).astype(pixels) if pixels in (U8, np.int8) else normal(rng, shape, pixels)
    size = 0.1 if pixels not in (U8, np.int8) else 0.001
    weight = normal(rng, (n, k), dtype, size) if weight is None else weight
    bias = normal(rng, n, F32) if bias is None else bias
    given = np.ascontiguousarray(image.transpose(0, 2, 3, 1)) if interleaved else image
    kind_of_image = image_type(given, static, interleaved)
    op = (f'%r = vit.patch_embed %i, %w patch {ph} x {pw} {"interleaved " if interleaved else ""}layers ["p"] : {kind_of_image}, '
          f"{kind(Weight(weight))} -> {rows(n, out)} epilogue(%b [(m, n) -> (n)] : tensor<{n}xf32>) group 1 {{\n"
          f"  ^bb0(%acc: f32, %bias: f32):\n    %y = arith.addf %acc, %bias : f32\n    {yielded('%y', out)}\n  }}")
    narrow = image.astype(F32).astype(dtype)
    unfolded = narrow.reshape(b, c, h // ph, ph, w // pw, pw).transpose((0, 2, 4, 3, 5, 1) if interleaved else (0, 2, 4, 1, 3, 5)).reshape(-1, k)
    expected = f64(unfolded) @ f64(weight).T + bias
    return Case(f"patch {patch} of {shape} {np.dtype(pixels).name} {np.dtype(dtype).name} {static} {interleaved}", op,
                {"i": Image(given, kind_of_image), "w": Weight(weight), "b": Weight(bias)},
                [Result(expected, sum_bound(unfolded, weight) + np.abs(expected) * 2.0**-23, out)])


class Image(Static):
    """An operand whose type is given as text."""

    def __init__(self, array, text):
        super().__init__(array)
        self.text = text


PATCHES = [((2, 3, 28, 42), (14, 14)), ((1, 1, 32, 48), (16, 16)), ((1, 3, 32, 64), (32, 32)), ((1, 4, 21, 14), (7, 7)), ((1, 2, 8, 24), (2, 12))]


@pytest.mark.parametrize("pixels,dtype", [(F32, F16), (F16, F16), (BF16, BF16), (F16, BF16), (U8, F16), (U8, BF16), (np.int8, F16)])
def test_patch_embed(pixels, dtype):
    """Any channels, patches of 14, 16, 32 and odd ones, sizes known when compiled or not."""
    check([patch_case(shape, patch, 40 if i else 72, pixels, dtype, static=i % 2 == 0) for i, (shape, patch) in enumerate(PATCHES)])


@pytest.mark.parametrize("pixels,dtype", [(F32, F16), (F16, F16), (U8, F16), (U8, BF16)])
def test_channels_side_by_side(pixels, dtype):
    """Frames as cameras and decoders give them: lines of a patch are that many times as long."""
    check([patch_case(shape, patch, 40 if i else 72, pixels, dtype, static=i % 2 == 0, interleaved=True) for i, (shape, patch) in enumerate(PATCHES)])


def test_patch_tiles_give_equal_bits():
    check([patch_case((3, 3, 56, 70), (14, 14), 136, F32, F16, out=F16)], every_variant=True)


def test_frames_with_mean_and_deviation_folded():
    """Bytes go in as they are: what the normalised image gives, with 1 / (255 std) in the weight and the mean in the bias."""
    rng = np.random.default_rng(4)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    frames = rng.integers(0, 256, (2, 3, 32, 32)).astype(U8)
    weight, bias = rng.standard_normal((24, 3, 256)) * 0.05, rng.standard_normal(24)
    folded = (weight / (255 * std)[None, :, None]).reshape(24, 768).astype(F16)
    moved = (bias - (weight * (mean / std)[None, :, None]).sum((1, 2))).astype(F32)
    case = patch_case((2, 3, 32, 32), (16, 16), 24, U8, F16, weight=folded, bias=moved, image=frames)
    normalised = (frames / 255.0 - mean[:, None, None]) / std[:, None, None]
    unfolded = normalised.reshape(2, 3, 2, 16, 2, 16).transpose(0, 2, 4, 1, 3, 5).reshape(8, 768)
    expected = unfolded @ weight.reshape(24, 768).T + bias
    size = (frames.reshape(2, 3, 2, 16, 2, 16).transpose(0, 2, 4, 1, 3, 5).reshape(8, 768).astype(np.float64)
            @ np.abs(weight / (255 * std)[None, :, None]).reshape(24, 768).T)
    # The folded weights are rounded to f16.
    case.results = [Result(expected, size * (UNIT[np.dtype(F16)][0] + 770 * 2.0**-23) + 2.0**-20, F32)]
    check([case])


def test_pixels_are_read_whole():
    """128-bit access to images of the product's type and to f32 ones; each pixel once for each tile of columns."""
    for pixels in (F16, F32):
        case = patch_case((2, 3, 64, 64), (16, 16), 64, pixels, F16, out=F16)
        memory = check([case])[case.name]["memory"]
        assert memory["global_bytes"] >= (0.95 if pixels == F16 else 0.6) * 32 * memory["global_sectors"]


def test_registers_suffice():
    cases = [patch_case((1, 3, 28, 28), (14, 14), 768, p, F16) for p in (F32, F16, U8)] + [patch_case((1, 3, 32, 32), (16, 16), 1152, F32, BF16)]
    for spec in Kernels(cases, assemble=True).specs:
        assert spec["metrics"]["spill_bytes"] == 0, spec["name"]


def test_what_is_refused():
    case = patch_case((1, 3, 16, 16), (16, 16), 8, F32, F32)
    assert "a patch embedding with weights of f32" in refused(case)
