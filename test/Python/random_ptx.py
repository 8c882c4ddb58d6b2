"""Random programs twice: as a PTX kernel, and as a C function that means the same. For test_emulator_random.py.

Integers wrap, shifts clamp, IEEE operations round to nearest; what PTX leaves open (division by zero, the bits of a NaN) is
not generated or not compared. Branches and trip counts depend on the data, so the lanes of a warp part and meet again.
"""
import random

PRELUDE = r"""
#include <stdint.h>
#include <string.h>
#include <math.h>
typedef uint32_t u; typedef int32_t s; typedef uint64_t U; typedef int64_t S; typedef float f; typedef double d;
static inline u shl(u a, u b) { return b > 31 ? 0 : a << b; }
static inline u shr(u a, u b) { return b > 31 ? 0 : a >> b; }
static inline u sar(u a, u b) { return (u)((s)a >> (b > 31 ? 31 : b)); }
static inline U shl64(U a, u b) { return b > 63 ? 0 : a << b; }
static inline U shr64(U a, u b) { return b > 63 ? 0 : a >> b; }
static inline U sar64(U a, u b) { return (U)((S)a >> (b > 63 ? 63 : b)); }
static inline u bfe(u a, u p, u n) { p &= 255; n &= 255; if (n > 32) n = 32; U w = a; if (p > 63) p = 63; return (u)((w >> p) & ((1ull << n) - 1)); }
static inline u bfi(u a, u b, u p, u n) { p &= 255; n &= 255; if (n > 32) n = 32; if (p > 31) return b; u m = n == 32 ? ~0u : (1u << n) - 1; return (b & ~(m << p)) | ((a & m) << p); }
static inline u prmt(u a, u b, u c) { U w = (U)b << 32 | a; u r = 0; for (int i = 0; i < 4; ++i) { u n = c >> (4 * i) & 15; u v = w >> (8 * (n & 7)) & 255; if (n & 8) v = v & 128 ? 255 : 0; r |= v << (8 * i); } return r; }
static inline u lop3(u a, u b, u c, u t) { u r = 0; for (int i = 0; i < 32; ++i) r |= (t >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1)) & 1) << i; return r; }
static inline u brev(u a) { u r = 0; for (int i = 0; i < 32; ++i) r |= (a >> i & 1) << (31 - i); return r; }
static inline u clz(u a) { return a ? __builtin_clz(a) : 32; }
static inline u clz64(U a) { return a ? __builtin_clzll(a) : 64; }
static inline u dp4a(u a, u b, u c) { for (int i = 0; i < 4; ++i) c += (u)((s)(int8_t)(a >> 8 * i) * (s)(int8_t)(b >> 8 * i)); return c; }
static inline u sad(u a, u b, u c) { return ((s)a < (s)b ? b - a : a - b) + c; }
static inline u divs(u a, u b) { return (u)((S)(s)a / (S)((s)b)); }
static inline u rems(u a, u b) { return (u)((S)(s)a % (S)((s)b)); }
static inline u absi(u a) { return (s)a < 0 ? 0 - a : a; }
static inline u mul24(u a, u b) { return (u)((s)(a << 8) >> 8) * (u)((s)(b << 8) >> 8); }
static inline f fminp(f a, f b) { if (a != a) return b; if (b != b) return a; if (a == b) return signbit(a) ? a : b; return a < b ? a : b; }
static inline f fmaxp(f a, f b) { if (a != a) return b; if (b != b) return a; if (a == b) return signbit(a) ? b : a; return a > b ? a : b; }
static inline u f2s(f a) { return a != a ? 0 : a >= 2147483648.0f ? 0x7fffffffu : a <= -2147483648.0f ? 0x80000000u : (u)(s)a; }
static inline u f2u(f a) { return a != a || a <= 0 ? 0 : a >= 4294967296.0f ? ~0u : (u)a; }
static inline u d2s(d a) { return a != a ? 0x80000000u : a >= 2147483647.0 ? 0x7fffffffu : a <= -2147483648.0 ? 0x80000000u : (u)(s)a; }
static inline f bits(u a) { f r; memcpy(&r, &a, 4); return r; }
static inline u raw(f a) { u r; memcpy(&r, &a, 4); return a != a ? 0x7fffffffu : r; }
static inline U raw64(d a) { U r; memcpy(&r, &a, 8); return a != a ? 0x7fffffffffffffffull : r; }
"""

