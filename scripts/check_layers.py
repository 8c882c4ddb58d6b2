#!/usr/bin/env python3
"""Checks who includes whom: a folder of lib/ sees Support, the dialects' IR and the folders before it in lib/CMakeLists.txt.

The parts that a program links at run time see no MLIR and no LLVM, and less of each other.
"""
import re

from common import ROOT, finish, read, tracked

# Folders without MLIR and what each may include besides itself.
MLIR_FREE = {
    "Support": set(),
    "GpuModel": {"Support"},
    "Weights": {"Support"},
    "Bundle": {"Support", "GpuModel", "Weights"},
    "Runtime": {"Support", "Weights", "Bundle"},
    "Emulator": {"Support", "GpuModel"},
}
# Single headers that cross a border on purpose: the emulator fills the list of driver functions that the runtime calls.
CONTRACTS = {
    "Emulator": {"vitrify/Runtime/CudaApi.h", "vitrify/Runtime/CudaErrors.def", "vitrify/Runtime/CudaSymbols.def"}
}
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.M)
SUBDIRECTORY = re.compile(r"^\s*add_subdirectory\((\w[\w/]*)\)", re.M)


def order(folder="lib", prefix=""):
    """Folders below lib/ in the order CMake adds them; Dialect and Conversion are expanded to their own folders."""
    names = []
    for name in SUBDIRECTORY.findall(read(f"{folder}/CMakeLists.txt")):
        inner = f"{folder}/{name}"
        if prefix + name in ("Dialect", "Conversion"):
            names += order(inner, f"{prefix}{name}/")
        else:
            names.append(prefix + name)
    return names


def layer_of(path, layers):
    """The longest layer name that `path` (below include/vitrify or lib) starts with."""
    fitting = [layer for layer in layers if path == layer or path.startswith(layer + "/")]
    return max(fitting, key=len) if fitting else None


def main():
    layers = order()
    rank = {layer: i for i, layer in enumerate(layers)}
    findings, files = [], 0
    for path in tracked(".h", ".cpp", ".def", ".inc"):
        text = path.as_posix()
        inside = next((text[len(p):] for p in ("include/vitrify/", "lib/") if text.startswith(p)), None)
        if inside is None:
            continue
        layer = layer_of(inside, layers)
        if layer is None:
            findings.append(f"{path}:1: folder is not named in lib/CMakeLists.txt")
            continue
        files += 1
        source = read(path)
        top = layer.split("/")[0]
        for match in INCLUDE.finditer(source):
            name, line = match.group(1), source.count("\n", 0, match.start()) + 1
            if name.startswith(("mlir/", "llvm/")) and top in MLIR_FREE:
                findings.append(f"{path}:{line}: {top} must not see MLIR or LLVM, found {name}")
            if not name.startswith("vitrify/"):
                continue
            target = layer_of(name[len("vitrify/"):], layers)
            if target is None:
                if (ROOT / "include" / name).exists():
                    findings.append(f"{path}:{line}: {name} lies in no folder of lib/CMakeLists.txt")
                continue
            if target == layer or name in CONTRACTS.get(top, ()):
                continue
            if top in MLIR_FREE:
                legal = target.split("/")[0] in MLIR_FREE[top]
            else:
                legal = target == "Support" or re.fullmatch(r"Dialect/\w+/IR", target) or rank[target] < rank[layer]
                legal = legal and not (target.endswith("/Transforms") and layer.endswith("/IR"))
            if not legal:
                findings.append(f"{path}:{line}: {layer} must not include {name}: {target} comes later")
    finish("layers", findings, f"{files} files")


main()
