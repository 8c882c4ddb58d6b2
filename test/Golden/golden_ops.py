"""Expected results of every op of the vit dialect, computed by PyTorch (and transformers for rotary positions).

Inputs are float32 from a seeded generator; PyTorch computes in float64 where its function allows it, and the results are
rounded to float32 once, so the files are better than any float32 implementation that is compared with them.
"""
import numpy as np
import torch
import torch.nn.functional as F

from seeded import normal


def t(x):
    return torch.from_numpy(np.asarray(x)).double() if np.asarray(x).dtype == np.float32 else torch.from_numpy(np.asarray(x))


def f32(x):
    return x.detach().to(torch.float32).numpy()


def norm():
    out = {}
    for i, (d, eps) in enumerate(((1, 1e-6), (7, 1e-12), (72, 1e-5), (96, 1e-12))):
        x, g, b = normal(100 + i, (5, d), 3.0), 1 + normal(110 + i, (d,), 0.3), normal(120 + i, (d,), 0.3)
        x[0] += 50  # a large mean: a variance as E[x^2] - E[x]^2 in f32 would lose it
        out |= {f"layer_d{d}.x": x, f"layer_d{d}.gamma": g, f"layer_d{d}.beta": b, f"layer_d{d}.eps": np.float64(eps),
                f"layer_d{d}.y": f32(F.layer_norm(t(x), (d,), t(g), t(b), eps)),
                f"rms_d{d}.x": x, f"rms_d{d}.gamma": g, f"rms_d{d}.eps": np.float64(eps),
                f"rms_d{d}.y": f32(F.rms_norm(t(x), (d,), t(g), eps))}
    x, g = normal(130, (5, 72), 2.0), 1 + normal(131, (24,), 0.3)
    out |= {"rms_width24.x": x, "rms_width24.gamma": g, "rms_width24.eps": np.float64(1e-6),
            "rms_width24.y": f32(F.rms_norm(t(x).reshape(5, 3, 24), (24,), t(g), 1e-6).reshape(5, 72))}
    return out


def linear():
    out = {}
    for i, (m, n, k) in enumerate(((1, 1, 1), (5, 7, 3), (17, 40, 72), (3, 96, 49))):
        x, w, b = normal(200 + i, (m, k)), normal(210 + i, (n, k)), normal(220 + i, (n,))
        name = f"m{m}_n{n}_k{k}"
        out |= {f"{name}.x": x, f"{name}.w": w, f"{name}.b": b, f"{name}.y": f32(F.linear(t(x), t(w), t(b)))}
    # scales along K: x by 1 x 8 groups, w by 4 x 8 blocks
    x, w, xs, ws = normal(230, (6, 24)), normal(231, (10, 24)), np.abs(normal(232, (6, 3))) + 0.1, np.abs(normal(233, (3, 3))) + 0.1
    xd = t(x) * t(xs).repeat_interleave(8, 1)
    wd = t(w) * t(ws).repeat_interleave(4, 0)[:10].repeat_interleave(8, 1)
    return out | {"scaled.x": x, "scaled.w": w, "scaled.xs": xs, "scaled.ws": ws, "scaled.y": f32(F.linear(xd, wd))}


def act():
    grid = np.concatenate([np.linspace(-12, 12, 481), [-1e4, -100, -0.0, 0.0, 1e-30, -1e-30, 1e-6, 100, 1e4]]).astype(np.float32)[None]
    x = t(grid)
    return {"x": grid, "gelu_erf": f32(F.gelu(x)), "gelu_tanh": f32(F.gelu(x, approximate="tanh")),
            "quick_gelu": f32(x * torch.sigmoid(1.702 * x)), "silu": f32(F.silu(x)), "relu": f32(F.relu(x)), "tanh": f32(torch.tanh(x)),
            "sigmoid": f32(torch.sigmoid(x))}


def glu():
    a, b = normal(300, (5, 24), 2.0), normal(301, (5, 24))
    return {"a": a, "b": b, "silu": f32(F.silu(t(a)) * t(b)), "gelu_erf": f32(F.gelu(t(a)) * t(b))}


