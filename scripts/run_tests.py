#!/usr/bin/env python3
"""Runs every test of the project and sums them: checks, lit, gtest, pytest, sanitizer builds, fuzzers.

The last line of build/test-results/summary.txt, and of the output, is "N passed, N failed". Exit status 1 if any test
failed, if a suite could not run, or if a suite that must hold tests held none.
"""
import argparse
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
RESULTS = BUILD / "test-results"
SUITES = ("checks", "lit", "gtest", "pytest", "asan", "tsan", "fuzz")


@dataclass
class Result:
    """What one suite reported: counts, the names of what failed, and how long it took."""

    suite: str
    passed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(command, log, timeout=2400, **kwargs):
    """Runs a command with its output in `log`; returns the exit status (124: it ran past `timeout` seconds)."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as out:
        try:
            return subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, timeout=timeout, check=False,
                                  stdin=subprocess.DEVNULL, **kwargs).returncode
        except subprocess.TimeoutExpired:
            out.write(f"\nrun_tests: stopped after {timeout} s\n")
            return 124


def tail(log, lines=40):
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def llvm_tool(name):
    cache = (BUILD / "CMakeCache.txt").read_text(encoding="utf-8") if (BUILD / "CMakeCache.txt").exists() else ""
    for line in cache.splitlines():
        if line.startswith("MLIR_DIR:"):
            return str(Path(line.split("=", 1)[1]).parents[2] / "bin" / name)
    return f"/usr/lib/llvm-22/bin/{name}"


def suite_checks(options, result):
    for script in sorted((ROOT / "scripts").glob("check_*.py")):
        log = RESULTS / f"{script.stem}.log"
        if run([sys.executable, str(script)], log) == 0:
            result.passed += 1
        else:
            result.failures.append(f"{script.name}\n{tail(log)}")


def suite_lit(options, result):
    report, log = RESULTS / "lit.json", RESULTS / "lit.log"
    report.unlink(missing_ok=True)
    code = run([llvm_tool("lit"), "-v", "--no-progress-bar", f"-j{os.cpu_count()}", "--output", str(report), str(BUILD / "test")], log)
    if not report.exists():
        result.failures.append(f"lit did not run (exit {code})\n{tail(log)}")
        return
    for test in json.loads(report.read_text(encoding="utf-8"))["tests"]:
        if test["code"] in ("PASS", "XFAIL", "FLAKYPASS"):
            result.passed += 1
        elif test["code"] in ("UNSUPPORTED", "SKIPPED", "EXCLUDED"):
            result.skipped += 1
        else:
            output = "\n".join(test.get("output", "").splitlines()[-40:])
            result.failures.append(f"{test['name']}: {test['code']}\n{output}")


def gtest_binaries(folder):
    return [p for p in sorted((folder / "bin" / "unittests").glob("*")) if p.is_file() and os.access(p, os.X_OK)]


def run_gtests(folder, label, result):
    """Every gtest binary of one build; a crash or an empty binary is a failure."""
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1", TSAN_OPTIONS="halt_on_error=0",
                       UBSAN_OPTIONS="print_stacktrace=1")
    for binary in gtest_binaries(folder):
        report, log = RESULTS / label / f"{binary.name}.json", RESULTS / label / f"{binary.name}.log"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.unlink(missing_ok=True)
        code = run([str(binary), f"--gtest_output=json:{report}"], log, env=environment)
        failures, ran = [], 0
        if report.exists():
            for suite in json.loads(report.read_text(encoding="utf-8")).get("testsuites", []):
                for case in suite["testsuite"]:
                    if case.get("status") != "RUN" or case.get("result") == "SKIPPED":
                        result.skipped += 1
                    elif case.get("failures"):
                        failures.append(f"{binary.name}: {suite['name']}.{case['name']}\n{case['failures'][0]['failure'][:2000]}")
                    else:
                        ran += 1
        result.passed += ran
        result.failures += failures
        if code and not failures:
            result.failures.append(f"{binary.name}: exit {code}\n{tail(log)}")
        elif not ran and not failures:
            result.failures.append(f"{binary.name}: holds no test that ran")


def suite_gtest(options, result):
    run_gtests(BUILD, "gtest", result)


def suite_pytest(options, result):
    report, log = RESULTS / "pytest.xml", RESULTS / "pytest.log"
    report.unlink(missing_ok=True)
    code = run([sys.executable, "-m", "pytest", "-q", "-x" if options.fail_fast else "-ra", "-p", "no:cacheprovider", "--durations=15",
                f"--junitxml={report}", str(ROOT / "test" / "Python")], log)
    if not report.exists():
        result.failures.append(f"pytest did not run (exit {code})\n{tail(log)}")
        return
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        problem = case.find("failure") if case.find("failure") is not None else case.find("error")
        if problem is not None:
            result.failures.append(f"{case.get('classname')}.{case.get('name')}\n" + "\n".join((problem.text or "").splitlines()[-40:]))
        elif case.find("skipped") is not None:
            result.skipped += 1
        else:
            result.passed += 1
    if code and not result.failures:
        result.failures.append(f"pytest: exit {code}\n{tail(log)}")


def build_preset(preset, result, *targets):
    """Configures and builds (all or some targets of) a sanitizer preset; False, with the failure noted, if that did not work."""
    log = RESULTS / preset / "build.log"
    if not (BUILD / preset / "build.ninja").exists() and run(["cmake", "--preset", preset], log):
        result.failures.append(f"cmake --preset {preset}\n{tail(log)}")
        return False
    if run(["ninja", "-C", str(BUILD / preset), *targets], log):
        result.failures.append(f"build of preset {preset}\n{tail(log)}")
        return False
    return True


def suite_asan(options, result):
    if build_preset("asan", result):
        run_gtests(BUILD / "asan", "asan", result)


def suite_tsan(options, result):
    if build_preset("tsan", result):
        run_gtests(BUILD / "tsan", "tsan", result)


def suite_fuzz(options, result):
    """Each libFuzzer binary of the builds with VITRIFY_FUZZ, from its committed seeds, two at a time."""
    for preset in ("asan", "asan-compiler"):
        build_preset(preset, result, "fuzzers")
    binaries = [p for folder in ("asan", "asan-compiler") for p in sorted((BUILD / folder / "bin" / "fuzz").glob("*"))
                if p.is_file() and os.access(p, os.X_OK)]
    waiting, running = list(binaries), []
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            binary = waiting.pop(0)
            work = RESULTS / "fuzz" / binary.name
            (work / "corpus").mkdir(parents=True, exist_ok=True)
            seeds = ROOT / "test" / "Fuzz" / "corpus" / binary.name
            generator = ROOT / "test" / "Fuzz" / f"make_{binary.name.replace('-fuzz', '')}_seeds.py"
            if generator.is_file():
                seeds = work / "seeds"
                subprocess.run([sys.executable, str(generator), str(seeds)], check=True, cwd=ROOT)
            command = [str(binary), f"-max_total_time={options.fuzz_seconds}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1",
                       f"-artifact_prefix={work}/", str(work / "corpus")] + ([str(seeds)] if seeds.is_dir() else [])
            if (work / "seeds.dict").is_file():
                command.insert(1, f"-dict={work / 'seeds.dict'}")
            log = open(work / "log.txt", "w", encoding="utf-8")
            running.append((binary, log, work, subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)))
        time.sleep(0.2)
        for entry in [e for e in running if e[3].poll() is not None]:
            running.remove(entry)
            entry[1].close()
            if entry[3].returncode:
                result.failures.append(f"{entry[0].name}: finding, see {entry[2]}\n{tail(entry[2] / 'log.txt')}")
            else:
                result.passed += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: scripts/run_tests.py lit pytest")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"suites to run, of {', '.join(SUITES)} (default: all)")
    parser.add_argument("--fuzz-seconds", type=int, default=60 if os.environ.get("CI") else 10, metavar="N",
                        help="seconds for each fuzzer (default 60 when CI is set, else 10)")
    parser.add_argument("--fail-fast", action="store_true", help="stop pytest at its first failure")
    options = parser.parse_args()
    unknown = [s for s in options.suites if s not in SUITES]
    if unknown:
        parser.error(f"unknown suite {unknown[0]!r}; expected one of {', '.join(SUITES)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    summary = RESULTS / "summary.txt"
    summary.unlink(missing_ok=True)

    results = []
    for name in options.suites or SUITES:
        result, start = Result(name), time.monotonic()
        try:
            globals()[f"suite_{name}"](options, result)
        except Exception as error:  # a broken suite must be counted, not hide the others
            result.failures.append(f"{name}: {type(error).__name__}: {error}")
        if not result.passed and not result.failures and name != "fuzz":
            result.failures.append(f"{name}: no test ran")
        result.seconds = time.monotonic() - start
        results.append(result)
        print(f"{name:8} {result.passed:6} passed {len(result.failures):4} failed {result.skipped:4} skipped {result.seconds:7.1f} s", flush=True)
    for result in results:
        for failure in result.failures:
            print(f"\nFAILED [{result.suite}] {failure}")
    passed, failed = sum(r.passed for r in results), sum(len(r.failures) for r in results)
    print(f"\nall {sum(r.seconds for r in results):.0f} s; logs in {RESULTS.relative_to(ROOT)}/")
    line = f"{passed} passed, {failed} failed"
    summary.write_text(line + "\n", encoding="utf-8")
    print(line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
