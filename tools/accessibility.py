"""What a reader who sees, hears or reads otherwise needs of notebooks and pages: `python -m tools.accessibility [NOTEBOOK or PAGE ...]`.

Words for every picture, headings in order, links that lead somewhere, pictures that can be read on a dark page, no stored widget
state, a figure before each widget, and no colours that colour-blind readers confuse. What only a running figure shows (lines that
differ by colour alone) is looked at while nbval runs, see `kernel_probe`.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SHORT = 15  # letters: less does not say what is seen
COLOURS = {
    "r",
    "g",
    "red",
    "green",
    "lime",
    "darkgreen",
    "darkred",
    "tab:red",
    "tab:green",
    "forestgreen",
    "#ff0000",
    "#00ff00",
    "#008000",
}
MAPS = {"jet", "rainbow", "hsv", "gist_rainbow", "nipy_spectral", "RdYlGn", "RdYlGn_r", "Spectral", "turbo", "brg"}
KEYWORDS = {
    "color",
    "c",
    "colors",
    "ec",
    "fc",
    "edgecolor",
    "edgecolors",
    "facecolor",
    "facecolors",
    "mfc",
    "mec",
    "cmap",
    "palette",
}
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)[^)]*\)|<img\b[^>]*>", re.S)
LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\]]*\])+\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"[`*$]", "", heading).strip().lower()).replace(" ", "-")


def prose(markdown: str) -> str:
    """Markdown without its code blocks and formulas, in which brackets are no links."""
    return re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$", " ", markdown, flags=re.S)


def headings(markdown: str) -> list[tuple[int, str]]:
    """(level, words) of the headings, code blocks left out."""
    text = re.sub(r"```.*?```", "", markdown, flags=re.S)
    return [(len(m[1]), m[2].strip()) for m in re.finditer(r"^(#{1,6})\s+(.+)$", text, flags=re.M)]


def heading_problems(found: Sequence[tuple[int, str]]) -> list[str]:
    """One title, first; no level left out on the way down."""
    bad = []
    if not found or found[0][0] != 1:
        bad.append(f"does not begin with a title ('# ...'): {found[:1]}")
    bad += [f"a second title: {words!r}" for level, words in found[1:] if level == 1]
    for (above, _), (level, words) in pairwise(found):
        if level > above + 1:
            bad.append(f"heading {words!r} is of level {level} below one of level {above}")
    return bad


def picture_problems(markdown: str, folder: Path) -> list[str]:
    """Pictures in Markdown or HTML without words, or that are not there."""
    bad = []
    for m in PICTURE.finditer(markdown):
        alt, target = m[1], m[2]
        if m[0].startswith("<img"):
            alt = (re.search(r"\balt=\"([^\"]*)\"", m[0]) or [None, ""])[1]
            target = (re.search(r"\bsrc=\"([^\"]*)\"", m[0]) or [None, ""])[1]
        if "badge" in target:
            continue
        if len((alt or "").strip()) < SHORT:
            bad.append(f"picture {target[:60]} has no words (alt text) that say what is seen: {alt!r}")
        if not re.match(r"[a-z]+:", target) and not (folder / target).exists():
            bad.append(f"picture {target} is not there")
    return bad


def anchors_of(path: Path) -> set[str]:
    """The anchors of a page or a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n\n".join("".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown")
    return {slug(words) for _, words in headings(text)}


def link_problems(markdown: str, path: Path) -> list[str]:
    """Links that lead nowhere in this checkout, or whose form is wrong; nothing is fetched."""
    bad = []
    for target in LINK.findall(prose(markdown)):
        if re.match(r"https://[\w.-]+\.[a-z]{2,}(/\S*)?$", target) or target.startswith("mailto:"):
            continue
        if re.match(r"[a-z]+:", target):
            bad.append(f"link {target}: expected https://")
            continue
        name, _, anchor = target.partition("#")
        other = path.parent / name if name else path
        if not other.exists():
            bad.append(f"link {target}: no such file")
        elif anchor and other.suffix in (".md", ".ipynb") and anchor not in anchors_of(other):
            bad.append(f"link {target}: no heading makes this anchor")
    return bad


