"""Kernels of forms that talk to other lanes, wait, copy in the background, move matrices, branch and call. See ptx_programs.py."""
import itertools

from ptx_forms import mask
from ptx_numbers import F32, signed
from ptx_programs import DECLARE, Program, fill_space, integer, per_thread

ALL = "0xffffffff"


def by_warp(f, threads=32):
    """An expectation from a function of (a warp's records) to the first bytes of each thread's output."""
    def expected(data):
        out = []
        for first in range(0, len(data), 32):
            warp = [bytes(r) for r in data[first:first + 32]]
            out += [list(got) + [0xA5] * (64 - len(got)) for got in f(warp)]
        return out
    return expected


def words(*values):
    return b"".join((v & mask(32)).to_bytes(4, "little") for v in values)


def shuffle(mode, lane, b, c):
    """(source lane, whether it is in range): the pseudo code of shfl."""
    segment, clamp = c >> 8 & 31, c & 31
    most, least = lane & segment | clamp & ~segment & 31, lane & segment
    b &= 31
    j = {"up": lane - b, "down": lane + b, "bfly": lane ^ b, "idx": least | b & ~segment & 31}[mode]
    inside = j >= most if mode == "up" else j <= most
    return (j if inside else lane), inside


def lane_programs():
    for mode in ("up", "down", "bfly", "idx"):
        for b, c in itertools.product((0, 1, 3, 7, 16, 31), (0, 0x1F, 0x181F, 0x1C1F, 0x1C03, 0x1E01)):
            def exchanged(warp, mode=mode, b=b, c=c):
                out = []
                for lane in range(32):
                    source, inside = shuffle(mode, lane, b, c)
                    out.append(warp[source][:4] + words(inside))
                return out
            yield Program(f"shfl.sync.{mode}.b32 {b} {c:#x}", f"ld.global.u32 %r1, [%in]; shfl.sync.{mode}.b32 %r2|%p1, %r1, {b}, {c}, {ALL};"
                          "selp.u32 %r3, 1, 0, %p1; st.global.v2.u32 [%out], {%r2, %r3};", by_warp(exchanged))
    yield Program("shfl without predicate, b in a register", f"ld.global.u32 %r1, [%in]; shfl.sync.idx.b32 %r2, %r1, %me, 31, {ALL}; st.global.u32 [%out], %r2;",
                  by_warp(lambda warp: [r[:4] for r in warp]))
    # Members that are half of the warp: the other half goes another way.
    half = "and.b32 %r9, %me, 1; setp.eq.u32 %p9, %r9, 0; @!%p9 bra skip; "
    for mode in ("all", "any", "uni", "ballot"):
        for threshold in (0, 256, 100, 3):
            for part, members in ((False, mask(32)), (True, 0x55555555)):
                def voted(warp, mode=mode, threshold=threshold, members=members):
                    votes = [w[0] < threshold for w in warp]
                    mine = [v for lane, v in enumerate(votes) if members >> lane & 1]
                    value = {"all": all(mine), "any": any(mine), "uni": all(mine) or not any(mine),
                             "ballot": sum(v << lane for lane, v in enumerate(votes) if members >> lane & 1)}[mode]
                    return [words(value) if members >> lane & 1 else b"" for lane in range(32)]
                dest = "%r2" if mode == "ballot" else "%p2"
                store = "" if mode == "ballot" else "selp.u32 %r2, 1, 0, %p2;"
                kind = "b32" if mode == "ballot" else "pred"
                yield Program(f"vote.sync.{mode} below {threshold} of {members:#x}",
                              f"ld.global.u8 %r1, [%in]; setp.lt.u32 %p1, %r1, {threshold}; {half if part else ''}"
                              f"vote.sync.{mode}.{kind} {dest}, %p1, {members:#x}; {store} st.global.u32 [%out], %r2; skip:", by_warp(voted))
    yield Program("vote of a negated predicate", f"setp.lt.u32 %p1, %me, 5; vote.sync.ballot.b32 %r2, !%p1, {ALL}; st.global.u32 [%out], %r2;",
                  by_warp(lambda warp: [words(mask(32) & ~31)] * 32))
    for size in (32, 64):
        reg = "%r1" if size == 32 else "%l1"
        value = f"and.b32 %r5, %me, 3; cvt.u64.u32 %l5, %r5; {'mov.u32 %r1, %r5;' if size == 32 else 'shl.b64 %l1, %l5, 40;'}"
        yield Program(f"match.any.sync.b{size}", f"{value} match.any.sync.b{size} %r2, {reg}, {ALL}; st.global.u32 [%out], %r2;",
                      by_warp(lambda warp: [words(0x11111111 << (lane & 3)) for lane in range(32)]))
        for same in (0, 1):
            shift = 5 if same else 3
            yield Program(f"match.all.sync.b{size} {same}", f"shr.u32 %r5, %me, {shift}; cvt.u64.u32 %l1, %r5; mov.u32 %r1, %r5;"
                          f"match.all.sync.b{size} %r2|%p1, {reg}, {ALL}; selp.u32 %r3, 1, 0, %p1; st.global.v2.u32 [%out], {{%r2, %r3}};",
                          by_warp(lambda warp, same=same: [words(mask(32) if same else 0, same)] * 32))
    yield from reductions(half)
    yield Program("activemask", "activemask.b32 %r2; st.global.u32 [%out], %r2;", by_warp(lambda warp: [words(mask(32))] * 32))
    yield Program("activemask of half", half + "activemask.b32 %r2; st.global.u32 [%out], %r2; skip:",
                  by_warp(lambda warp: [words(0x55555555) if lane % 2 == 0 else b"" for lane in range(32)]))
    for members in (mask(32), 0x55555555):
        leader = (members & -members).bit_length() - 1
        yield Program(f"elect.sync {members:#x}", f"{half if members != mask(32) else ''} elect.sync %r2|%p1, {members:#x}; selp.u32 %r3, 1, 0, %p1;"
                      "st.global.v2.u32 [%out], {%r2, %r3}; skip:",
                      by_warp(lambda warp, members=members, leader=leader: [words(leader, lane == leader) if members >> lane & 1 else b"" for lane in range(32)]))


