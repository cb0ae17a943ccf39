"""Pages to send: one HTML file each, which loads nothing, and runs no script but its own.

The Content-Security-Policy in the page names the hashes of its script and of its style, so that no browser would run
or apply anything else, even if a name got out of its place. Without scripts all of the page can still be read.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from sampledb.render.html import render_text, render_value

# Rows of a table, and characters of a value.
_MAX_ROWS: Final = 20_000
_LONG: Final = 1000

_STYLE: Final = """
body { font: 15px/1.5 sans-serif; margin: 2em; color: #1f2328; background: #fff; overflow-wrap: break-word }
table { border-collapse: collapse; margin: 1em 0 }
caption { text-align: left; font-weight: bold }
th, td { text-align: left; vertical-align: top; padding: 2px 12px 2px 0; border-bottom: 1px solid #d1d9e0 }
td { overflow-wrap: anywhere }
td:first-child { white-space: nowrap }
td:nth-child(2), td:nth-child(3) { min-width: 9em }
thead th { cursor: pointer }
thead th[aria-sort=ascending]::after { content: " \\25B2" }
thead th[aria-sort=descending]::after { content: " \\25BC" }
.graph { overflow: auto; max-height: 80vh; border: 1px solid #d1d9e0 }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1em }
.pair > div { min-width: 0 }
pre { overflow: auto; font-size: 12px }
pre a { color: inherit }
pre a[href] { color: #0550ae }
input { font: inherit; padding: 4px 8px; width: 24em }
pre :target, section:target h2 { background: #fff8c5 }
"""
#: Scrolls each picture to its first block, which is the second rectangle: a large one begins far from its corner.
SCROLL: Final = """
for (const graph of document.querySelectorAll(".graph")) {
  const block = graph.querySelectorAll("rect")[1]?.getBBox();
  if (block) {
    graph.scrollLeft = block.x + block.width / 2 - graph.clientWidth / 2;
    graph.scrollTop = block.y;
  }
}
"""
# Rows stay where the page has them until somebody clicks: addresses and numbers by size, other texts by alphabet.
_SCRIPT: Final = (
    f'"use strict";{SCROLL}'
    """
const number = text => /^0x[0-9a-f]+$/.test(text) || /^[0-9]+$/.test(text) ? BigInt(text)
  : /^[0-9.]+$/.test(text) ? Number(text) : null;
const compare = (one, other) => {
  const [a, b] = [number(one), number(other)];
  if (a === null || b === null) return a === b ? one.localeCompare(other) : a === null ? 1 : -1;
  return a < b ? -1 : a > b ? 1 : 0;
};
const sort = head => {
  const rows = head.closest("table").tBodies[0];
  const falls = head.getAttribute("aria-sort") === "ascending";
  for (const each of head.parentNode.cells) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falls ? "descending" : "ascending");
  const text = row => row.cells[head.cellIndex].textContent;
  const sorted = [...rows.rows].sort((a, b) => (falls ? -1 : 1) * compare(text(a), text(b)));
  rows.append(...sorted);
};
for (const head of document.querySelectorAll("thead th")) {
  head.tabIndex = 0;
  head.addEventListener("click", () => sort(head));
  head.addEventListener("keydown", event => { if (event.key === "Enter") sort(head); });
}
const filter = document.querySelector("input");
filter.hidden = false;
filter.addEventListener("input", () => {
  const wanted = filter.value.toLowerCase();
  for (const each of document.querySelectorAll("thead ~ tbody tr, section"))
    each.hidden = !each.textContent.toLowerCase().includes(wanted);
});
"""
)


def render_page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page, in ASCII, of parts that are HTML."""
    name = render_text(title, _LONG)
    policy = f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; base-uri 'none'"
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}; form-action \'none\'">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>",
        '<input type="search" placeholder="Show only what contains" aria-label="Show only what contains" hidden>',
        *parts,
        f"<script>{_SCRIPT}</script>\n</body>\n</html>",
    ]
    return "\n".join(lines).encode("ascii", "xmlcharrefreplace").decode()


def _hash(content: str) -> str:
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"


def render_facts(fields: Mapping[str, object]) -> str:
    """Return a table with a row for each field that has a value."""
    rows = (
        f'<tr><th scope="row">{render_text(name, _LONG)}</th><td>{render_value(name, value, _LONG)}</td></tr>'
        for name, value in fields.items()
        if value not in ("", None)
    )
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def render_sortable(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table that people can sort by each column, with a note if there are more rows than it shows."""
    head = "".join(f'<th scope="col">{render_text(column, _LONG)}</th>' for column in columns)
    body = "\n".join(
        f"<tr>{''.join(f'<td>{render_value(*cell, _LONG)}</td>' for cell in zip(columns, row, strict=True))}</tr>"
        for row in rows[:_MAX_ROWS]
    )
    rest = f"<p>… and {len(rows) - _MAX_ROWS:,} more</p>" if len(rows) > _MAX_ROWS else ""
    caption = f"<caption>{render_text(title, _LONG)}</caption>" if title else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}" if rows else ""


def render_section(anchor: str, title: str, parts: Iterable[str]) -> str:
    """Return a part of a page with a title, to which links lead."""
    return f'<section id="{anchor}"><h2>{render_text(title, _LONG)}</h2>{"".join(parts)}</section>'


def render_pair(one: str, other: str) -> str:
    """Return two pictures side by side."""
    return f'<div class="pair"><div class="graph">{one}</div><div class="graph">{other}</div></div>'