def dark_page_problems(png: str) -> list[str]:
    """A picture (base64) whose corners are dark or transparent, so that its black words vanish on a dark page."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        rgba = picture.convert("RGBA")
    corners = [rgba.getpixel((x, y)) for x in (0, rgba.width - 1) for y in (0, rgba.height - 1)]
    if any(min(c[:3]) < 200 or c[3] < 255 for c in corners):  # type: ignore[index]
        return [f"the picture's background is not light and opaque: corners {corners}"]
    return []


def notebook_problems(path: Path) -> list[str]:
    """What is wrong with a notebook, one line each."""
    book: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    bad, figure_seen = [], False
    text = "\n\n".join("".join(c["source"]) for c in book["cells"] if c["cell_type"] == "markdown")
    bad += heading_problems(headings(text)) + picture_problems(text, path.parent) + link_problems(text, path)
    if "widgets" in book["metadata"]:
        bad.append("stores the state of widgets")
    for i, cell in enumerate(book["cells"]):
        tags = cell["metadata"].get("tags", [])
        if "widget" in tags and not figure_seen:
            bad.append(f"cell {i}: a widget without a figure of its own before it, so that a page without a kernel shows nothing")
        figure_seen = "widget" not in tags and (figure_seen or "figure" in tags)
        for out in cell.get("outputs", []):
            data = out.get("data", {})
            if any("widget-view" in kind for kind in data):
                bad.append(f"cell {i}: stores the view of a widget")
            if "image/svg+xml" in data or "image/jpeg" in data:
                bad.append(f"cell {i}: expected a PNG")
            if "image/png" in data:
                alt = out.get("metadata", {}).get("image/png", {}).get("alt", "")
                if len(alt) < SHORT:
                    bad.append(f'cell {i}: a picture without words: say in alt="..." on the cell\'s line what is seen')
                bad += [f"cell {i}: {line}" for line in dark_page_problems(data["image/png"])]
            for m in re.finditer(r"<img\b[^>]*>", "".join(data.get("text/html", ""))):
                if 'alt="' not in m[0]:
                    bad.append(f"cell {i}: HTML with a picture without words")
    return bad


def page_problems(path: Path) -> list[str]:
    """What is wrong with a Markdown page, one line each."""
    text = path.read_text(encoding="utf-8")
    found = headings(text)
    table = not found and path.parent.name == "results"  # a table that other pages show below their own headings
    return ([] if table else heading_problems(found)) + picture_problems(prose(text), path.parent) + link_problems(text, path)


def colour_problems(source: str) -> list[str]:
    """Raw reds and greens, and rainbow maps, in calls that draw."""
    bad = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        for keyword in node.keywords:
            if keyword.arg in KEYWORDS:
                words = [n.value for n in ast.walk(keyword.value) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
                bad += [f"line {node.lineno}: {keyword.arg}={w!r}" for w in words if w.lower() in COLOURS or w in MAPS]
        if name in ("plot", "semilogx", "semilogy", "loglog", "errorbar", "stem"):
            formats = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            bad += [
                f"line {node.lineno}: format {f!r}" for f in formats if re.fullmatch(r"[rg][-.:ox+*sd^v]*|[-.:ox+*sd^v]+[rg]", f)
            ]
    return [f"{line}: take a colour of ebmlearn.viz, which colour-blind readers can tell apart" for line in bad]


def everything() -> list[Path]:
    """Notebooks, pages and the code that draws."""
    lessons = ROOT / "lessons"
    found = [*lessons.glob("[0-9][0-9]_*.ipynb"), *(lessons / "solutions").glob("*.ipynb"), *lessons.glob("homework/**/*.ipynb")]
    found += [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("tools/*.md"),
        *ROOT.glob("data/**/*.md"),
        *ROOT.glob("benchmarks/*.md"),
    ]
    found += [*lessons.glob("source/*.py"), *ROOT.glob("ebmlearn/**/*.py"), *ROOT.glob("experiments/*.py")]
    return sorted(p for p in found if "_resources" not in p.parts)


def problems(path: Path) -> list[str]:
    """What is wrong with one file."""
    if path.suffix == ".py":
        return colour_problems(path.read_text(encoding="utf-8"))
    return notebook_problems(path) if path.suffix == ".ipynb" else page_problems(path)


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    paths = [Path(w).resolve() for w in words] or everything()
    bad = [
        f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}: {line}" for path in paths for line in problems(path)
    ]
    print("\n".join(bad) or f"{len(paths)} files, nothing to mend")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
