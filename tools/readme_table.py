"""Write the README's table of lessons from the built notebooks: `python -m tools.readme_table [--check]`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- lessons: python -m tools.readme_table -->", "<!-- end of lessons -->"


def row(path: Path) -> str:
    book = json.loads(path.read_text())
    first = "".join(book["cells"][0]["source"])
    number, title = re.match(r"# (\d\d) · (.*)", first).groups()  # type: ignore[union-attr]
    reading = re.search(r"\*\*Time\*\* (\d+)", first)
    cells = [set(c["metadata"].get("tags", [])) for c in book["cells"]]
    seconds = book["metadata"]["ebmlearn"] if "ebmlearn" in book["metadata"] else book["metadata"]
    cpu = seconds.get("cpu_seconds", seconds["seconds"])
    checks, widgets = sum("check" in t for t in cells), sum("widget" in t for t in cells)
    minutes = reading.group(1) if reading else "-"
    return f"| [{number}](lessons/{path.name}) | {title} | {minutes} | {cpu / 60:.1f} | {checks} | {widgets} |"


def table() -> str:
    lines = [
        "| lesson | about | minutes to work through | CPU minutes to run | checked exercises | widgets |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [row(p) for p in sorted((ROOT / "lessons").glob("[0-9]*.ipynb"))])


def main() -> int:
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    new = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if "--check" in sys.argv:
        if new != text:
            print("README.md: the table of lessons is out of step: run python -m tools.readme_table")
            return 1
        return 0
    readme.write_text(new)
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