def reductions(half):
    for op, t in [("add", "u32"), ("add", "s32"), ("min", "u32"), ("min", "s32"), ("max", "u32"), ("max", "s32"), ("and", "b32"), ("or", "b32"), ("xor", "b32")]:
        for members in (mask(32), 0x55555555):
            def reduced(warp, op=op, t=t, members=members):
                values = [integer(w, 0, 4) for lane, w in enumerate(warp) if members >> lane & 1]
                total = values[0]
                for v in values[1:]:
                    x, y = (signed(total, 32), signed(v, 32)) if t == "s32" else (total, v)
                    total = {"add": x + y, "min": min(x, y), "max": max(x, y), "and": total & v, "or": total | v, "xor": total ^ v}[op] & mask(32)
                return [words(total) if members >> lane & 1 else b"" for lane in range(32)]
            yield Program(f"redux.sync.{op}.{t} {members:#x}", f"ld.global.u32 %r1, [%in]; {half if members != mask(32) else ''}"
                          f"redux.sync.{op}.{t} %r2, %r1, {members:#x}; st.global.u32 [%out], %r2; skip:", by_warp(reduced))
    for op, absolute, nan in itertools.product(("min", "max"), ("", ".abs"), ("", ".NaN")):
        def reduced(warp, op=op, absolute=absolute, nan=nan):
            codes = [integer(w, 0, 4) for w in warp]
            codes[3] = F32.nan  # one NaN among them
            if absolute:
                codes = [c & ~F32.sign for c in codes]
            kinds = [F32.decode(c).kind for c in codes]
            numbers = [c for c, k in zip(codes, kinds) if k != "nan"]
            best = (min if op == "min" else max)(numbers, key=lambda c: -(c & ~F32.sign) - 1 if c & F32.sign else c)
            return [words(F32.nan if nan else best)] * 32
        yield Program(f"redux.sync.{op}{absolute}{nan}.f32", "ld.global.f32 %f1, [%in]; setp.eq.u32 %p1, %me, 3; @%p1 mov.f32 %f1, 0f7fffffff;"
                      f"redux.sync.{op}{absolute}{nan}.f32 %f2, %f1, {ALL}; st.global.f32 [%out], %f2;", by_warp(reduced))


# ---------------------------------------------------------------- barriers


