"""Tables and the plot of what bench.py measured."""

# A precision is compared with peers of the same or a better one.
BETTER = {"f32": ("f32",), "bf16": ("f32", "bf16"), "fp8": ("f32", "bf16"), "fp8-low": ("f32", "bf16"), "int8": ("f32", "bf16", "int8", "int8-static")}


def ratio(row, rows):
    """How many times faster than the fastest peer of the same or better precision, and which; None when there is none."""
    if row["engine"] != "vitrify" or "p50_ms" not in row:
        return None
    peers = [r for r in rows if r["engine"] != "vitrify" and r["precision"] in BETTER[row["precision"]] and "p50_ms" in r]
    if not peers:
        return None
    best = min(peers, key=lambda r: r["p50_ms"])
    return best["p50_ms"] / row["p50_ms"], f"{best['engine']} {best['precision']}"


def print_table(rows, peaks):
    """One model and batch."""
    first = rows[0]
    print(f"\n{first['model']}, batch {first['batch']}; peak " + ", ".join(f"{name.removeprefix('peak_')} {value / 1e9:.0f} G/s" for name, value in peaks.items()))
    print(f"{'engine':16} {'precision':12} {'p50 ms':>8} {'p90':>8} {'p99':>8} {'of limit':>8} {'load s':>7} {'first s':>7} {'peak MiB':>8} {'cosine':>9} {'others':>6}  against the best peer")
    for row in sorted(rows, key=lambda r: r.get("p50_ms", float("inf"))):
        head = f"{row['engine']:16} {row['precision']:12}"
        if "p50_ms" not in row:
            print(head, f"missing: {row['missing']} is not installed" if "missing" in row else f"failed: {row['failed']}")
            continue
        share = f"{row['limit_ms'] / row['p50_ms']:8.2f}" if row["limit_ms"] else f"{'-':>8}"
        against = ratio(row, rows)
        print(head, f"{row['p50_ms']:8.2f} {row['p90_ms']:8.2f} {row['p99_ms']:8.2f} {share} {row['load_s']:7.2f} {row['first_s']:7.2f} "
              f"{row['rss_bytes'] / 2**20:8.0f} {row['cosine']:9.6f} {row['other_cpus']:6.2f}  {f'{against[0]:.2f}x {against[1]}' if against else ''}".rstrip())


def plot(rows, path):
    """Images a second by engine and precision, one panel a model and batch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = list(dict.fromkeys((r["model"], r["batch"]) for r in rows if "p50_ms" in r))
    if not panels:
        return
    figure, axes = pyplot.subplots(len(panels), 1, figsize=(8, 0.4 + 2.6 * len(panels)), squeeze=False)
    for axis, (model, batch) in zip(axes[:, 0], panels):
        shown = sorted((r for r in rows if (r["model"], r["batch"]) == (model, batch) and "p50_ms" in r), key=lambda r: -r["p50_ms"])
        axis.barh([f"{r['engine']} {r['precision']}" for r in shown], [1e3 * batch / r["p50_ms"] for r in shown],
                  color=["#2a7f62" if r["engine"] == "vitrify" else "#b8b8b8" for r in shown])
        axis.set_title(f"{model}, batch {batch}", fontsize=9, loc="left")
        axis.set_xlabel("images a second", fontsize=8)
        axis.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