# name, PTX with %0 for the result and %1.. for operands, the same in C, operand kinds (the first is the result).
# r: 32-bit integer, l: 64-bit integer, f: f32, e: f64, p: predicate, i: shift amount (a register masked to 0..63), n: not 0 or -1
OPS = [
    ("r", "add.u32 %0, %1, %2;", "%1 + %2", "rr"),
    ("r", "sub.s32 %0, %1, %2;", "%1 - %2", "rr"),
    ("r", "mul.lo.u32 %0, %1, %2;", "%1 * %2", "rr"),
    ("r", "mul.hi.u32 %0, %1, %2;", "(u)((U)%1 * %2 >> 32)", "rr"),
    ("r", "mul.hi.s32 %0, %1, %2;", "(u)((S)(s)%1 * (s)%2 >> 32)", "rr"),
    ("r", "mad.lo.s32 %0, %1, %2, %3;", "%1 * %2 + %3", "rrr"),
    ("r", "mul24.lo.s32 %0, %1, %2;", "mul24(%1, %2)", "rr"),
    ("r", "and.b32 %0, %1, %2;", "%1 & %2", "rr"),
    ("r", "or.b32 %0, %1, %2;", "%1 | %2", "rr"),
    ("r", "xor.b32 %0, %1, %2;", "%1 ^ %2", "rr"),
    ("r", "not.b32 %0, %1;", "~%1", "r"),
    ("r", "cnot.b32 %0, %1;", "(%1 == 0)", "r"),
    ("r", "neg.s32 %0, %1;", "0u - %1", "r"),
    ("r", "abs.s32 %0, %1;", "absi(%1)", "r"),
    ("r", "shl.b32 %0, %1, %2;", "shl(%1, %2)", "ri"),
    ("r", "shr.u32 %0, %1, %2;", "shr(%1, %2)", "ri"),
    ("r", "shr.s32 %0, %1, %2;", "sar(%1, %2)", "ri"),
    ("r", "min.u32 %0, %1, %2;", "(%1 < %2 ? %1 : %2)", "rr"),
    ("r", "max.u32 %0, %1, %2;", "(%1 > %2 ? %1 : %2)", "rr"),
    ("r", "min.s32 %0, %1, %2;", "((s)%1 < (s)%2 ? %1 : %2)", "rr"),
    ("r", "max.s32 %0, %1, %2;", "((s)%1 > (s)%2 ? %1 : %2)", "rr"),
    ("r", "div.u32 %0, %1, %2;", "%1 / %2", "rn"),
    ("r", "rem.u32 %0, %1, %2;", "%1 % %2", "rn"),
    ("r", "div.s32 %0, %1, %2;", "divs(%1, %2)", "rn"),
    ("r", "rem.s32 %0, %1, %2;", "rems(%1, %2)", "rn"),
    ("r", "popc.b32 %0, %1;", "(u)__builtin_popcount(%1)", "r"),
    ("r", "clz.b32 %0, %1;", "clz(%1)", "r"),
    ("r", "brev.b32 %0, %1;", "brev(%1)", "r"),
    ("r", "bfe.u32 %0, %1, %2, %3;", "bfe(%1, %2, %3)", "rii"),
    ("r", "bfi.b32 %0, %1, %2, %3, %4;", "bfi(%1, %2, %3, %4)", "rrii"),
    ("r", "prmt.b32 %0, %1, %2, %3;", "prmt(%1, %2, %3)", "rrr"),
    ("r", "lop3.b32 %0, %1, %2, %3, $8;", "lop3(%1, %2, %3, $8)", "rrr"),
    ("r", "shf.l.wrap.b32 %0, %1, %2, %3;", "(u)((((U)%2 << 32 | %1) << (%3 & 31)) >> 32)", "rri"),
    ("r", "shf.r.wrap.b32 %0, %1, %2, %3;", "(u)(((U)%2 << 32 | %1) >> (%3 & 31))", "rri"),
    ("r", "dp4a.s32.s32 %0, %1, %2, %3;", "dp4a(%1, %2, %3)", "rrr"),
    ("r", "sad.s32 %0, %1, %2, %3;", "sad(%1, %2, %3)", "rrr"),
    ("r", "selp.b32 %0, %1, %2, %3;", "(%3 ? %1 : %2)", "rrp"),
    ("r", "slct.u32.s32 %0, %1, %2, %3;", "((s)%3 >= 0 ? %1 : %2)", "rrr"),
    ("r", "cvt.s32.s8 %0, %1;", "(u)(s)(int8_t)%1", "r"),
    ("r", "cvt.u32.u16 %0, %1;", "(u)(uint16_t)%1", "r"),
    ("r", "cvt.u32.u64 %0, %1;", "(u)%1", "l"),
    ("r", "cvt.rzi.s32.f32 %0, %1;", "f2s(%1)", "f"),
    ("r", "cvt.rzi.u32.f32 %0, %1;", "f2u(%1)", "f"),
    ("r", "cvt.rzi.s32.f64 %0, %1;", "d2s(%1)", "e"),
    ("l", "add.u64 %0, %1, %2;", "%1 + %2", "ll"),
    ("l", "sub.u64 %0, %1, %2;", "%1 - %2", "ll"),
    ("l", "mul.lo.u64 %0, %1, %2;", "%1 * %2", "ll"),
    ("l", "mul.hi.u64 %0, %1, %2;", "(U)((unsigned __int128)%1 * %2 >> 64)", "ll"),
    ("l", "mul.wide.u32 %0, %1, %2;", "(U)%1 * %2", "rr"),
    ("l", "mad.wide.s32 %0, %1, %2, %3;", "(U)((S)(s)%1 * (s)%2) + %3", "rrl"),
    ("l", "xor.b64 %0, %1, %2;", "%1 ^ %2", "ll"),
    ("l", "shl.b64 %0, %1, %2;", "shl64(%1, %2)", "li"),
    ("l", "shr.u64 %0, %1, %2;", "shr64(%1, %2)", "li"),
    ("l", "shr.s64 %0, %1, %2;", "sar64(%1, %2)", "li"),
    ("l", "min.s64 %0, %1, %2;", "((S)%1 < (S)%2 ? %1 : %2)", "ll"),
    ("l", "cvt.u64.u32 %0, %1;", "(U)%1", "r"),
    ("l", "cvt.s64.s32 %0, %1;", "(U)(S)(s)%1", "r"),
    ("l", "selp.b64 %0, %1, %2, %3;", "(%3 ? %1 : %2)", "llp"),
    ("r", "clz.b64 %0, %1;", "clz64(%1)", "l"),
    ("r", "popc.b64 %0, %1;", "(u)__builtin_popcountll(%1)", "l"),
    ("f", "add.rn.f32 %0, %1, %2;", "%1 + %2", "ff"),
    ("f", "sub.rn.f32 %0, %1, %2;", "%1 - %2", "ff"),
    ("f", "mul.rn.f32 %0, %1, %2;", "%1 * %2", "ff"),
    ("f", "fma.rn.f32 %0, %1, %2, %3;", "fmaf(%1, %2, %3)", "fff"),
    ("f", "div.rn.f32 %0, %1, %2;", "%1 / %2", "ff"),
    ("f", "sqrt.rn.f32 %0, %1;", "sqrtf(%1)", "f"),
    ("f", "min.f32 %0, %1, %2;", "fminp(%1, %2)", "ff"),
    ("f", "max.f32 %0, %1, %2;", "fmaxp(%1, %2)", "ff"),
    ("f", "cvt.rn.f32.s32 %0, %1;", "(f)(s)%1", "r"),
    ("f", "cvt.rn.f32.u32 %0, %1;", "(f)%1", "r"),
    ("f", "cvt.rn.f32.u64 %0, %1;", "(f)%1", "l"),
    ("f", "cvt.rn.f32.f64 %0, %1;", "(f)%1", "e"),
    ("f", "selp.f32 %0, %1, %2, %3;", "(%3 ? %1 : %2)", "ffp"),
    ("e", "add.rn.f64 %0, %1, %2;", "%1 + %2", "ee"),
    ("e", "mul.rn.f64 %0, %1, %2;", "%1 * %2", "ee"),
    ("e", "fma.rn.f64 %0, %1, %2, %3;", "fma(%1, %2, %3)", "eee"),
    ("e", "div.rn.f64 %0, %1, %2;", "%1 / %2", "ee"),
    ("e", "sqrt.rn.f64 %0, %1;", "sqrt(%1)", "e"),
    ("e", "cvt.f64.f32 %0, %1;", "(d)%1", "f"),
    ("e", "cvt.rn.f64.s64 %0, %1;", "(d)(S)%1", "l"),
    ("p", "setp.lt.u32 %0, %1, %2;", "%1 < %2", "rr"),
    ("p", "setp.ge.s32 %0, %1, %2;", "(s)%1 >= (s)%2", "rr"),
    ("p", "setp.eq.u32 %0, %1, %2;", "%1 == %2", "rr"),
    ("p", "setp.gt.u64 %0, %1, %2;", "%1 > %2", "ll"),
    ("p", "setp.lt.f32 %0, %1, %2;", "%1 < %2", "ff"),
    ("p", "setp.geu.f32 %0, %1, %2;", "!(%1 < %2)", "ff"),
    ("p", "setp.nan.f32 %0, %1, %2;", "(%1 != %1 || %2 != %2)", "ff"),
    ("p", "setp.le.f64 %0, %1, %2;", "%1 <= %2", "ee"),
    ("p", "setp.ne.and.u32 %0, %1, %2, %3;", "(%1 != %2) & %3", "rrp"),
    ("p", "setp.lt.xor.s32 %0, %1, %2, %3;", "((s)%1 < (s)%2) ^ %3", "rrp"),
    ("p", "xor.pred %0, %1, %2;", "%1 ^ %2", "pp"),
    ("p", "not.pred %0, %1;", "!%1", "p"),
]
COUNTS = {"r": 8, "l": 3, "f": 4, "e": 2, "p": 4}
PTX_NAME = {"r": "%r", "l": "%l", "f": "%f", "e": "%e", "p": "%p"}
INPUTS, OUTPUTS = 8, 8 + 2 * 3 + 4 + 2 * 2  # words a thread