def attend(q, k, v, heads, kv_heads, scale, cu_q, cu_k, causal=False, key_mask=None):
    """Segment by segment through PyTorch's scaled_dot_product_attention; a query without keys gives 0."""
    q, k, v, hd = t(q), t(k), t(v), q.shape[1] // heads
    out = torch.zeros_like(q)
    for s in range(len(cu_q) - 1):
        qs, ks = slice(cu_q[s], cu_q[s + 1]), slice(cu_k[s], cu_k[s + 1])
        nq, nk = qs.stop - qs.start, ks.stop - ks.start
        if nq == 0 or nk == 0:
            continue
        keep = torch.ones(nq, nk, dtype=torch.bool)
        if causal:
            keep = torch.tril(keep, diagonal=nk - nq)
        if key_mask is not None:
            keep = keep & torch.from_numpy(key_mask[ks] != 0)
        split = lambda x, n: x.reshape(x.shape[0], n, hd).transpose(0, 1)[None]
        y = F.scaled_dot_product_attention(split(q[qs], heads), split(k[ks], kv_heads), split(v[ks], kv_heads), attn_mask=keep, scale=scale,
                                           enable_gqa=heads != kv_heads)
        y = torch.where(keep.any(-1)[None, None, :, None], y, torch.zeros(()).double())
        out[qs] = y[0].transpose(0, 1).reshape(nq, heads * hd)
    return f32(out)


def attention():
    out = {}

    def case(name, seed, heads, kv_heads, hd, cu_q, cu_k=None, scale=None, uniform=None, kv_uniform=None, amplitude=1.0, **kwargs):
        cu_k = cu_q if cu_k is None else cu_k
        scale = hd ** -0.5 if scale is None else scale
        q = normal(seed, (cu_q[-1], heads * hd), amplitude)
        k, v = normal(seed + 1, (cu_k[-1], kv_heads * hd), amplitude), normal(seed + 2, (cu_k[-1], kv_heads * hd))
        meta = {"heads": heads, "kv_heads": kv_heads, "uniform": uniform or 0, "kv_uniform": kv_uniform or 0, "causal": int(kwargs.get("causal", False))}
        out.update({f"{name}.q": q, f"{name}.k": k, f"{name}.v": v, f"{name}.scale": np.float64(scale),
                    f"{name}.cu_q": np.int32(cu_q), f"{name}.cu_k": np.int32(cu_k),
                    f"{name}.y": attend(q, k, v, heads, kv_heads, scale, cu_q, cu_k, **kwargs)})
        out.update({f"{name}.{key}": np.int64(value) for key, value in meta.items()})
        if "key_mask" in kwargs:
            out[f"{name}.key_mask"] = kwargs["key_mask"]

    case("one_token", 400, 2, 2, 24, [0, 1, 2], uniform=1)
    case("uniform17", 410, 3, 3, 40, [0, 17, 34], uniform=17)
    case("hd72", 420, 1, 1, 72, [0, 5], uniform=5)
    case("large_scores", 430, 2, 2, 8, [0, 9], uniform=9, amplitude=20.0)
    case("segments", 440, 2, 2, 16, [0, 3, 3, 12, 13])
    case("causal", 450, 2, 2, 16, [0, 4, 11], causal=True)
    case("grouped", 460, 4, 2, 8, [0, 6, 13])
    case("cached", 470, 4, 1, 8, [0, 2, 3], [0, 7, 12], causal=True)
    case("masked", 480, 2, 2, 8, [0, 6, 12], uniform=6, scale=0.4, key_mask=np.int32([1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]))
    # a probe: one query row shared by every segment of keys (SigLIP's pooling head)
    q, k, v = normal(490, (1, 32)), normal(491, (15, 32)), normal(492, (15, 32))
    y = np.concatenate([attend(q, k[5 * i:5 * i + 5], v[5 * i:5 * i + 5], 4, 4, 8 ** -0.5, [0, 1], [0, 5]) for i in range(3)])
    return out | {"probe.q": q, "probe.k": k, "probe.v": v, "probe.scale": np.float64(8 ** -0.5), "probe.y": y, "probe.heads": np.int64(4),
                  "probe.kv_heads": np.int64(4), "probe.uniform": np.int64(1), "probe.kv_uniform": np.int64(5)}


