#!/usr/bin/env python3
"""Checks docs: docs/generated is what mlir-tblgen makes of the .td files now, and every relative link leads somewhere.

`--write` writes docs/generated again.
"""
import re
import shutil
import subprocess
import sys

from common import ROOT, finish, read, tracked

GENERATED = ROOT / "docs" / "generated"
LLVM = next((p for p in ("/usr/lib/llvm-22",) if shutil.which(f"{p}/bin/mlir-tblgen")), "/usr/lib/llvm-22")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def tblgen(path, *arguments):
    command = [f"{LLVM}/bin/mlir-tblgen", *arguments, f"-I{LLVM}/include", f"-I{ROOT}/include", str(ROOT / path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"docs: mlir-tblgen {path} failed:\n{done.stderr}")
    return done.stdout


def clean(text):
    """Generated text with no white space at line ends and one newline at its end, so that editors do not change it."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n"


def expected():
    """Name of each reference page -> its text, from the umbrella .td of each dialect and from each Passes.td."""
    pages = {}
    for path in tracked(".td"):
        dialect = re.search(r"^def\s+\w+\s*:\s*Dialect\s*{\s*let name = \"(\w+)\"", read(path), re.M)
        if dialect:
            stem = path.stem.removesuffix("Base").removesuffix("Dialect").removesuffix("Ops")
            umbrella = path.with_name(f"{stem}Ops.td")
            source = umbrella if (ROOT / umbrella).exists() else path
            pages[f"{stem}Dialect.md"] = clean(tblgen(source, "-gen-dialect-doc", f"-dialect={dialect.group(1)}"))
        elif path.name == "Passes.td":
            owner = path.parts[-3] if path.parts[-2] == "Transforms" else path.parts[-2]
            pages[f"{owner}Passes.md"] = clean(tblgen(path, "-gen-pass-doc"))
    return pages


def main():
    pages = expected()
    findings = []
    if "--write" in sys.argv[1:]:
        GENERATED.mkdir(parents=True, exist_ok=True)
        for old in GENERATED.glob("*.md"):
            if old.name not in pages:
                old.unlink()
        for name, text in pages.items():
            (GENERATED / name).write_text(text, encoding="utf-8")
    for name, text in pages.items():
        page = GENERATED / name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            findings.append(f"docs/generated/{name}: not what the .td files say: run make docs")
    findings += [f"{old.relative_to(ROOT)}: no .td file makes this page" for old in GENERATED.glob("*.md") if old.name not in pages]
    links = 0
    for path in tracked(".md"):
        if path.parts[:2] == ("docs", "generated"):
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            for target in LINK.findall(line):
                if re.match(r"[a-z]+:|#", target):
                    continue
                links += 1
                if not (ROOT / path.parent / target.split("#")[0]).exists():
                    findings.append(f"{path}:{number}: dead link {target}")
    finish("docs", findings, f"{len(pages)} generated pages and {links} links")


main()
