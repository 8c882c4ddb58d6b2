#!/usr/bin/env python3
"""Checks that what is declared is tested.

Each pass of a Passes.td has a test <pass>.mlir and <pass>-errors.mlir. Each numbered constraint of an op (a label such as
linear_c3 in its description) stands in the verifier (C++, or the predicate's message in the .td) and in an invalid test.
"""
import re

from common import finish, read, tracked

PASS = re.compile(r'def\s+\w+\s*:\s*(?:\w*Pass\w*|Pass)\s*<\s*"([\w-]+)"')
LABEL = re.compile(r"\b[a-z][a-z0-9_]*_c[0-9]+\b")


def main():
    definitions = [p for p in tracked(".td") if p.parts[0] == "include"]
    mlir = [p for p in tracked(".mlir", ".test") if p.parts[0] == "test"]
    names = {p.stem for p in mlir}
    code = "\n".join(read(p) for p in tracked(".cpp", ".h") if p.parts[0] in ("lib", "include"))
    invalid = "\n".join(read(p) for p in mlir if "invalid" in p.stem or p.stem.endswith("-errors"))
    in_code, in_tests = set(LABEL.findall(code)), set(LABEL.findall(invalid))

    findings, passes, labels = [], 0, 0
    for path in definitions:
        text = read(path)
        for name in PASS.findall(text):
            passes += 1
            short = re.sub(r"^(vit|plan|vitrify)-", "", name)
            for kind in ("", "-errors"):
                if f"{name}{kind}" not in names and f"{short}{kind}" not in names:
                    findings.append(f"{path}: pass {name} has no test {short}{kind}.mlir")
        # A label in a predicate's message is verifier code written in ODS.
        in_ods = {label for string in re.findall(r'PredOpTrait<\s*"([^"]*)"|AllMatch\w*<[^>]*"([^"]*)"', text) for part in string
                  for label in LABEL.findall(part)}
        for label in sorted(set(LABEL.findall(text))):
            labels += 1
            if label not in in_code | in_ods:
                findings.append(f"{path}: constraint {label} stands in no verifier")
            if label not in in_tests:
                findings.append(f"{path}: constraint {label} is provoked by no invalid test")
        undeclared = {label for label in in_code if label.split("_c")[0] in {d.split("_c")[0] for d in LABEL.findall(text)}} - set(LABEL.findall(text))
        findings += [f"{path}: the verifier names {label}, which no description states" for label in sorted(undeclared)]
    finish("tests", findings, f"{passes} passes and {labels} constraints")


main()
