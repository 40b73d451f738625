"""Small line charts as SVG text, without libraries: panels side by side, lines with labels, a title each."""

from xml.sax.saxutils import escape

COLOURS = ("#0b62a4", "#d1495b", "#2e8b57", "#e08e0b", "#7a5195", "#4a4a4a")
FONT = 'font-family="Helvetica, Arial, sans-serif"'


def nice_step(span):
    """A round distance for about five marks."""
    step = 10.0 ** len(str(int(span))) if span >= 1 else 1.0
    while span / step < 4:
        step /= 2 if span / (step / 2) >= 4 else 5 if span / (step / 5) >= 4 else 10
    return step


def number(value):
    return f"{value:g}"


class Panel:
    """One chart. A series is a label ("" for none), points [(x, y)] and a style: colour index, dashed or not."""

    def __init__(self, title, x_label, y_label, y_max=None):
        self.title, self.x_label, self.y_label = title, x_label, y_label
        self.series, self.marks, self.y_max = [], [], y_max  # y_max: no point may lie above it

    def line(self, label, points, colour, dashed=False):
        if points:
            self.series.append((label, points, COLOURS[colour % len(COLOURS)], dashed))

    def bound(self, y, label):
        """A horizontal line: what is wanted."""
        self.marks.append((y, label))

    def draw(self, left, top, width, height):
        xs = [x for _, points, _, _ in self.series for x, _ in points]
        ys = [y for _, points, _, _ in self.series for _, y in points] + [y for y, _ in self.marks]
        x0, x1 = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
        y1 = self.y_max or max(max(ys), 1e-9) * 1.08
        legend = 17 * sum(1 for label, *_ in self.series if label)
        px, py, pw, ph = left + 52, top + 34 + legend, width - 72, height - 84 - legend

        def place(x, y):
            return px + (x - x0) / (x1 - x0) * pw, py + ph - y / y1 * ph

        out = [f'<text x="{left + 8}" y="{top + 18}" font-size="14" font-weight="bold">{escape(self.title)}</text>']
        out += self.grid(place, x0, x1, y1, (px, py, pw, ph))
        y = top + 36
        for label, points, colour, dashed in self.series:
            dash = ' stroke-dasharray="6 4"' if dashed else ""
            if label:
                out.append(f'<line x1="{left + 10}" y1="{y - 4}" x2="{left + 40}" y2="{y - 4}" stroke="{colour}" stroke-width="2.2"'
                           f'{dash}/><text x="{left + 46}" y="{y}" font-size="12">{escape(label)}</text>')
                y += 17
            path = " ".join("%.1f,%.1f" % place(x, y) for x, y in points)
            out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.2"{dash}/>')
            out += ['<circle cx="%.1f" cy="%.1f" r="2.6" fill="%s"/>' % (*place(x, y), colour) for x, y in points]
        return out

    def grid(self, place, x0, x1, y1, box):
        px, py, pw, ph = box
        out, step, y = [], nice_step(y1), 0
        while y <= y1 * 1.0001:
            _, at = place(x0, y)
            out.append(f'<line x1="{px}" y1="{at:.1f}" x2="{px + pw}" y2="{at:.1f}" stroke="#ddd"/>'
                       f'<text x="{px - 6}" y="{at + 4:.1f}" font-size="11" text-anchor="end">{number(y)}</text>')
            y += step
        step = nice_step(x1 - x0)
        x = -(-x0 // step) * step
        while x <= x1 * 1.0001:
            at, _ = place(x, 0)
            out.append(f'<text x="{at:.1f}" y="{py + ph + 16}" font-size="11" text-anchor="middle">{number(x)}</text>')
            x += step
        for y, label in self.marks:
            _, at = place(x0, y)
            out.append(f'<line x1="{px}" y1="{at:.1f}" x2="{px + pw}" y2="{at:.1f}" stroke="#888" '
                       f'stroke-dasharray="2 3"/><text x="{px + pw - 2}" y="{at - 4:.1f}" font-size="11" fill="#555" '
                       f'text-anchor="end">{escape(label)}</text>')
        out.append(f'<text x="{px + pw / 2}" y="{py + ph + 34}" font-size="12" text-anchor="middle">'
                   f'{escape(self.x_label)}</text>')
        out.append(f'<text x="{px - 40}" y="{py + ph / 2}" font-size="12" text-anchor="middle" '
                   f'transform="rotate(-90 {px - 40} {py + ph / 2})">{escape(self.y_label)}</text>')
        return out


def page(panels, columns=2, width=560, height=410):
    """An SVG of all panels."""
    rows = -(-len(panels) // columns)
    w, h = columns * width + 10, rows * height + 10
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" {FONT}>',
           f'<rect width="{w}" height="{h}" fill="white"/>']
    for i, panel in enumerate(panels):
        out += panel.draw(5 + i % columns * width, 5 + i // columns * height, width, height)
    return "\n".join(out + ["</svg>"]) + "\n"
