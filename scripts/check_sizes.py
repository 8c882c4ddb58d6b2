#!/usr/bin/env python3
"""Checks that no hand-written source is too long: 800 lines at most (1,000 for .td); from 600 on it says so."""
from common import finish, read, tracked

LIMITS = {".td": (800, 1000)}
DEFAULT = (600, 800)


def main():
    findings, files = [], 0
    for path in tracked(".h", ".cpp", ".c", ".td", ".py", ".cmake", ".sh", ".def"):
        files += 1
        lines = read(path).count("\n")
        warn, fail = LIMITS.get(path.suffix, DEFAULT)
        if lines > fail:
            findings.append(f"{path}:{lines}: {lines} lines, at most {fail} allowed: split it")
        elif lines > warn:
            print(f"{path}: warning: {lines} lines, better below {warn}")
    finish("sizes", findings, f"{files} files")


main()
