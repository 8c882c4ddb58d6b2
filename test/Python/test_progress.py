"""The line of progress: on a terminal, in one form from every command, rewritten in place and gone at the end; nothing in a pipe."""
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import BIN, ROOT

import seeded
from vitrify.targets import host_target

LINE = re.compile(r"\r([\w-]+): ([^\r\x1b]+?)(?: (\d+) of (\d+))?, (\d+\.\d) s\x1b\[K")
CLEAR = "\r\x1b[K"


def on_a_terminal(command, columns=200):
    """(exit status, what was written to standard output, what to the terminal that is standard error)."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, True)
    __import__("termios").tcsetwinsize(theirs, (24, columns))
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL, cwd=ROOT)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    printed = process.stdout.read().decode()
    process.stdout.close()
    return process.wait(), printed, said.decode()


def lines(said, program):
    """(what, done, total) of each line; all of the terminal's text is such lines, and the last of them is cleared."""
    assert said.endswith(CLEAR) and LINE.sub("", said).replace(CLEAR, "") == ""
    found = [(name, what, int(done or 0), int(total or 0)) for name, what, done, total, _ in LINE.findall(said)]
    assert {name for name, *_ in found} == ({program} if isinstance(program, str) else set(program))
    for _, what, done, total in found:
        assert done <= total
    return [rest for _, *rest in found]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("progress")
    seeded.write_folder("relu_sharded", root / "m")
    np.save(root / "x.npy", seeded.pixels("relu_sharded", 6))
    subprocess.run([*VITRIFY, "import", root / "m", "-o", root / "model.mlir"], check=True, cwd=ROOT)
    return root


VITRIFY = [sys.executable, "-m", "vitrify"]


@pytest.fixture(autouse=True)
def from_the_checkout(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "python"))


@pytest.fixture(scope="module", autouse=True)
def path_for_fixtures():
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT / "python")
    yield
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def test_the_compiler_says_each_stage(model, tmp_path):
    command = [BIN / "vitrify-compile", model / "model.mlir", "-o", tmp_path / "b", f"--target={host_target()}", "--no-cache"]
    status, printed, said = on_a_terminal(command)
    assert status == 0 and printed == ""
    seen = lines(said, "vitrify-compile")
    stages = list(dict.fromkeys(what for what, *_ in seen))
    assert [s.split(" for ")[0] for s in stages] == ["optimise", "plan", "kernels", "weights (MiB)", "digests of weights"]
    kernels = [(done, total) for what, done, total in seen if what.startswith("kernels")]
    assert kernels[0][0] == 0 and kernels[0][1] > 1
    quiet = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    assert quiet.stderr == "" and quiet.stdout == ""


def test_an_error_stands_on_a_line_of_its_own(model, tmp_path):
    status, _, said = on_a_terminal([BIN / "vitrify-compile", model / "model.mlir", "-o", tmp_path / "b", f"--target={host_target()}", "--precision=fp8", "--ranges=nothing.json"])
    assert status == 1
    assert re.search(r"\r\x1b\[K[^\r]*error: cannot open 'nothing.json': no such file or directory\r\n$", said)


def test_a_narrow_terminal_is_not_left(model, tmp_path):
    _, _, said = on_a_terminal([BIN / "vitrify-compile", model / "model.mlir", "-o", tmp_path / "b", f"--target={host_target()}"], columns=24)
    shown = [frame.removesuffix("\x1b[K") for frame in said.split("\r")[1:]]
    assert max(map(len, shown)) == 23


def test_runs_and_values_are_counted(model, tmp_path):
    subprocess.run([BIN / "vitrify-compile", model / "model.mlir", "-o", tmp_path / "b", f"--target={host_target()}"], check=True)
    status, printed, said = on_a_terminal([BIN / "vitrify-run", tmp_path / "b", "--bench", "40"])
    assert status == 0 and printed.startswith("{")
    assert lines(said, "vitrify-run")[-1] == ["runs", 40, 40]
    status, _, said = on_a_terminal([BIN / "vitrify-evaluate", model / "model.mlir", f"--input={model}/x.npy"])
    what, done, total = lines(said, "vitrify-evaluate")[-1]
    assert status == 0 and what == "values" and done == total > 20


def test_commands_show_their_own_and_their_tools(model, tmp_path):
    status, _, said = on_a_terminal([*VITRIFY, "calibrate", model / "model.mlir", "--input", model / "x.npy", "-o", tmp_path / "ranges.json"])
    assert status == 0
    assert lines(said, ["vitrify", "vitrify-compile"])[-1] == ["images of calibration", 6, 6]
    assert said.index("vitrify-compile: ") < said.index("vitrify: ")
    command = [*VITRIFY, "compare", model / "model.mlir", "--input", model / "x.npy", "--ranges", tmp_path / "ranges.json"]
    status, printed, said = on_a_terminal(command)
    assert status == 0 and "no bad layer" in printed
    assert [s for s in lines(said, ["vitrify", "vitrify-compile"]) if s[1] == 6] == [["images in f32", 6, 6], ["images in fp8", 6, 6]]
    quiet = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True, cwd=ROOT)
    assert quiet.stderr == "" and quiet.stdout == printed.replace("\r\n", "\n")


def test_precision_auto_says_which_program_it_measures(model, tmp_path):
    status, printed, said = on_a_terminal([*VITRIFY, "compile", model / "model.mlir", "-o", tmp_path / "b", "--precision=auto", "--max-drop=0.5", "--calibrate", model / "x.npy"])
    assert status == 0 and "<-- chosen" in printed
    assert "vitrify: program 2 to measure, " in said and said.endswith(CLEAR)


def test_messages_of_tools_are_kept(model):
    """A failure's message is the tool's own, without the lines of progress around it."""
    status, _, said = on_a_terminal([*VITRIFY, "compile", model / "model.mlir", "-o", "/nowhere/b", "--precision=bf16"])
    assert status == 1
    rest = LINE.sub("", said).replace(CLEAR, "")
    assert re.fullmatch(r"vitrify: error: [^\r\n]*/nowhere[^\r\n]*\r\n", rest), rest
