"""One HTML page without scripts, pictures or links to anything outside: it can be mailed."""
import json
import math
from html import escape

from vitrify.report import charts

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --rule: #d9dce1; --soft: #6a7078; --fill: #2a7f62; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #17191c; --rule: #3a3f45; --soft: #9aa1a9; --fill: #4fb38f; --bad: #ff8a80; } }
body { font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto; max-width: 1080px; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: .95rem; margin: 1.2rem 0 .3rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); } .bad { color: var(--bad); font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; } th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: .18rem .6rem .18rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; } td.n, th.n { text-align: right; }
td.k { font: 12px ui-monospace, monospace; word-break: break-all; }
.scroll { overflow-x: auto; } .cards { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: .8rem 0; } .cards b { display: block; font-size: 1.25rem; }
svg.bar { width: 90px; height: 9px; background: var(--rule); } svg:not(.grey) rect { fill: var(--fill); }
svg.steps { width: 100%; height: 160px; } svg.steps line { stroke: var(--bad); stroke-dasharray: 6 4; } svg.heat { border: 1px solid var(--rule); }
.maps { display: flex; flex-wrap: wrap; gap: 1rem; margin-top: 1rem; } .maps figure { margin: 0; } figcaption { font-size: 12px; color: var(--soft); max-width: 130px; }
details summary { cursor: pointer; margin: .4rem 0; }
"""


def amount(count):
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def table(heads, rows, name):
    """heads: (text, class); rows: cells that are HTML already. The name finds the table again."""
    head = "".join(f'<th class="{kind}">{escape(text)}</th>' for text, kind in heads)
    body = "".join("<tr>" + "".join(f'<td class="{kind}">{cell}</td>' for (_, kind), cell in zip(heads, row)) + "</tr>" for row in rows)
    return f'<div class="scroll"><table id="{escape(name)}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def cards(pairs):
    return '<div class="cards">' + "".join(f"<div><b>{escape(str(value))}</b>{escape(text)}</div>" for text, value in pairs) + "</div>"


def number(value, digits):
    return "–" if value is None else f"{value:.{digits}f}"


def page(report):
    """The report of `collect` as HTML. The figures themselves are in the page as JSON, in <script id="report">, which no browser runs."""
    told = report["inspection"]
    name = escape(told["model"]["name"])
    parts = [f'<header><h1>{name}</h1><p class="soft">{escape(report["bundle"])}, {escape(told["precision"])}, made by {escape(told["producer"])}</p></header>',
             summary(report), *(target_section(report, target) for target in told["targets"])]
    if "times" in report:
        parts.append(time_section(report["times"]))
    if "errors" in report:
        parts.append(error_section(report))
    if "activity" in report:
        parts.append(activity_section(report))
    parts.append(weight_section(report))
    data = json.dumps(report).replace("</", "<\\/")
    return ('<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f'<title>{name}</title><style>{STYLE}</style></head><body>{"".join(parts)}'
            f'<script type="application/json" id="report">{data}</script></body></html>\n')


def summary(report):
    told = report["inspection"]
    pairs = [("weights in the file", amount(told["weights"]["tensor_bytes"])), ("saved by sharing", amount(sum(g["saved"] for g in report["sharing"]))),
             ("targets", len(told["targets"]))]
    if "times" in report:
        pairs.append((f"median of {report['times']['runs']} runs, batch {report['times']['batch']}", f"{report['times']['median_ns'] / 1e6:.2f} ms"))
    if "errors" in report:
        worst = min(report["errors"], key=lambda d: -2 if d["cosine"] is None else d["cosine"])
        pairs.append((f"lowest cosine, at {worst['name']}", number(worst["cosine"], 5)))
    rows = [[escape(kind), amount(count)] for kind, count in sorted(told["weights"]["bytes_by_dtype"].items())]
    return "<section>" + cards(pairs) + table([("element type", ""), ("bytes of weights", "n")], rows, "dtypes") + "</section>"


def precision_of(layer):
    """What was built, and in which instructions where they say something else."""
    other = layer["instructions"] not in ("", layer["precision"])
    return escape(layer["precision"]) + (f' <span class="soft">as {escape(layer["instructions"])}</span>' if other else "")


def target_section(report, target):
    needs = ", ".join(target["needs"]) or "nothing special"
    head = f'<p class="soft">{escape(target["toolchain"])}, {amount(target["code_bytes"])} of code; needs {escape(needs)}</p>'
    programs = "".join(program_part(report["memory"][target["name"]][p["name"]], p, target["name"]) for p in target["programs"])
    return f'<section><h2>{escape(target["name"])}</h2>{head}{programs}{layer_part(report, target)}{kernel_part(target)}</section>'


def program_part(memory, program, target):
    steps, traffic = program["steps"], program["traffic"]
    titles = [f"step {i}, {' '.join(step['layers']) or step['kind']}: {amount(live)}" for i, (step, live) in enumerate(zip(steps, memory["live"]))]
    figures = [("arena, tuned shape", amount(memory["arena"])), ("most in use at once", amount(max(memory["live"], default=0))),
               ("bytes moved / least", f"{traffic['bytes'] / max(traffic['minimum_bytes'], 1):.3f}"), ("launches", traffic["launches"])]
    heads = [("step", "n"), ("layers", ""), ("kernel", "k"), ("grid", "n"), ("bytes moved", "n"), ("arena in use", "n")]
    rows = [[str(i), escape(" ".join(s["layers"])), escape(s["kernel"]), "×".join(map(str, s["grid"])), amount(s["bytes"]), amount(live)]
            for i, (s, live) in enumerate(zip(steps, memory["live"])) if s["kind"] == "launch"]
    plan = table(heads, rows, f"plan-{target}-{program['name']}")
    return (f"<h3>{escape(program['name'])}: memory over its {len(steps)} steps</h3>{cards(figures)}{charts.steps(memory['live'], memory['arena'], titles)}"
            f"<details><summary>The plan, step by step</summary>{plan}</details>")


def layer_part(report, target):
    errors = {d["name"]: d for d in report.get("errors", [])}
    rows = []
    for layer in target["layers"]:
        row = [escape(layer["name"]), precision_of(layer), f'<span class="bad">{escape(layer["note"])}</span>' if layer["note"] else "", escape(layer["kernel"])]
        rows.append(row + ([number(errors[layer["name"]]["cosine"], 5) if layer["name"] in errors else ""] if errors else []))
    heads = [("layer", ""), ("precision as built", ""), ("note", ""), ("kernel", "k")] + ([("cosine", "n")] if errors else [])
    return "<h3>Layers</h3>" + table(heads, rows, f"layers-{target['name']}")


def kernel_part(target):
    metrics = list(dict.fromkeys(key for k in target["kernels"] for key, value in k["metrics"].items() if not isinstance(value, (dict, list))))
    heads = [("kernel", "k"), ("kind", ""), ("precision", ""), ("steps", "n"), *((m.replace("_", " "), "n") for m in metrics)]
    rows = [[escape(k["name"]), escape(k["kind"]), escape(k["precision"]), str(k["steps"]), *(escape(str(k["metrics"].get(m, ""))) for m in metrics)]
            for k in target["kernels"]]
    return "<details><summary>Kernels</summary>" + table(heads, rows, f"kernels-{target['name']}") + "</details>"


def time_section(times):
    total = sum(s["ns"] for s in times["steps"]) or 1
    rows = [[escape(s["layers"]), escape(s["kernel"]), f"{s['ns'] / 1e3:.1f}", f"{100 * s['ns'] / total:.1f} %", charts.bar(s["ns"] / total, s["layers"])]
            for s in sorted(times["steps"], key=lambda s: -s["ns"])]
    said = (f'Measured on {escape(times["device"])} with {escape(times["target"])}: medians of {times["runs"]} runs, batch {times["batch"]}. '
            f'Steps together {total / 1e6:.2f} ms (timed one by one), a whole run {times["median_ns"] / 1e6:.2f} ms.')
    heads = [("layers", ""), ("kernel", "k"), ("µs", "n"), ("share", "n"), ("", "")]
    return f'<section><h2>Time</h2><p class="soft">{said}</p>{table(heads, rows, "times")}</section>'


def error_section(report):
    rows = []
    for d in report["errors"]:
        name = f'<span class="bad">{escape(d["name"])}</span>' if d["bad"] else escape(d["name"])
        rows.append([name, number(d["cosine"], 6), number(d["sqnr_db"], 1), f"{d['max_error']:.4g}", f"{d['max_value']:.4g}"])
    bad = sum(d["bad"] for d in report["errors"])
    said = f"Against float32 on {report['images']} images, both compiled with every value in a buffer of its own; {bad or 'no'} bad layers."
    heads = [("layer", ""), ("cosine", "n"), ("SQNR dB", "n"), ("largest error", "n"), ("largest value", "n")]
    return f'<section><h2>Error of {escape(report["inspection"]["precision"])} by layer</h2><p class="soft">{said}</p>{table(heads, rows, "errors")}</section>'


def grid(patches, tokens, picture):
    """Rows and columns of the patches, nearest to the picture's shape, and how many tokens come before them."""
    if not 0 < patches <= tokens:
        return 1, tokens, 0
    height, width = len(picture), len(picture[0])
    rows = min((r for r in range(1, patches + 1) if patches % r == 0), key=lambda r: abs(math.log(r * r / patches * width / height)))
    return rows, patches // rows, tokens - patches