def rope():
    from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig

    heads, hd, theta = 2, 24, 1e4
    x, pos = normal(500, (7, heads * hd)), np.int32([[0, 0, 1, 1, 5, 30, 47], [0, 1, 0, 1, 9, 2, 47]])
    inv = 1.0 / theta ** (torch.arange(0, hd // 2, 2, dtype=torch.float64) / (hd // 2))
    freqs = torch.from_numpy(pos).double()[..., None] * inv
    full = torch.cat([freqs[0], freqs[1]], -1)
    full = torch.cat([full, full], -1)
    xs = t(x).reshape(7, heads, hd)
    y = xs * full.cos()[:, None] + qwen.rotate_half(xs) * full.sin()[:, None]
    out = {"vision.x": x, "vision.positions": pos, "vision.head_dim": np.int64(hd), "vision.theta": np.float64(theta), "vision.y": f32(y.reshape(7, -1))}

    hd, sections, theta = 32, [6, 5, 5], 5e6
    config = Qwen3VLTextConfig(hidden_size=heads * hd, num_attention_heads=heads, head_dim=hd,
                               rope_parameters=dict(rope_type="default", rope_theta=theta, mrope_section=sections, mrope_interleaved=True))
    rotary = qwen.Qwen3VLTextRotaryEmbedding(config)
    x, pos = normal(510, (6, heads * hd)), np.int32([[0, 1, 2, 2, 2, 9], [0, 1, 2, 2, 3, 9], [0, 1, 2, 3, 2, 9]])
    cos, sin = rotary(torch.zeros(1), torch.from_numpy(pos)[:, None].long())
    q = torch.from_numpy(x).reshape(1, 6, heads, hd).transpose(1, 2)
    q, _ = qwen.apply_rotary_pos_emb(q, q, cos, sin)
    return out | {"mrope.x": x, "mrope.positions": pos, "mrope.head_dim": np.int64(hd), "mrope.theta": np.float64(theta),
                  "mrope.sections": np.int64(sections), "mrope.y": f32(q.transpose(1, 2).reshape(6, -1))}


def residual():
    x, y, s = normal(600, (5, 7)), normal(601, (5, 7)), normal(602, (7,))
    return {"x": x, "y": y, "scale": s, "plain": f32(t(x) + t(y)), "scaled": f32(t(x) + t(s) * t(y))}


def pool():
    x = normal(700, (15, 6))
    segments, cu = t(x).reshape(3, 5, 6), np.int32([0, 2, 3, 15])
    ragged = [t(x)[cu[i]:cu[i + 1]] for i in range(3)]
    return {"x": x, "cu_seqlens": cu, "uniform5.token0": f32(segments[:, 0]), "uniform5.token3": f32(segments[:, 3]),
            "uniform5.mean0": f32(segments.mean(1)), "uniform5.mean1": f32(segments[:, 1:].mean(1)),
            "ragged.token0": f32(torch.stack([r[0] for r in ragged])), "ragged.mean0": f32(torch.stack([r.mean(0) for r in ragged]))}


def gate():
    scores = normal(800, (9, 16), 2.0)
    scores[0, :] = 0.5                  # all equal: ties go to the lower index
    scores[1, [3, 5, 9]] = scores[1].max() + 1
    s = t(scores)
    out = {"scores": scores, "k": np.int64(4), "threshold": np.float64(0.25)}
    order = torch.sort(s, dim=-1, descending=True, stable=True).indices
    for name, keep in (("topk", torch.zeros_like(s).scatter_(-1, order[:, :4], 1.0)), ("threshold", (s > 0.25).double())):
        soft = torch.softmax(torch.where(keep > 0, s, -torch.inf), -1).nan_to_num(0.0)
        out |= {f"{name}.one": f32(keep), f"{name}.score": f32(keep * s), f"{name}.sigmoid": f32(keep * torch.sigmoid(s)), f"{name}.softmax": f32(soft)}
    return out


def gated_linear():
    x, w, b, scores = normal(810, (6, 8)), normal(811, (32, 8)), normal(812, (32,)), normal(813, (6, 4), 2.0)
    keep = torch.zeros(6, 4).double().scatter_(-1, t(scores).topk(2, dim=-1).indices, 1.0) * torch.sigmoid(t(scores))
    h = F.gelu(F.linear(t(x), t(w), t(b)))
    return {"x": x, "w": w, "b": b, "scores": scores, "gate": f32(keep), "k": np.int64(2),
            "y": f32((h.unflatten(-1, (4, 8)) * keep[..., None]).flatten(-2))}


def cubic_taps(size_in, size_out):
    """Indices and weights [size_out, 4] of bicubic resizing (Keys' kernel, A = -0.75, half-pixel centres, clamped edges)."""
    at = (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
    base, a = np.floor(at), -0.75
    index, weight = np.zeros((size_out, 4), np.int32), np.zeros((size_out, 4))
    for tap in range(4):
        d = np.abs(at - (base + tap - 1))
        weight[:, tap] = np.where(d <= 1, (a + 2) * d**3 - (a + 3) * d**2 + 1, a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a)
        index[:, tap] = np.clip(base + tap - 1, 0, size_in - 1)
    return index, weight


def linear_taps(size_in, size_out):
    at = np.linspace(0, size_in - 1, size_out)
    low = np.minimum(np.floor(at).astype(np.int32), size_in - 1)
    return np.stack([low, np.minimum(low + 1, size_in - 1)], 1), np.stack([1 - (at - low), at - low], 1)


def outer(rows, columns, width):
    """Taps of a 2-D grid from those of its axes: [h * w, taps_h * taps_w]."""
    (ih, wh), (iw, ww) = rows, columns
    index = (ih[:, None, :, None] * width + iw[None, :, None, :]).reshape(len(ih) * len(iw), -1)
    return np.int32(index), np.float32((wh[:, None, :, None] * ww[None, :, None, :]).reshape(index.shape))


def pos_gather():
    table, out = normal(900, (6 * 5, 4)), {}
    image = t(table).reshape(6, 5, 4).permute(2, 0, 1)[None]
    back = lambda y: f32(y[0].permute(1, 2, 0).reshape(-1, 4))
    index, weights = outer(linear_taps(6, 4), linear_taps(5, 9), 5)
    out |= {"bilinear.index": index, "bilinear.weights": weights,
            "bilinear.y": back(F.interpolate(image, size=(4, 9), mode="bilinear", align_corners=True))}
    index, weights = outer(cubic_taps(6, 8), cubic_taps(5, 3), 5)
    return out | {"table": table, "bicubic.index": index, "bicubic.weights": weights,
                  "bicubic.y": back(F.interpolate(image, size=(8, 3), mode="bicubic", align_corners=False))}


def merge_patches():
    x = normal(910, (12, 3))
    return {"x": x, "factor": np.int64(4), "y": f32(t(x).reshape(3, 12))}


def patch_embed():
    out = {}
    for name, seed, (b, c, h, w), d, (ph, pw) in (("mnist", 920, (2, 1, 28, 28), 6, (7, 7)), ("odd", 930, (1, 3, 8, 15), 5, (4, 3)),
                                                 ("one", 940, (3, 2, 4, 4), 7, (4, 4))):
        x, k, bias = normal(seed, (b, c, h, w)), normal(seed + 1, (d, c, ph, pw)), normal(seed + 2, (d,))
        y = F.conv2d(t(x), t(k), t(bias), stride=(ph, pw)).flatten(2).transpose(1, 2).reshape(-1, d)
        out |= {f"{name}.pixels": x, f"{name}.weight": k.reshape(d, -1), f"{name}.bias": bias, f"{name}.patch": np.int64([ph, pw]), f"{name}.y": f32(y)}
    return out


def assemble_tokens():
    p, cls, reg = normal(950, (6, 4)), normal(951, (1, 4)), normal(952, (2, 4))
    dist, pos4, pos3, pos5 = normal(953, (1, 4)), normal(954, (4, 4)), normal(955, (3, 4)), normal(956, (5, 4))
    images = t(p).reshape(2, 3, 4)
    expand = lambda x: t(x)[None].expand(2, -1, -1)
    return {"patches": p, "uniform": np.int64(3), "cls": cls, "dist": dist, "registers": reg, "position4": pos4, "position3": pos3, "position5": pos5,
            "vit": f32((torch.cat([expand(cls), images], 1) + t(pos4)).flatten(0, 1)),
            "deit": f32((torch.cat([expand(cls), expand(dist), images], 1) + t(pos5)).flatten(0, 1)),
            "patches_only": f32((images + t(pos3)).flatten(0, 1)),
            "position_on_patches": f32(torch.cat([expand(cls), images + t(pos3)], 1).flatten(0, 1)),
            "with_registers": f32(torch.cat([(x := torch.cat([expand(cls), images], 1) + t(pos4))[:, :1], expand(reg), x[:, 1:]], 1).flatten(0, 1))}


def embed():
    table, ids = normal(960, (11, 5)), np.int32([3, 0, 10, 3])
    return {"table": table, "ids": ids, "y": f32(F.embedding(torch.from_numpy(ids).long(), t(table)))}


def scatter_rows():
    x, s, at = normal(970, (7, 3)), normal(971, (3, 3)), np.int32([5, 0, 5])
    index = torch.from_numpy(at).long()
    set_rows = t(x).clone()
    for i, row in zip(at, t(s)):
        set_rows[int(i)] = row
    return {"x": x, "source": s, "index": at, "set": f32(set_rows), "add": f32(t(x).index_add(0, index, t(s)))}


def e4m3(x):
    """Codes of a float32 tensor: nearest even, saturated at 448; NaN is 0x7f."""
    codes = x.clamp(-448, 448).to(torch.float8_e4m3fn).view(torch.uint8)
    return torch.where(torch.isnan(x), torch.tensor(0x7F, dtype=torch.uint8), codes)


def convert():
    halves = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(torch.float16).float()
    codes = torch.arange(256, dtype=torch.int32).to(torch.uint8)
    return {"from_f16": e4m3(halves).numpy(), "to_f32": codes.view(torch.float8_e4m3fn).float().numpy()}


def quantize():
    x = torch.from_numpy(normal(990, (6, 32), 30.0))
    x[2] = 0
    out = {"x": x.numpy(), "block": np.int64(8)}
    amax_scale = lambda a: torch.where(a > 0, a / 448.0, torch.ones(()))
    channel = torch.from_numpy(np.abs(normal(991, (32,))) + 0.05)
    for name, scale, wide in (("tensor", amax_scale(x.abs().max().reshape(1)), lambda s: s), ("channel", channel, lambda s: s),
                              ("token", amax_scale(x.abs().amax(1, keepdim=True)), lambda s: s),
                              ("block", amax_scale(x.reshape(6, 4, 8).abs().amax(2)), lambda s: s.repeat_interleave(8, 1))):
        codes = e4m3(x * wide(1.0 / scale))
        out |= {f"{name}.scale": scale.numpy(), f"{name}.codes": codes.numpy(),
                f"{name}.dequantized": (codes.view(torch.float8_e4m3fn).float() * wide(scale)).numpy()}
    return out


FAMILIES = (norm, linear, act, glu, attention, rope, residual, pool, gate, gated_linear, pos_gather, merge_patches, patch_embed, assemble_tokens, embed,
            scatter_rows, convert, quantize)
