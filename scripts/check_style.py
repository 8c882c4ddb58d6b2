#!/usr/bin/env python3
"""Checks what a reader of any file may rely on: the licence header, no notes left open, no options hidden in the libraries."""
import re

from common import finish, read, tracked

OPEN_NOTE = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
HIDDEN_OPTION = re.compile(r"\bcl::(opt|list|bits)\b")
SPDX = "SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception"
TEXT = (".h", ".cpp", ".c", ".td", ".def", ".py", ".sh", ".md", ".mlir", ".test", ".txt", ".cmake")


def main():
    findings, files = [], 0
    for path in tracked(*TEXT):
        files += 1
        source = read(path)
        if path.suffix in (".h", ".cpp", ".c", ".td"):
            head = source.splitlines()[:6]
            if not head or not head[0].startswith(("//===- " + path.name, "/*===- " + path.name)):
                findings.append(f"{path}:1: the first line must be the banner //===- {path.name} - what it is for")
            if not any(SPDX in line for line in head):
                findings.append(f"{path}:1: no line '{SPDX}' among the first six")
        for number, line in enumerate(source.splitlines(), 1):
            if OPEN_NOTE.search(line):
                findings.append(f"{path}:{number}: open note: finish it or file it")
            if line != line.rstrip() and path.suffix not in (".md", ".txt"):
                findings.append(f"{path}:{number}: white space at the end of the line")
            if path.parts[0] == "lib" and HIDDEN_OPTION.search(line):
                findings.append(f"{path}:{number}: command line option in a library: use the pass's or pipeline's options")
    finish("style", findings, f"{files} files")


main()
