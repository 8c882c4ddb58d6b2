"""vitrify bench: how fast a bundle is on this machine."""
import json

from vitrify.tools import run_tool

NAME = "bench"
HELP = "measure a bundle's speed and memory"
DESCRIPTION = """Runs a bundle many times on one input and prints times, images a second and peak memory, as measured in a process of its own."""
EXAMPLES = """  vitrify bench vit.vitrify --batch 8
  vitrify bench vit.vitrify --runs 200 --json"""


def add_arguments(parser):
    parser.add_argument("bundle", metavar="BUNDLE", nargs="+", help="folder written by vitrify compile")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images a run (default: 1)")
    parser.add_argument("--runs", type=int, default=50, metavar="N", help="runs that are measured (default: 50)")
    parser.add_argument("--warmup", type=int, default=5, metavar="N", help="runs before them (default: 5)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda or emulator (default: cpu)")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each bundle")


def measure(bundle, batch=1, runs=50, warmup=5, device="cpu"):
    """What vitrify-run --bench measured, as a dictionary."""
    printed = run_tool("vitrify-run", [bundle, f"--device={device}", f"--batch={batch}", f"--bench={runs}", f"--warmup={warmup}"])
    return json.loads(printed.strip().splitlines()[-1])


def run(options):
    if not options.json:
        print(f"{'bundle':32} {'precision':>9} {'batch':>5} {'p50 ms':>9} {'p90 ms':>9} {'images/s':>9} {'first ms':>9} {'peak MiB':>9}")
    for bundle in options.bundle:
        r = measure(bundle, options.batch, options.runs, options.warmup, options.device)
        print(json.dumps(r) if options.json else
              f"{str(bundle)[-32:]:32} {r['precision']:>9} {r['batch']:>5} {r['p50_ms']:9.3f} {r['p90_ms']:9.3f} {r['images_per_s']:9.1f} "
              f"{r['first_ms']:9.1f} {r['peak_rss_bytes'] / 2**20:9.1f}")
