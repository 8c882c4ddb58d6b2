"""One engine on one model in a process of its own: prepares or loads, then times runs when it is told to.

Standard input: "run SECONDS LEAST" answers with one line of JSON; end of input ends it. Its memory is that of loading and running alone.
"""
import argparse
import json
import os
import sys
import time
from pathlib import Path


def peak_rss():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("engine", "precision", "model", "checkpoint", "work"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--prepare", action="store_true")
    options = parser.parse_args()
    # Before any library reads them.
    os.environ |= {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}

    import numpy as np
    from engines import ENGINES, Job

    job = Job(options.engine, options.precision, options.model, options.batch, options.threads, Path(options.checkpoint), Path(options.work))
    engine = ENGINES[job.engine]
    if engine.missing():
        print(json.dumps({"missing": engine.missing()}))
        return
    if options.prepare:
        begin = time.perf_counter()
        engine.prepare(job)
        print(json.dumps({"prepare_s": time.perf_counter() - begin, "prepare_rss_bytes": peak_rss()}))
        return
    x = np.array(np.load(job.work / "images.npy", mmap_mode="r")[:job.batch])
    begin = time.perf_counter()
    run, size = engine.load(job)
    loaded = time.perf_counter()
    logits = run(x)
    first = time.perf_counter()
    np.save(job.work / f"{job.model}_{job.engine}_{job.precision}_b{job.batch}.npy", logits)
    print(json.dumps({"load_s": loaded - begin, "first_s": first - loaded, "artifact_bytes": size}), flush=True)
    for line in sys.stdin:
        _, seconds, least = line.split()
        times, cpu, begin = [], time.process_time(), time.perf_counter()
        while len(times) < int(least) or time.perf_counter() - begin < float(seconds):
            start = time.perf_counter()
            run(x)
            times.append(time.perf_counter() - start)
        print(json.dumps({"times": times, "cpu_s": time.process_time() - cpu, "rss_bytes": peak_rss()}), flush=True)


if __name__ == "__main__":
    main()