def barrier_programs():
    """Two warps exchange a word through shared memory: what the barrier must order."""
    exchange = ".shared .align 8 .b8 s[1024];\n"
    before = "mov.u32 %r1, s; mad.lo.u32 %r2, %me, 4, %r1; xor.b32 %r3, %me, 32; mad.lo.u32 %r3, %r3, 4, %r1; ld.global.u32 %r4, [%in]; st.shared.u32 [%r2], %r4;"
    after = "ld.shared.u32 %r5, [%r3]; st.global.u32 [%out], %r5;"

    def swapped(data):
        return [list(bytes(data[t ^ 32][:4])) + [0xA5] * 60 for t in range(len(data))]
    for text in ("bar.sync 0;", "bar.sync 3, 64;", "bar.cta.sync 1;", "barrier.sync 2;", "barrier.sync.aligned 2, 64;", "barrier.cta.sync 4, 64;",
                 "bar.arrive 5, 128; bar.sync 5, 128;", "barrier.arrive 6, 128; barrier.sync 6, 128;",
                 "mov.u32 %r7, 9; bar.sync %r7;", "barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;",
                 "barrier.cluster.arrive; barrier.cluster.wait;"):
        yield Program(text, before + text + after, swapped, threads=64, declarations=exchange)
    for op, kind in (("popc", "u32"), ("and", "pred"), ("or", "pred")):
        for prefix, count in (("bar", ""), ("barrier", ", 64"), ("barrier.cta", "")):
            for threshold in (0, 13, 64):
                def reduced(data, op=op, threshold=threshold):
                    n = threshold
                    value = {"popc": n, "and": n == 64, "or": n > 0}[op]
                    return [list(words(value)) + [0xA5] * 60] * len(data)
                dest = "%r5" if kind == "u32" else "%p2"
                store = "selp.u32 %r5, 1, 0, %p2;" if kind == "pred" else ""
                yield Program(f"{prefix}.red.{op} below {threshold}{count}", f"setp.lt.u32 %p1, %me, {threshold}; {prefix}.red.{op}.{kind} {dest}, 0{count}, %p1;"
                              f"{store} st.global.u32 [%out], %r5;", reduced, threads=64)
    neighbour = "mov.u32 %r1, s; mad.lo.u32 %r2, %me, 4, %r1; xor.b32 %r3, %me, 1; mad.lo.u32 %r3, %r3, 4, %r1; ld.global.u32 %r4, [%in]; st.shared.u32 [%r2], %r4;"
    yield Program("bar.warp.sync", neighbour + f"bar.warp.sync {ALL};" + after, lambda data: [list(bytes(data[t ^ 1][:4])) + [0xA5] * 60 for t in range(len(data))],
                  declarations=exchange)
    yield from mbarrier_programs(before, after, exchange, swapped)


def mbarrier_programs(before, after, exchange, swapped):
    for space in (".shared", ".shared::cta", ""):
        point = "mov.u64 %l1, s; cvta.shared.u64 %l1, %l1; add.u64 %l1, %l1, 512;" if not space else "mov.u64 %l1, s; add.u64 %l1, %l1, 512;"
        start = f"{point} setp.eq.u32 %p1, %me, 0; @%p1 mbarrier.init{space}.b64 [%l1], COUNT; bar.sync 0; {before}"
        for name, count, arrive in (("arrive", 64, f"mbarrier.arrive{space}.b64 %l2, [%l1];"),
                                    ("arrive with a count", 128, f"mbarrier.arrive.release.cta{space}.b64 %l2, [%l1], 2;"),
                                    ("arrive.noComplete", 128, f"mbarrier.arrive.noComplete{space}.b64 %l3, [%l1], 1; mbarrier.arrive{space}.b64 %l2, [%l1];"),
                                    ("arrive_drop", 64, f"mbarrier.arrive_drop{space}.b64 %l2, [%l1];"),
                                    ("arrive.expect_tx", 64, f"mbarrier.arrive.expect_tx{space}.b64 %l2, [%l1], 8; mbarrier.complete_tx.relaxed.cta{space}.b64 [%l1], 8;"),
                                    ("expect_tx", 64, f"mbarrier.expect_tx.relaxed.cta{space}.b64 [%l1], 16; mbarrier.complete_tx{space}.b64 [%l1], 16; mbarrier.arrive{space}.b64 %l2, [%l1];")):
            for wait in (f"mbarrier.test_wait{space}.b64 %p2, [%l1], %l2;", f"mbarrier.try_wait{space}.b64 %p2, [%l1], %l2;",
                         f"mbarrier.test_wait.parity{space}.b64 %p2, [%l1], 0;", f"mbarrier.try_wait.parity.acquire.cta{space}.b64 %p2, [%l1], 0;",
                         f"mbarrier.try_wait{space}.b64 %p2, [%l1], %l2, 1000;"):
                body = start.replace("COUNT", str(count)) + arrive + f"again: {wait} @!%p2 bra again;" + after
                yield Program(f"mbarrier {space} {name} {wait}", body, swapped, threads=64, declarations=exchange)
        yield Program(f"mbarrier.pending_count{space}", f"{point} mbarrier.init{space}.b64 [%l1], 5; mbarrier.arrive{space}.b64 %l2, [%l1]; mbarrier.arrive{space}.b64 %l3, [%l1], 2;"
                      f"mbarrier.pending_count.b64 %r1, %l2; mbarrier.pending_count.b64 %r2, %l3; mbarrier.inval{space}.b64 [%l1]; st.global.v2.u32 [%out], {{%r1, %r2}};",
                      per_thread(lambda _, d: words(5, 4)), threads=1, declarations=exchange)


