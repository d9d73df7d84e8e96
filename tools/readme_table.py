"""Write the README's table of lessons from the built notebooks: `python -m tools.readme_table [--check]`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from ebmlearn.course.lessons import read_lesson

from .budgets import read_budgets

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- lessons: python -m tools.readme_table -->", "<!-- end of lessons -->"


def row(path: Path, budgets: dict[str, dict[str, float]]) -> str:
    """One lesson: what its header says, what its cells are, what the build and nbval measured."""
    book = json.loads(path.read_text(encoding="utf-8"))
    lesson = read_lesson(path)
    cells = [set(c["metadata"].get("tags", [])) for c in book["cells"]]
    cost = book["metadata"]["ebmlearn"]
    small = budgets.get(f"{path.stem}/student", {})
    ci = f"{small['cpu_seconds']:.0f}" if small else "-"
    full = f"{cost.get('cpu_seconds', cost['seconds']):.0f}"
    memory = cost.get("peak_mb") or small.get("peak_mb")
    open_ones = sum(bool(re.search(r"^#+ .*\bopen\b", "".join(c["source"]), re.M | re.I)) for c in book["cells"])
    exercises, widgets = len(lesson.exercises), sum("widget" in t for t in cells)
    return (
        f"| [{lesson.number}](lessons/{path.name}) | {lesson.title} | {lesson.minutes or '-'} | {ci} | {full} "
        f"| {f'{memory:.0f}' if memory else '-'} | {exercises} + {open_ones} | {widgets} |"
    )


def table() -> str:
    """The table of all lessons, with a line on what was measured and how."""
    lines = [
        "| lesson | about | minutes to work through | CPU seconds, CI size | CPU seconds, full size | peak MB | exercises: checked + open "
        "| widgets |",
        "|---|---|---|---|---|---|---|---|",
    ]
    budgets = read_budgets()
    lines += [row(p, budgets) for p in sorted((ROOT / "lessons").glob("[0-9]*.ipynb"))]
    lines += [
        "",
        "Minutes to work through are the authors' estimates. Seconds and memory are measured, start of the kernel included: full size by",
        "the build, CI size (`EBMLEARN_SMOKE=1`) by `python -m tools.run_nbval --write-budgets`.",
    ]
    return "\n".join(lines)


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
