"""Small SVG drawings, with titles that a pointer shows."""
from html import escape


def bar(share, text=""):
    """A horizontal bar of a share between 0 and 1."""
    width = max(0.0, min(1.0, share)) * 100
    return f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none"><title>{escape(text)}</title><rect width="{width:.2f}" height="10"/></svg>'


def steps(values, line, titles, width=900, height=160):
    """Values by step as columns, with a dashed line at `line`."""
    top = max([line, *values]) or 1
    column = width / max(len(values), 1)
    bars = "".join(f'<rect x="{i * column:.2f}" y="{height - v / top * height:.2f}" width="{max(column - 0.5, 0.5):.2f}" height="{v / top * height:.2f}">'
                   f"<title>{escape(title)}</title></rect>" for i, (v, title) in enumerate(zip(values, titles)))
    y = height - line / top * height
    return f'<svg class="steps" viewBox="0 -2 {width} {height + 4}">{bars}<line x1="0" x2="{width}" y1="{y:.2f}" y2="{y:.2f}"/></svg>'


def heat(rows, low, high, titles=None, size=110):
    """A grid of values; `low` is white, `high` is full colour. titles: a text for each cell."""
    height, width = len(rows), len(rows[0])
    cells = []
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            strength = (value - low) / (high - low) if high > low else 0.0
            title = f"<title>{escape(titles[y][x])}</title>" if titles else ""
            cells.append(f'<rect x="{x}" y="{y}" width="1.02" height="1.02" fill-opacity="{strength:.3f}">{title}</rect>')
    return f'<svg class="heat" viewBox="0 0 {width} {height}" width="{size}" height="{size * height / width:.0f}">{"".join(cells)}</svg>'


def grey(rows, size=110):
    """A picture of grey levels 0 to 255."""
    height, width = len(rows), len(rows[0])
    cells = "".join(f'<rect x="{x}" y="{y}" width="1.02" height="1.02" fill="rgb({v},{v},{v})"/>' for y, row in enumerate(rows) for x, v in enumerate(row))
    return f'<svg class="grey" viewBox="0 0 {width} {height}" width="{size}" height="{size * height / width:.0f}">{cells}</svg>'