# ---------------------------------------------------------------- asynchronous copies


def copy_programs():
    """A copy to shared memory and what is there after the wait; 64 bytes a thread."""
    at = "mov.u64 %at, s; mad.wide.u32 %at, %me, 64, %at; "
    drain = "ld.shared.v2.b64 {%l0, %l1}, [%at]; st.global.v2.b64 [%out], {%l0, %l1};"
    zero = "mov.b64 %l2, 0; st.shared.v2.b64 [%at], {%l2, %l2}; "
    for shared in (".shared", ".shared::cta"):
        for cache, size in (("ca", 4), ("ca", 8), ("ca", 16), ("cg", 16)):
            for hint in ("", ".L2::64B", ".L2::128B", ".L2::256B", ".L2::cache_hint"):
                policy = "createpolicy.fractional.L2::evict_first.b64 %l9, 1.0; " if "cache_hint" in hint else ""
                tail = ", %l9" if policy else ""
                copy = f"cp.async.{cache}{shared}.global{hint} [%at], [%in], {size}{tail};"
                yield Program(f"{copy}", at + zero + policy + copy + "cp.async.wait_all;" + drain,
                              per_thread(lambda _, d, n=size: d[:n] + bytes(16 - n)), declarations=DECLARE["shared"])
    for size in (0, 1, 3, 4):
        yield Program(f"cp.async with {size} of 4 bytes", at + zero + f"cp.async.ca.shared.global [%at+4], [%in], 4, {size}; cp.async.commit_group; cp.async.wait_group 0;" + drain,
                      per_thread(lambda _, d, n=size: bytes(4) + d[:n] + bytes(12 - n)), declarations=DECLARE["shared"])
    yield Program("cp.async with a size in a register", at + "and.b32 %r1, %me, 15; cp.async.cg.shared.global [%at], [%in], 16, %r1; cp.async.wait_all;" + drain,
                  per_thread(lambda t, d: d[:t % 16] + bytes(16 - t % 16)), declarations=DECLARE["shared"])
    yield Program("cp.async that ignores its source", at + "and.b32 %r1, %me, 1; setp.ne.u32 %p1, %r1, 0; cp.async.cg.shared.global [%at], [%in], 16, %p1; cp.async.wait_all;" + drain,
                  per_thread(lambda t, d: bytes(16) if t & 1 else d[:16]), declarations=DECLARE["shared"])
    yield Program("cp.async groups", at + "cp.async.cg.shared.global [%at], [%in], 16; cp.async.commit_group; cp.async.cg.shared.global [%at+16], [%in+16], 16;"
                  "cp.async.commit_group; cp.async.wait_group 1;" + drain + "cp.async.wait_group 0; ld.shared.v2.b64 {%l0, %l1}, [%at+16]; st.global.v2.b64 [%out+16], {%l0, %l1};",
                  per_thread(lambda _, d: d[:32]), declarations=DECLARE["shared"])
    for noinc, count in (("", 32), (".noinc", 64)):
        for space in (".shared", ".shared::cta", ""):
            bar = "mov.u64 %l5, s; add.u64 %l5, %l5, 2048;" + ("" if space else "cvta.shared.u64 %l5, %l5;")
            yield Program(f"cp.async.mbarrier.arrive{noinc}{space}", at + bar + f"setp.eq.u32 %p1, %me, 0; @%p1 mbarrier.init{space}.b64 [%l5], {count}; bar.warp.sync {ALL};"
                          f"cp.async.cg.shared.global [%at], [%in], 16; cp.async.mbarrier.arrive{noinc}{space}.b64 [%l5]; mbarrier.arrive{space}.b64 %l6, [%l5];"
                          f"again: mbarrier.test_wait{space}.b64 %p2, [%l5], %l6; @!%p2 bra again;" + drain, per_thread(lambda _, d: d[:16]),
                          declarations=".shared .align 16 .b8 s[2064];\n")


