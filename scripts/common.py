"""What the check scripts share: the project's files, and how findings are reported."""
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def tracked(*suffixes):
    """Files git tracks or would track, as paths relative to the root, with one of these suffixes (all, if none given)."""
    listing = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, text=True,
                             capture_output=True).stdout.splitlines()
    return [p for p in (Path(line) for line in sorted(set(listing))) if (ROOT / p).is_file() and (not suffixes or p.suffix in suffixes)]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def finish(name, findings, checked):
    """Prints the findings, one a line as file:line: message, and exits 1 if there are any."""
    for finding in findings:
        print(finding)
    print(f"{name}: {len(findings)} finding{'s' if len(findings) != 1 else ''} in {checked}")
    sys.exit(1 if findings else 0)
