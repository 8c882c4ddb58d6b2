"""GPU kernels that move rows by place, and rotary positions, on the emulator against numpy in f64."""
import numpy as np
from gpu_ops import BF16, F16, F32, I32, Case, Result, Static, Weight, check, f64, kind, normal, refused, rows
from x86_kernels import Columns


def result(expected, size, dtype, sums=2):
    """Sums of f32: so many roundings of their magnitudes."""
    return Result(expected, sums * 2.0**-24 * size, dtype)


def assemble_case(segments, d, prefix, registers, position, dtype, uniform=True):
    rng = np.random.default_rng([d, prefix, registers])
    patches = normal(rng, (sum(segments), d), dtype)
    operands, text = {"p": patches}, "%r = vit.assemble_tokens %p"
    parts = {"prefix": prefix, "registers": registers, "position": position}
    tables = {name: normal(rng, (count, d), dtype) for name, count in parts.items() if count}
    for name, table in tables.items():
        operands[name] = Weight(table)
        text += f" {name}(%{name} : {kind(operands[name])})"
    cu = np.concatenate([[0], np.cumsum(segments)]).astype(I32)
    if uniform:
        text += f" uniform {segments[0]}"
    else:
        operands["cu"] = cu
        text += f" cu_seqlens(%cu : {kind(cu)})"
    out = []
    for begin, end in zip(cu, cu[1:]):
        own = f64(patches[begin:end])
        first = f64(tables["prefix"]) if prefix else np.zeros((0, d))
        if position:
            table = f64(tables["position"])
            on_prefix = position == prefix + len(own)
            own = own + table[prefix if on_prefix else 0:][:len(own)]
            first = first + (table[:prefix] if on_prefix else 0)
        out += [first, f64(tables["registers"]) if registers else np.zeros((0, d)), own]
    expected = np.concatenate(out)
    return Case(f"assemble {segments} {d} {prefix} {registers} {position} {uniform}", f'{text} layers ["t"] : {kind(patches)} -> {rows(d, dtype)}', operands,
                [result(expected, np.abs(expected), dtype)])


def test_assemble_tokens():
    """Class tokens with and without positions, registers without them; images of one size and of many."""
    check([assemble_case([16, 16, 16], 96, 1, 0, 17, F16), assemble_case([9, 9], 40, 1, 4, 10, BF16), assemble_case([5], 13, 2, 1, 5, F32),
           assemble_case([4, 4], 24, 0, 0, 4, F16), assemble_case([6, 6], 24, 1, 2, 0, F16),
           assemble_case([7, 1, 0, 12], 32, 1, 3, 0, F16, uniform=False), assemble_case([3, 0, 0, 5], 20, 0, 0, 0, BF16, uniform=False),
           assemble_case([6, 6], 24, 1, 4, 7, F16, uniform=False), assemble_case([6, 6], 24, 1, 0, 6, F16, uniform=False)])


def pool_case(how, first, segments, d, dtype, uniform=True):
    rng = np.random.default_rng([d, first])
    x = normal(rng, (sum(segments), d), dtype)
    cu = np.concatenate([[0], np.cumsum(segments)]).astype(I32)
    operands, text = {"x": x}, f"%r = vit.pool {how} {first} %x"
    if uniform:
        text += f" uniform {segments[0]}"
    else:
        operands["cu"] = cu
        text += f" cu_seqlens(%cu : {kind(cu)})"
    parts = [f64(x[a + first:b]) if how == "mean" else f64(x[a + first:a + first + 1]) for a, b in zip(cu, cu[1:])]
    expected = np.stack([p.mean(0) for p in parts])
    size = np.stack([np.abs(p).mean(0) for p in parts])
    return Case(f"pool {how} {first} {segments} {d} {uniform}", f'{text} layers ["p"] : {kind(x)} -> {rows(d, dtype)}', operands,
                [result(expected, size, dtype, max(segments) + 2 if how == "mean" else 0)])


def test_pool():
    check([pool_case("token", 0, [17] * 3, 96, F16), pool_case("token", 2, [5] * 2, 13, F32), pool_case("mean", 0, [196] * 2, 48, BF16),
           pool_case("mean", 1, [50], 40, F16), pool_case("mean", 1, [3, 40, 2], 24, F32, uniform=False),
           pool_case("token", 0, [3, 1, 9], 64, F16, uniform=False)])


def test_means_read_each_token_once():
    """Whole sectors of each row, and no more; threads that share the tokens, so that none walks over all of them."""
    case = pool_case("mean", 1, [197] * 2, 768, F16)
    counters = check([case])[case.name]
    memory = counters["memory"]
    assert memory["global_bytes"] == 32 * memory["global_sectors"]
    assert memory["global_bytes"] == 2 * (196 + 1) * 768 * 2
    assert memory["shared_wavefronts"] == memory["shared_least_wavefronts"]
    assert counters["barrier_waits"] == 2 * 3 * 8