# ---------------------------------------------------------------- matrices of 8 x 8


def matrix_move_programs():
    """Row r of matrix m begins 16 m + ... in the record of thread 8 m + r: its first 16 bytes are eight elements."""
    regs = ["%r20", "%r21", "%r22", "%r23"]

    def element(warp, matrix, row, column):
        return warp[8 * matrix + row][2 * column:2 * column + 2]
    for count in (1, 2, 4):
        for trans in ("", ".trans"):
            listed = "{" + ", ".join(regs[:count]) + "}"
            for space in (".shared", ".shared::cta", ""):
                generic = "" if space else "cvta.shared.u64 %at, %at;"

                def loaded(warp, count=count, trans=trans):
                    out = []
                    for lane in range(32):
                        row, column = lane >> 2, (lane & 3) * 2
                        pairs = [(column + h, row) if trans else (row, column + h) for h in (0, 1)]
                        out.append(b"".join(element(warp, m, *p) for m in range(count) for p in pairs))
                    return out
                stores = "".join(f"st.global.u32 [%out+{4 * i}], {r};" for i, r in enumerate(regs[:count]))
                yield Program(f"ldmatrix.x{count}{trans}{space}", fill_space("shared") + generic + f"bar.warp.sync {ALL};"
                              f"ldmatrix.sync.aligned.m8n8.x{count}{trans}{space}.b16 {listed}, [%at];" + stores, by_warp(loaded), declarations=DECLARE["shared"])

                def stored(warp, count=count, trans=trans):
                    out = []
                    for lane in range(32):
                        matrix, row = divmod(lane, 8)
                        if matrix >= count:
                            out.append(bytes(warp[lane][:16]))
                            continue
                        values = b""
                        for column in range(8):
                            r, c = (column, row) if trans else (row, column)
                            source, h = r * 4 + c // 2, c & 1
                            values += warp[source][16 + 4 * matrix + 2 * h:16 + 4 * matrix + 2 * h + 2]
                        out.append(values)
                    return out
                loads = "".join(f"ld.global.u32 {r}, [%in+{16 + 4 * i}];" for i, r in enumerate(regs[:count]))
                address = "mov.b64 %l7, %at;" + generic.replace("%at, %at", "%l7, %l7")
                yield Program(f"stmatrix.x{count}{trans}{space}", fill_space("shared") + loads + address + f"bar.warp.sync {ALL};"
                              f"stmatrix.sync.aligned.m8n8.x{count}{trans}{space}.b16 [%l7], {listed}; bar.warp.sync {ALL};"
                              "ld.shared.v2.b64 {%l0, %l1}, [%at]; st.global.v2.b64 [%out], {%l0, %l1};", by_warp(stored), declarations=DECLARE["shared"])

    def transposed(warp):
        out = []
        for lane in range(32):
            row, column = lane >> 2, (lane & 3) * 2
            value = b""
            for h in (0, 1):
                source, half = (column + h) * 4 + row // 2, row & 1
                value += warp[source][2 * half:2 * half + 2]
            out.append(value)
        return out
    yield Program("movmatrix", "ld.global.u32 %r1, [%in]; movmatrix.sync.aligned.m8n8.trans.b16 %r2, %r1; st.global.u32 [%out], %r2;", by_warp(transposed))


# ---------------------------------------------------------------- branches, calls, the stack


