"""The check scripts find what they are for: each is run on a small tree with one fault planted, and on the same tree without it."""
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

BANNER = "//===- {} - something -*- C++ -*-===//\n// Part.\n// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception\n//===---===//\n"


@pytest.fixture
def tree(tmp_path):
    """A git repository with the scripts and a few clean files; put(path, text) adds one more."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)

    def put(path, text):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(BANNER.format(target.name) + text if target.suffix in (".h", ".cpp", ".td") else text)

    put("lib/CMakeLists.txt", "".join(f"add_subdirectory({d})\n" for d in ("Support", "Weights", "Bundle", "Runtime", "Emulator", "Dialect", "Kernel", "Target")))
    put("lib/Dialect/CMakeLists.txt", "add_subdirectory(ViT/IR)\nadd_subdirectory(ViT/Transforms)\n")
    put("lib/Kernel/A.cpp", '#include "vitrify/Support/Status.h"\n#include "vitrify/Dialect/ViT/IR/ViT.h"\n#include "mlir/IR/Builders.h"\n')
    put("include/vitrify/Support/Status.h", "#pragma once\n")
    put("include/vitrify/Dialect/ViT/IR/Ops.td", "// Constraints: (scale_c1) something\n")
    put("include/vitrify/Dialect/ViT/Transforms/Passes.td", 'def Fold : Pass<"vit-fold-qdq", "ModuleOp"> {}\n')
    put("lib/Dialect/ViT/IR/Ops.cpp", 'auto m = "scale_c1: expected";\n')
    put("test/invalid.mlir", "// expected-error {{scale_c1: expected}}\n")
    put("test/fold-qdq.mlir", "\n")
    put("test/fold-qdq-errors.mlir", "\n")
    put.root = tmp_path
    return put


def check(tree, name):
    done = subprocess.run([sys.executable, f"scripts/check_{name}.py"], cwd=tree.root, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


FAULTS = [
    ("layers", "lib/Kernel/B.cpp", '#include "vitrify/Target/X.h"\n', "Kernel must not include vitrify/Target/X.h"),
    ("layers", "lib/Bundle/B.cpp", '#include "mlir/IR/Builders.h"\n', "Bundle must not see MLIR"),
    ("layers", "include/vitrify/Weights/B.h", '#include "llvm/ADT/ArrayRef.h"\n', "Weights must not see MLIR"),
    ("layers", "lib/Emulator/B.cpp", '#include "vitrify/Runtime/Device.h"\n', "Emulator must not include vitrify/Runtime/Device.h"),
    ("layers", "lib/Runtime/B.cpp", '#include "vitrify/Dialect/ViT/IR/ViT.h"\n', "Runtime must not include"),
    ("layers", "lib/Dialect/ViT/IR/B.cpp", '#include "vitrify/Dialect/ViT/Transforms/Passes.h"\n', "must not include"),
    ("layers", "lib/Elsewhere/B.cpp", "\n", "not named in lib/CMakeLists.txt"),
    ("sizes", "lib/Kernel/B.cpp", "\n" * 800, "804 lines, at most 800"),
    ("sizes", "include/vitrify/B.td", "\n" * 1000, "at most 1000"),
    ("style", "lib/Kernel/B.cpp", "// TO" "DO later\n", "open note"),
    ("style", "lib/Kernel/B.cpp", "static cl::opt<int> x;\n", "command line option in a library"),
    ("style", "lib/Kernel/B.cpp", "int x; \n", "white space"),
    ("tests", "include/vitrify/Dialect/ViT/Transforms/Passes.td", 'def A : Pass<"vit-new", "ModuleOp"> {}\n', "pass vit-new has no test new.mlir"),
    ("tests", "include/vitrify/Dialect/ViT/IR/Ops.td", "// (scale_c1) one (scale_c2) two\n", "scale_c2 stands in no verifier"),
    ("tests", "test/invalid.mlir", "\n", "scale_c1 is provoked by no invalid test"),
    ("tests", "lib/Dialect/ViT/IR/Ops.cpp", 'auto m = "scale_c1 scale_c7";\n', "names scale_c7"),
]


@pytest.mark.parametrize("name", ["layers", "sizes", "style", "tests"])
def test_a_clean_tree_passes(name, tree):
    code, output = check(tree, name)
    assert code == 0, output


@pytest.mark.parametrize("name, path, text, part", FAULTS, ids=[f"{f[0]}-{f[3][:30]}" for f in FAULTS])
def test_planted_faults_are_found(name, path, text, part, tree):
    tree(path, text)
    code, output = check(tree, name)
    assert code == 1 and part in output, output


def test_missing_banner_is_found(tree):
    (tree.root / "lib" / "Kernel" / "B.cpp").write_text("int x;\n")
    code, output = check(tree, "style")
    assert code == 1 and "banner" in output and "SPDX" in output