def activity_section(report):
    layers = report["activity"]["layers"]
    if not layers:
        return ""
    rows = [[escape(a["name"]), str(a["width"]), f"{100 * a['share']:.1f} %", str(a["never"]), charts.bar(a["share"], a["name"])] for a in layers]
    low, high = min(min(a["tokens"]) for a in layers), max(max(a["tokens"]) for a in layers)
    maps = [f'<figure>{charts.grey(report["picture"])}<figcaption>first image</figcaption></figure>']
    for a in layers:
        height, width, before = grid(report["activity"]["patches"], len(a["tokens"]), report["picture"])
        cells = [a["tokens"][before + y * width:before + (y + 1) * width] for y in range(height)]
        titles = [[f"{100 * v:.1f} %" for v in row] for row in cells]
        least, most = min(map(min, cells)), max(map(max, cells))
        maps.append(f'<figure>{charts.heat(cells, low, high, titles)}<figcaption>{escape(a["name"])}: {100 * least:.0f} to {100 * most:.0f} %</figcaption></figure>')
    said = ("Share of neurons above 1 % of their layer's largest value, or of gate blocks that are on; never: neurons that no token of "
            f"{report['images']} images used. The maps show each patch of the first image.")
    heads = [("layer", ""), ("width", "n"), ("active", "n"), ("never", "n"), ("", "")]
    return f'<section><h2>Activity</h2><p class="soft">{said}</p>{table(heads, rows, "activity")}<div class="maps">{"".join(maps)}</div></section>'


def weight_section(report):
    groups = [[escape(g["tensor"]), escape(", ".join(g["layers"])), amount(g["bytes"]), amount(g["saved"])] for g in report["sharing"]]
    heads = [("stored once", ""), ("used by", ""), ("bytes", "n"), ("saved", "n")]
    shared = table(heads, groups, "sharing") if groups else '<p class="soft">No weights are shared.</p>'
    tensors = [[escape(t["name"]), escape(t["dtype"]), "×".join(map(str, t["shape"])), amount(t["bytes"])] for t in report["inspection"]["weights"]["tensors"]]
    every = table([("tensor", ""), ("type", ""), ("shape", "n"), ("bytes", "n")], tensors, "tensors")
    return f"<section><h2>Weights</h2>{shared}<details><summary>All {len(tensors)} tensors</summary>{every}</details></section>"
