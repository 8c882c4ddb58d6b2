"""Finds and runs the project's C++ tools: from build/bin of the checkout, inside the installed package, or on PATH."""
import os
import shutil
import subprocess
from pathlib import Path

from vitrify import progress
from vitrify.errors import VitrifyError

BUILD_BIN = Path(__file__).resolve().parents[2] / "build" / "bin"
PACKAGE_BIN = Path(__file__).resolve().parent / "bin"


def find_tool(name):
    """Path of a tool such as vitrify-compile."""
    for beside in (BUILD_BIN / name, PACKAGE_BIN / name):
        if beside.is_file() and os.access(beside, os.X_OK):
            return str(beside)
    on_path = shutil.which(name)
    if on_path is None:
        raise VitrifyError(f"{name} is neither in {BUILD_BIN}, nor in {PACKAGE_BIN}, nor on PATH: build it with make build")
    return on_path


def message_of(stderr):
    """The error a tool printed, without the tool's own prefix; its first error line if it printed more."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line] or lines[-1:]
    return errors[0].split("error:", 1)[-1].strip() if errors else ""


def with_progress(command, **options):
    """subprocess.run of a command whose lines of progress go to the terminal, if there is one and it is not given text."""
    if "input" in options or not progress.wanted():
        return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **options)
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"VITRIFY_PROGRESS": "1"}, **options) as process:
        said = progress.Passed(process.stderr)
        printed = process.stdout.read() if process.stdout else b""
        said = said.text()
    return subprocess.CompletedProcess(command, process.returncode, printed.decode(errors="replace"), said)


def run_tool(name, arguments, stdin=None):
    """Runs a tool, on the text `stdin` if given, and returns its standard output. A failure becomes one VitrifyError with the tool's own message."""
    text = {} if stdin is None else {"input": stdin}
    try:
        done = with_progress([find_tool(name), *map(str, arguments)], stdout=subprocess.PIPE, **text)
    except OSError as error:
        raise VitrifyError(f"cannot run {name}: {error.strerror}") from error
    if done.returncode < 0:
        raise VitrifyError(f"{name} was stopped by signal {-done.returncode}; its output: {done.stderr.strip()[-400:]}")
    if done.returncode:
        raise VitrifyError(f"{name}: {message_of(done.stderr) or f'exit status {done.returncode}'}")
    return done.stdout


def exec_tool(name, arguments):
    """Runs a tool on this process's own standard output; a failure becomes a VitrifyError as in run_tool."""
    done = with_progress([find_tool(name), *map(str, arguments)])
    if done.returncode:
        raise VitrifyError(f"{name}: {message_of(done.stderr) or f'exit status {done.returncode}'}")
