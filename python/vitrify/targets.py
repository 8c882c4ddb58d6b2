"""The x86 targets, and which of them this machine runs. The compiler's table is lib/Target/KnownTargets.cpp."""
from vitrify.errors import VitrifyError

# From the highest to the lowest, with the flags of /proc/cpuinfo that each needs.
X86_TARGETS = {
    "x86-64-v4-bf16": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16"},
    "x86-64-v4-vnni": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": {"avx2", "fma", "f16c", "bmi2"},
}


def cpu_flags(path="/proc/cpuinfo"):
    """The processor's features as Linux names them."""
    with open(path, encoding="utf-8") as info:
        return next((set(line.split(":", 1)[1].split()) for line in info if line.startswith("flags")), set())


def host_target(flags=None):
    """The highest x86 target that a processor with these flags (this machine's, if None) runs."""
    flags = cpu_flags() if flags is None else flags
    for name, needed in X86_TARGETS.items():
        if needed <= flags:
            return name
    raise VitrifyError(f"this processor lacks {', '.join(sorted(X86_TARGETS['x86-64-v3'] - flags))}, which every x86 target needs; name a --target")