class _Program:
    def __init__(self, seed, name):
        self.random = random.Random(seed)
        self.name, self.ptx, self.c, self.labels, self.temporaries, self.loops = name, [], [], 0, 0, 0

    def register(self, kind):
        return self.random.randrange(COUNTS[kind])

    def operand(self, kind):
        """An operand as (PTX, C)."""
        if kind == "i":
            if self.random.random() < 0.4:
                amount = self.random.randrange(64)
                return str(amount), str(amount)
            source, t = self.register("r"), self.temporary()
            self.ptx.append(f"and.b32 %t{t}, %r{source}, 63;")
            return f"%t{t}", f"(r{source} & 63)"
        if kind == "n":
            source, t = self.register("r"), self.temporary()
            self.ptx += [f"and.b32 %t{t}, %r{source}, 0xfffffff;", f"or.b32 %t{t}, %t{t}, 2;"]
            return f"%t{t}", f"((r{source} & 0xfffffff) | 2)"
        if kind == "r" and self.random.random() < 0.15:
            value = self.random.choice([0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, self.random.getrandbits(32)])
            t = self.temporary()
            self.ptx.append(f"mov.u32 %t{t}, {value:#x};")
            return f"%t{t}", f"{value:#x}u"
        index = self.register(kind)
        return f"{PTX_NAME[kind]}{index}", f"{kind}{index}"

    def temporary(self):
        self.temporaries += 1
        return self.temporaries - 1

    def operation(self):
        kind, ptx, c, operands = self.random.choice(OPS)
        index = self.register(kind)
        values = [self.operand(k) for k in operands]
        table = f"{self.random.randrange(256):#x}"
        ptx, c = ptx.replace("$8", table), c.replace("$8", table)
        for i, (in_ptx, in_c) in reversed(list(enumerate(values, 1))):
            ptx, c = ptx.replace(f"%{i}", "\0" + in_ptx[1:] if in_ptx[0] == "%" else in_ptx), c.replace(f"%{i}", in_c)
        ptx = ptx.replace("%0", f"{PTX_NAME[kind]}{index}").replace("\0", "%")
        guard = ""
        if kind != "p" and self.random.random() < 0.2:
            p, negated = self.register("p"), self.random.random() < 0.5
            ptx = f"@{'!' if negated else ''}%p{p} {ptx}"
            guard = f"if ({'!' if negated else ''}p{p}) "
        self.ptx.append(ptx)
        self.c.append(f"{guard}{kind}{index} = {c};")

    def block(self, depth, budget):
        while budget > 0:
            choice = self.random.random()
            if depth and choice < 0.12:
                self.branch(depth, budget // 2)
                budget //= 2
            elif depth and choice < 0.2:
                self.loop(depth, budget // 3)
                budget -= budget // 3 + 1
            else:
                self.operation()
                budget -= 1

    def label(self):
        self.labels += 1
        return f"{self.name}_L{self.labels}"

    def branch(self, depth, budget):
        p, other, end = self.register("p"), self.label(), self.label()
        self.ptx.append(f"@!%p{p} bra {other};")
        self.c.append(f"if (p{p}) {{")
        self.block(depth - 1, budget)
        self.ptx += [f"bra {end};", f"{other}:"]
        self.c.append("} else {")
        if self.random.random() < 0.7:
            self.block(depth - 1, budget)
        self.ptx.append(f"{end}:")
        self.c.append("}")

    def loop(self, depth, budget):
        """A trip count from 0 to 6 that differs by lane; sometimes a way out in the middle."""
        counter, source, start, end = self.loops, self.register("r"), self.label(), self.label()
        self.loops += 1
        self.ptx += [f"rem.u32 %c{counter}, %r{source}, 7;", f"{start}:", f"setp.eq.u32 %q, %c{counter}, 0;", f"@%q bra {end};",
                     f"sub.u32 %c{counter}, %c{counter}, 1;"]
        self.c.append(f"for (u c{counter} = r{source} % 7; c{counter} != 0;) {{ --c{counter};")
        self.block(depth - 1, max(1, budget))
        if self.random.random() < 0.3:
            p = self.register("p")
            self.ptx.append(f"@%p{p} bra {end};")
            self.c.append(f"if (p{p}) break;")
            self.block(depth - 1, max(1, budget // 2))
        self.ptx += [f"bra {start};", f"{end}:"]
        self.c.append("}")

    def texts(self, size):
        self.block(3, size)
        head = [f".visible .entry {self.name}(.param .u64 in, .param .u64 out)", "{",
                f"  .reg .b32 %r<{COUNTS['r']}>; .reg .b64 %l<{COUNTS['l']}>; .reg .f32 %f<{COUNTS['f']}>; .reg .f64 %e<{COUNTS['e']}>;",
                f"  .reg .pred %p<{COUNTS['p']}>; .reg .pred %q; .reg .b32 %t<{self.temporaries + 1}>; .reg .b32 %c<{self.loops + 1}>;",
                "  .reg .b32 %i; .reg .b64 %a<4>;", "  ld.param.u64 %a0, [in];", "  ld.param.u64 %a1, [out];", "  mov.u32 %i, %tid.x;",
                f"  mad.wide.u32 %a2, %i, {4 * INPUTS}, %a0;", f"  mad.wide.u32 %a3, %i, {4 * OUTPUTS}, %a1;"]
        head += [f"  ld.global.u32 %r{i}, [%a2+{4 * i}];" for i in range(8)]
        head += [f"  mov.b64 %l{i}, {{%r{2 * i}, %r{2 * i + 1}}};" for i in range(3)]
        head += [f"  cvt.rn.f32.s32 %f{i}, %r{i};" for i in range(2)] + [f"  mov.b32 %f{i}, %r{i};" for i in (2, 3)]
        head += ["  cvt.f64.f32 %e0, %f0;", "  cvt.rn.f64.s64 %e1, %l2;"]
        head += [f"  setp.lt.s32 %p{i}, %r{i}, %r{i + 4};" for i in range(4)]
        tail = [f"  st.global.u32 [%a3+{4 * i}], %r{i};" for i in range(8)]
        offset = 32
        for i in range(3):
            tail.append(f"  st.global.u64 [%a3+{offset}], %l{i};")
            offset += 8
        for i in range(4):
            tail.append(f"  st.global.f32 [%a3+{offset}], %f{i};")
            offset += 4
        for i in range(2):
            tail.append(f"  st.global.f64 [%a3+{offset}], %e{i};")
            offset += 8
        tail += ["  ret;", "}"]
        c = [f"void {self.name}(const u *in, u *out) {{"]
        c += [f"u r{i} = in[{i}];" for i in range(8)] + [f"U l{i} = (U)in[{2 * i + 1}] << 32 | in[{2 * i}];" for i in range(3)]
        c += [f"f f{i} = (f)(s)r{i};" for i in range(2)] + [f"f f{i} = bits(r{i});" for i in (2, 3)]
        c += ["d e0 = (d)f0; d e1 = (d)(S)l2;"] + [f"int p{i} = (s)r{i} < (s)r{i + 4};" for i in range(4)]
        c += self.c + [f"out[{i}] = r{i};" for i in range(8)]
        c += [f"memcpy(out + {8 + 2 * i}, &l{i}, 8);" for i in range(3)] + [f"out[{14 + i}] = raw(f{i});" for i in range(4)]
        c += [f"{{ U w = raw64(e{i}); memcpy(out + {18 + 2 * i}, &w, 8); }}" for i in range(2)] + ["}"]
        return "\n".join(head + ["  " + line for line in self.ptx] + tail), "\n".join(c)


def programs(first, count, size=30):
    """PTX text and C text of `count` programs named p0, p1, ..., from seeds `first`, `first` + 1, ..."""
    ptx, c = [".version 7.8\n.target sm_80\n.address_size 64"], [PRELUDE]
    for i in range(count):
        one_ptx, one_c = _Program(first + i, f"p{i}").texts(size)
        ptx.append(one_ptx)
        c.append(one_c)
    c.append("void (*const programs[])(const u *, u *) = {" + ", ".join(f"p{i}" for i in range(count)) + "};")
    c.append(f"void run_program(int i, const u *in, u *out, int threads) {{ for (int t = 0; t < threads; ++t) "
             f"programs[i](in + t * {INPUTS}, out + t * {OUTPUTS}); }}")
    return "\n".join(ptx) + "\n", "\n".join(c) + "\n"