def control_programs():
    yield Program("bra", "ld.global.u8 %r1, [%in]; setp.gt.u32 %p1, %r1, 99; mov.u32 %r2, 1; @%p1 bra over; mov.u32 %r2, 2; over: st.global.u32 [%out], %r2;",
                  per_thread(lambda _, d: words(1 if d[0] > 99 else 2)))
    yield Program("bra.uni", "mov.u32 %r2, 1; bra.uni over; mov.u32 %r2, 2; over: st.global.u32 [%out], %r2;", per_thread(lambda _, d: words(1)))
    for uni in ("", ".uni"):
        index = "and.b32 %r1, %me, 3;" if not uni else "mov.u32 %r1, 2;"
        yield Program(f"brx.idx{uni}", f"{index} list: .branchtargets l0, l1, l2, l3; brx.idx{uni} %r1, list; l0: mov.u32 %r2, 100; bra done; l1: mov.u32 %r2, 101; bra done;"
                      "l2: mov.u32 %r2, 102; bra done; l3: mov.u32 %r2, 103; done: st.global.u32 [%out], %r2;",
                      per_thread(lambda t, _, uni=uni: words(102 if uni else 100 + t % 4)))
    yield Program("a loop of its own length", "ld.global.u8 %r1, [%in]; mov.u32 %r2, 0; again: setp.eq.u32 %p1, %r1, 0; @%p1 bra done; add.u32 %r2, %r2, %r1; sub.u32 %r1, %r1, 1;"
                  "bra again; done: st.global.u32 [%out], %r2;", per_thread(lambda _, d: words(d[0] * (d[0] + 1) // 2)))
    yield Program("exit of some lanes", "setp.gt.u32 %p1, %me, 9; @%p1 exit; st.global.u32 [%out], %me;", per_thread(lambda t, _: words(t) if t <= 9 else b""))
    yield Program("ret under a guard", "setp.gt.u32 %p1, %me, 9; @%p1 ret; st.global.u32 [%out], %me;", per_thread(lambda t, _: words(t) if t <= 9 else b""))
    function = """.func (.param .b32 result) twice_plusKERNEL(.param .b32 x, .param .align 16 .b8 pair[16])
{ .reg .b32 %r<4>; .reg .b64 %l<4>; ld.param.u32 %r1, [x]; ld.param.v2.b64 {%l1, %l2}, [pair]; add.u64 %l1, %l1, %l2; cvt.u32.u64 %r2, %l1;
mad.lo.u32 %r3, %r1, 2, %r2; st.param.u32 [result], %r3; ret; }
"""
    place = "{ .param .b32 a; .param .align 16 .b8 b[16]; .param .b32 c; ld.global.u32 %r1, [%in]; ld.global.v2.b64 {%l1, %l2}, [%in+16]; st.param.u32 [a], %r1; st.param.v2.b64 [b], {%l1, %l2};"

    def sum_up(_, d):
        return words(2 * integer(d, 0, 4) + integer(d, 16, 8) + integer(d, 24, 8))
    for i, uni in enumerate(("", ".uni")):
        yield Program(f"call{uni}", place + f"call{uni} (c), twice_plus{i}, (a, b); ld.param.u32 %r2, [c]; }} st.global.u32 [%out], %r2;", per_thread(sum_up),
                      before=function.replace("KERNEL", str(i)))
    yield Program("call through a pointer", place + "mov.u64 %l5, twice_plus2; proto: .callprototype (.param .b32 _) _ (.param .b32 _, .param .align 16 .b8 _[16]);"
                  "call (c), %l5, (a, b), proto; ld.param.u32 %r2, [c]; } st.global.u32 [%out], %r2;", per_thread(sum_up), before=function.replace("KERNEL", "2"))
    yield Program("call without arguments", "call nothing3; st.global.u32 [%out], %me;", per_thread(lambda t, _: words(t)), before=".func nothing3() { ret; }\n")
    for t in ("u64", "b64"):
        name = f"alloca.{t}"
        yield Program(name, f"stacksave.{t} %l1; and.b32 %r1, %me, 7; add.u32 %r1, %r1, 16; cvt.u64.u32 %l2, %r1; alloca.{t} %l3, %l2, 16; ld.global.b64 %l4, [%in]; st.local.b64 [%l3], %l4;"
                      f"ld.local.b64 %l5, [%l3]; and.b64 %l6, %l3, 15; stackrestore.{t} %l1; st.global.v2.b64 [%out], {{%l5, %l6}};", per_thread(lambda _, d: d[:8] + bytes(8)))
    yield Program("alloca of the same place again", "stacksave.u64 %l1; alloca.u64 %l3, 32; stackrestore.u64 %l1; alloca.u64 %l4, 32, 8; sub.u64 %l5, %l3, %l4; st.global.b64 [%out], %l5;",
                  per_thread(lambda _, d: bytes(8)))
    yield from special_registers()


def special_registers():
    yield Program("identity", "mov.u32 %r1, %laneid; mov.u32 %r2, %warpid; mov.u32 %r3, %ntid.x; mov.u32 %r4, %nctaid.x; mov.u32 %r5, %ctaid.x; mov.u32 %r6, %tid.y; mov.u32 %r7, WARP_SZ;"
                  "mov.u32 %r8, %nwarpid; st.global.v4.u32 [%out], {%r1, %r2, %r3, %r4}; st.global.v4.u32 [%out+16], {%r5, %r6, %r7, 0};",
                  per_thread(lambda t, _: words(t % 32, t // 32, 64, 1, 0, 0, 32, 0)), threads=64)
    yield Program("lane masks", "mov.u32 %r1, %lanemask_eq; mov.u32 %r2, %lanemask_le; mov.u32 %r3, %lanemask_lt; mov.u32 %r4, %lanemask_ge; mov.u32 %r5, %lanemask_gt;"
                  "st.global.v4.u32 [%out], {%r1, %r2, %r3, %r4}; st.global.u32 [%out+16], %r5;",
                  per_thread(lambda t, _: words(1 << t, (2 << t) - 1, (1 << t) - 1, mask(32) & ~((1 << t) - 1), mask(32) & ~((2 << t) - 1))))
    for low, high in (("%clock", None), ("%clock_hi", None), ("%globaltimer_lo", None), ("%globaltimer_hi", None)):
        yield Program(f"{low}", f"mov.u32 %r1, {low}; mov.u32 %r2, {low}; setp.le.u32 %p1, %r1, %r2; selp.u32 %r3, 1, 0, %p1; st.global.u32 [%out], %r3;", per_thread(lambda _, d: words(1)))
    for wide in ("%clock64", "%globaltimer"):
        yield Program(wide, f"mov.u64 %l1, {wide}; add.u32 %r1, %me, 1; mov.u64 %l2, {wide}; setp.lt.u64 %p1, %l1, %l2; selp.u32 %r3, 1, 0, %p1; st.global.u32 [%out], %r3;",
                      per_thread(lambda _, d: words(1)))
    yield Program("clusters of one", "mov.u32 %r1, %cluster_ctarank; mov.u32 %r2, %cluster_nctarank; mov.u32 %r3, %clusterid.x; mov.u32 %r4, %nclusterid.x; st.global.v4.u32 [%out], {%r1, %r2, %r3, %r4};",
                  per_thread(lambda _, d: words(0, 1, 0, 1)))


# ---------------------------------------------------------------- moves and addresses


def move_programs():
    for t, register in (("b16", "%h1"), ("u16", "%h1"), ("s16", "%h1"), ("b32", "%r1"), ("u32", "%r1"), ("s32", "%r1"), ("f32", "%f1"), ("b64", "%l1"), ("u64", "%l1"), ("s64", "%l1"),
                        ("f64", "%d1"), ("b128", "%q1")):
        n = int(t[1:]) // 8
        other = register[:-1] + "2"
        yield Program(f"mov.{t}", f"ld.global.b{8 * n} {register}, [%in]; mov.{t} {other}, {register}; st.global.b{8 * n} [%out], {other};", per_thread(lambda _, d, n=n: d[:n]))
    for source, expected in (("%p1", lambda t: t < 7), ("!%p1", lambda t: t >= 7), ("1", lambda t: True), ("0", lambda t: False)):
        yield Program(f"mov.pred of {source}", f"setp.lt.u32 %p1, %me, 7; mov.pred %p2, {source}; selp.u32 %r1, 1, 0, %p2; st.global.u32 [%out], %r1;",
                      per_thread(lambda t, _, f=expected: words(f(t))))
    parts = {"b16": [(2, ".b8")], "b32": [(2, ".b16"), (4, ".b8")], "b64": [(2, ".b32"), (4, ".b16")], "b128": [(2, ".b64"), (4, ".b32")]}
    whole = {"b16": "%h1", "b32": "%r1", "b64": "%l1", "b128": "%q1"}
    for t, choices in parts.items():
        for count, part in choices:
            listed = [f"part{i}" for i in range(count)]
            n = int(t[1:]) // 8
            declared = f".reg {part} {', '.join(listed)};\n"
            other = whole[t][:-1] + "2"
            yield Program(f"mov.{t} of {count} parts", f"ld.global.{t} {whole[t]}, [%in]; mov.{t} {{{', '.join(listed)}}}, {whole[t]}; mov.{t} {other}, {{{', '.join(reversed(listed))}}}; st.global.{t} [%out], {other};",
                          per_thread(lambda _, d, n=n, c=count: b"".join(d[n // c * i:n // c * (i + 1)] for i in reversed(range(c)))), declarations=declared)
    yield Program("unpack without one part", "ld.global.u64 %l1, [%in]; mov.b64 {_, %r2}, %l1; st.global.u32 [%out], %r2;", per_thread(lambda _, d: d[4:8]))
    yield Program("address of a variable", "mov.u64 %l1, numbers; mad.wide.u32 %l1, %me, 4, %l1; ld.global.u32 %r1, [%l1]; mov.u64 %l2, numbers+8; ld.global.u32 %r2, [%l2]; st.global.v2.u32 [%out], {%r1, %r2};",
                  per_thread(lambda t, _: words(t * 3, 6)), before=".global .u32 numbers[32] = {" + ", ".join(str(3 * i) for i in range(32)) + "};\n")
    for space in ("global", "shared", "local", "const", "param"):
        declarations = DECLARE.get(space, "")
        symbol = {"global": "ld.param.u64 %l1, [in];", "shared": "mov.u64 %l1, s; cvta.shared.u64 %l1, %l1;", "local": "mov.u64 %l1, s; cvta.local.u64 %l1, %l1;",
                  "const": "mov.u64 %l1, fixed; cvta.const.u64 %l1, %l1;", "param": "mov.b64 %l1, in; cvta.param.u64 %l1, %l1;"}[space]
        tests = ("global", "shared", "local", "const", "param")
        body = symbol + "".join(f"isspacep.{s} %p{i + 1}, %l1; selp.u32 %r{i + 1}, 1, 0, %p{i + 1};" for i, s in enumerate(tests))
        body += "st.global.v4.u32 [%out], {%r1, %r2, %r3, %r4}; st.global.u32 [%out+16], %r5;"
        # Constants and parameters lie in global memory too, by the ISA's generic addresses.
        yield Program(f"isspacep of {space}", body, per_thread(lambda _, d, s=space: words(*[int(x == s) for x in tests])), declarations=declarations,
                      before=".const .u32 fixed = 7;\n" if space == "const" else "")
    for space in ("shared", "local", "global", "const", "param"):
        declarations = DECLARE.get(space, "")
        symbol = {"global": "mov.u64 %l1, %in;", "shared": "mov.u64 %l1, s;", "local": "mov.u64 %l1, s;", "const": "mov.u64 %l1, fixed2;", "param": "mov.b64 %l1, in;"}[space]
        yield Program(f"cvta.{space} and back", f"{symbol} cvta.{space}.u64 %l2, %l1; cvta.to.{space}.u64 %l3, %l2; sub.u64 %l4, %l3, %l1; st.global.b64 [%out], %l4;",
                      per_thread(lambda _, d: bytes(8)), declarations=declarations, before=".const .u32 fixed2 = 7;\n" if space == "const" else "")
    yield Program("an address of shared::cta", "mov.u64 %l1, s; cvta.shared::cta.u64 %l2, %l1; isspacep.shared::cta %p1, %l2; selp.u32 %r1, 1, 0, %p1; st.global.u32 [%out], %r1;",
                  per_thread(lambda _, d: words(1)), declarations=DECLARE["shared"])
    yield Program("a negative offset and a fixed address", "add.u64 %l1, %in, 64; ld.global.u32 %r1, [%l1+-60]; st.global.u32 [%out], %r1;", per_thread(lambda _, d: d[4:8]))