def test_tables():
    rng = np.random.default_rng(2)
    table, ids = normal(rng, (30, 72), F16), rng.integers(0, 30, 11).astype(I32)
    at, weights = rng.integers(0, 30, (9, 4)).astype(I32), rng.random((9, 4)).astype(F32)
    gathered = np.einsum("nt,ntd->nd", weights.astype(np.float64), f64(table)[at])
    size = np.einsum("nt,ntd->nd", weights.astype(np.float64), np.abs(f64(table))[at])
    check([Case("embed", f'%r = vit.embed %t, %i layers ["e"] : {kind(Weight(table))}, {kind(ids)} -> {rows(72, F16)}', {"t": Weight(table), "i": ids},
                [result(f64(table)[ids], np.zeros((11, 72)), F16)]),
           Case("pos_gather", f'%r = vit.pos_gather %t, %i, %w layers ["p"] : {kind(Weight(table))}, {kind(at)}, {kind(weights)} -> {rows(72, F16)}',
                {"t": Weight(table), "i": at, "w": weights}, [result(gathered, size, F16, 5)])])


def test_wrong_indices_give_wrong_rows():
    """An index outside the table is one inside: never an access out of bounds."""
    rng = np.random.default_rng(3)
    table, ids = normal(rng, (11, 21), F32), I32([3, 0, 10, 11, 99, -7, 2**31 - 1, -2**31])
    at, weights = ids.reshape(4, 2), np.ones((4, 2), F32)
    inside = np.clip(ids, 0, 10)
    gathered = f64(table)[inside].reshape(4, 2, 21).sum(1)
    check([Case("embed", f'%r = vit.embed %t, %i layers ["e"] : {kind(table)}, {kind(ids)} -> {rows(21, F32)}', {"t": table, "i": ids},
                [Result(f64(table)[inside], np.zeros((8, 21)), F32)]),
           Case("pos_gather", f'%r = vit.pos_gather %t, %i, %w layers ["p"] : {kind(Weight(table))}, {kind(at)}, {kind(weights)} -> {rows(21, F32)}',
                {"t": Weight(table), "i": at, "w": weights}, [result(gathered, np.abs(gathered) + 1, F32, 3)]),
           scatter_case("set", 11, 40, F16, at=ids), scatter_case("add", 11, 40, F32, at=ids)])


def scatter_case(mode, m, d, dtype, at, view=False):
    rng = np.random.default_rng([m, d])
    x, source = normal(rng, (m, d), dtype), normal(rng, (len(at), d + 16 if view else d), dtype)
    at = I32(at)
    source = Columns(source, 8, 8 + d) if view else source
    expected, size = f64(x), np.abs(f64(x))
    for new, place in zip(f64(source), np.clip(at, 0, m - 1)):
        expected[place] = new + (expected[place] if mode == "add" else 0)
        size[place] += np.abs(new)
    op = f'%r = vit.scatter_rows {mode} %x, %s, %i layers ["s"] : {kind(x)}, {kind(source)}, {kind(at)} -> {rows(d, dtype)}'
    return Case(f"scatter {mode} {m}x{d} of {len(at)} {view}", op, {"x": x, "s": source, "i": at},
                [result(expected, size, dtype, len(at) if mode == "add" else 0)])


def test_scatter_rows():
    """Places named once, many times and never, by more than 32 indices; rows of more than one warp."""
    rng = np.random.default_rng(4)
    check([case for mode in ("set", "add") for case in (
        scatter_case(mode, 7, 96, F16, [5, 0, 5]), scatter_case(mode, 37, 13, F32, rng.integers(0, 20, 100)),
        scatter_case(mode, 5, 1100, BF16, [4, 1]), scatter_case(mode, 9, 300, F16, rng.permutation(9)[:4], view=True))])


def cache_case(capacity, d, dtype, filled, new, view=False):
    """A cache of len(filled) segments; `new` rows come to each. What has no place is not written."""
    rng = np.random.default_rng([capacity, d])
    cache, x = normal(rng, (len(filled), capacity, d), dtype), normal(rng, (sum(new), d + 24 if view else d), dtype)
    x = Columns(x, 16, 16 + d) if view else x
    cu = np.concatenate([[0], np.cumsum(new)]).astype(I32)
    expected = f64(cache)
    for segment, (begin, end, at) in enumerate(zip(cu, cu[1:], filled)):
        for row in range(begin, end):
            if at + row - begin < capacity:
                expected[segment, at + row - begin] = f64(x)[row]
    lengths, op = I32(filled), '%r = vit.cache_append %c, %x, %l, %cu layers ["c"]'
    types = f"tensor<?x{capacity}x{d}x{kind(cache).split('x')[-1]}"
    return Case(f"append {capacity}x{d} {filled} {new}", f"{op} : {types}, {kind(x)}, {kind(lengths)}, {kind(cu)} -> {types}",
                {"c": cache, "x": x, "l": lengths, "cu": cu}, [Result(expected, np.zeros(expected.shape), dtype)])


