#!/usr/bin/env python3
"""screenshot - a terminal's screen as a picture that stays text.

    tmux capture-pane -e -p -t SESSION | tools/screenshot.py "title" > docs/images/demo.svg

Reads lines as `tmux capture-pane -e` gives them (text with SGR colours: bold, dim, the 16 colours, 24-bit
colours) and writes an SVG on standard output: one <text> a line, so that it can be searched and read aloud.

SPDX-License-Identifier: Apache-2.0
"""
import html
import re
import sys
import unicodedata

COLUMN, LINE, MARGIN = 8.4, 19, 16
FOREGROUND, BACKGROUND = "#d8dee9", "#14181f"
PALETTE = ["#3b4252", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dee9",
           "#5c6370", "#f2858d", "#b1d993", "#f0d399", "#83c5ff", "#dc9aec", "#7fd0da", "#ffffff"]
SGR = re.compile(r"\x1b\[([0-9;]*)m")
OTHER = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][A-Z0-9])")


def colour(codes, index):
    """The colour that begins behind a 38 at codes[index], and how many codes it took."""
    if codes[index:index + 1] == [5] and len(codes) > index + 1 and codes[index + 1] < 16:
        return PALETTE[codes[index + 1]], 2
    if codes[index:index + 1] == [2] and len(codes) > index + 3:
        return "#%02x%02x%02x" % tuple(codes[index + 1:index + 4]), 4
    return None, 2


def apply(style, text):
    """The style after an SGR sequence."""
    codes = [int(part or 0) for part in text.split(";")]
    style = dict(style)
    i = 0
    while i < len(codes):
        code = codes[i]
        i += 1
        if code == 0:
            style = {}
        elif code in (1, 2):
            style["weight" if code == 1 else "opacity"] = "bold" if code == 1 else "0.6"
        elif code == 22:
            style.pop("weight", None)
            style.pop("opacity", None)
        elif code == 38:
            style["fill"], took = colour(codes, i)
            i += took
        elif code == 39:
            style["fill"] = None
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style["fill"] = PALETTE[code - 30 if code < 90 else code - 82]
    return style


def runs(line):
    """(style, text) pieces of one line."""
    style, place = {}, 0
    for match in SGR.finditer(line):
        if match.start() > place:
            yield style, line[place:match.start()]
        style, place = apply(style, match.group(1)), match.end()
    if place < len(line):
        yield style, line[place:]


def span(style, text):
    names = {"weight": "font-weight", "opacity": "opacity", "fill": "fill"}
    given = "".join(f' {names[key]}="{value}"' for key, value in sorted(style.items()) if value)
    safe = html.escape("".join(c for c in text if unicodedata.category(c) != "Cc"), quote=False)
    return f"<tspan{given}>{safe}</tspan>" if given else safe


def main():
    title = sys.argv[1] if len(sys.argv) > 1 else "terminal"
    lines = [OTHER.sub(lambda m: m.group(0) if m.group(0).endswith("m") else "", line.rstrip())
             for line in sys.stdin.read().split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    columns = max((len(SGR.sub("", line)) for line in lines), default=1)
    width, height = round(columns * COLUMN + 2 * MARGIN), len(lines) * LINE + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
          f'viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">')
    print(f"<title>{html.escape(title)}</title>")
    print(f'<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>')
    print(f'<g font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" '
          f'fill="{FOREGROUND}" xml:space="preserve">')
    for number, line in enumerate(lines):
        if line:
            columns = len(SGR.sub("", line))
            print(f'<text x="{MARGIN}" y="{MARGIN + 14 + number * LINE}" textLength="{columns * COLUMN:.1f}" '
                  f'lengthAdjust="spacingAndGlyphs">{"".join(span(*run) for run in runs(line))}</text>')
    print("</g>\n</svg>")


if __name__ == "__main__":
    main()