def test_cache_append():
    """Segments that get no row, one, many and more than they have place for."""
    check([cache_case(16, 96, F16, [0, 5, 16, 2], [3, 1, 0, 7]), cache_case(9, 13, F32, [4, 8], [0, 4]),
           cache_case(40, 72, BF16, [39, 0], [1, 40], view=True)])


def merge_case(m, d, factor, dtype, view=False):
    x = normal(np.random.default_rng(d), (m, d + 40 if view else d), dtype)
    values = x[:, 8:8 + d] if view else x
    x = Columns(x, 8, 8 + d) if view else x
    return Case(f"merge {m}x{d} by {factor} {view}", f'%r = vit.merge_patches %x by {factor} layers ["m"] : {kind(x)} -> {rows(d * factor, dtype)}', {"x": x},
                [Result(f64(values).reshape(m // factor, -1), np.zeros((m // factor, d * factor)), dtype)])


def test_merge_patches():
    check([merge_case(8, 64, 4, F16), merge_case(6, 13, 2, F32), merge_case(8, 24, 4, BF16, view=True)])


def rope_case(kind_, heads, hd, dtype, sections=None, view=False, m=21):
    rng = np.random.default_rng([heads, hd])
    d = heads * hd
    x = normal(rng, (m, 3 * d if view else d), dtype)
    values = f64(x[:, d:2 * d] if view else x)
    x = Columns(x, d, 2 * d) if view else x
    axes = 2 if kind_ == "vision_2d" else 3
    positions = rng.integers(0, 3000, (axes, m)).astype(I32)
    half, theta = hd // 2, 10000.0
    s = np.arange(half)
    if kind_ == "vision_2d":
        axis, power = s // (half // 2), (s % (half // 2)) / (half // 2)
    else:
        axis, power = np.zeros(half, int), s / half
        if sections:
            axis = np.where((s % 3 == 1) & (s < 3 * sections[1]), 1, np.where((s % 3 == 2) & (s < 3 * sections[2]), 2, 0))
    angle = (positions[axis].T.astype(F32) * (F32(1) / (theta**power).astype(F32))).astype(np.float64)[:, None]
    a, b = np.split(values.reshape(m, heads, hd), 2, axis=2)
    expected = np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], 2).reshape(m, d)
    size = np.tile(np.abs(a) + np.abs(b), (1, 1, 2)).reshape(m, d)
    types = f"{kind(x)}, tensor<{axes}x?xi32> -> {rows(d, dtype)}"
    text = "" if sections is None else f" sections {np.array2string(np.array(sections), separator=', ').replace('[', 'array<i64: ').replace(']', '>')}"
    op = f'%r = vit.rope {kind_} %x, %p head_dim {hd} theta 1.0e4{text.replace("array<i64: ", "[").replace(">", "]")} layers ["r"] : {types}'
    # sin and cos are within 2^-20.5 on [-pi, pi].
    return Case(f"rope {kind_} {heads}x{hd} {sections} {view}", op, {"x": x, "p": Positions(positions)}, [Result(expected, 2.0**-19.5 * size, dtype)])


class Positions(Static):
    """[axes, rows], the rows dynamic."""

    @property
    def text(self):
        return f"tensor<{self.array.shape[0]}x?xi32>"


def test_rope():
    check([rope_case("vision_2d", 2, 64, F16), rope_case("vision_2d", 1, 72, BF16), rope_case("mrope", 2, 128, F16, [24, 20, 20]),
           rope_case("mrope", 3, 32, F32), rope_case("vision_2d", 2, 64, F16, view=True), rope_case("vision_2d", 1, 12, F32)])


def test_what_is_refused():
    x, table = normal(np.random.default_rng(1), (6, 16), F16), normal(np.random.default_rng(1), (3, 16), F16)
    op = f'%r = vit.assemble_tokens %x position(%t : {kind(table)}) uniform 3 layers ["t"] : {kind(x)} -> {rows(16, F16)}'
    assert "positions of a number of rows that is not known" in refused(Case("dynamic", op, {"x": x, "t": table}, []))
    assert "rows of a slice that are merged and no multiple of 8 columns" in refused(merge_case(6, 13, 2, F32, view=True))
    long = rope_case("mrope", 1, 264, F16)
    assert "rotary positions of heads of 264 columns (at most 256)" in refused(long)
