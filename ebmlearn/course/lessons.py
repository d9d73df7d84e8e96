"""What the course consists of, read from the built notebooks: titles, minutes, prerequisites, exercises."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..resources import resource

PAGES = ("notation.md", "glossary.md", "course_map.md", "course_map.png")  # what the lessons link, from docs/


@dataclass(frozen=True)
class Lesson:
    """One lesson, as its first cell and its check cells describe it.

    Args:
        number: two digits.
        title: without the number.
        minutes: to work through it; None where the header does not say.
        needs: numbers of the lessons that it builds on.
        exercises: names of its checked exercises, in order.
        path: of the notebook.
    """

    number: str
    title: str
    minutes: int | None
    needs: tuple[str, ...]
    exercises: tuple[str, ...]
    path: Path


def sources(cell: dict[str, Any]) -> str:
    """The text of a cell, which the file format stores as a string or as a list of lines."""
    return "".join(cell["source"])


def tags(cell: dict[str, Any]) -> list[str]:
    """The tags of a cell."""
    return cell.get("metadata", {}).get("tags", [])


def folder() -> Path:
    """Where the lessons are: the folder that EBMLEARN_LESSONS names, else those that came with the package."""
    own = os.environ.get("EBMLEARN_LESSONS", "")
    return Path(own).expanduser() if own else resource("lessons")


def read_lesson(path: Path) -> Lesson:
    """The lesson in a notebook.

    Raises:
        ValueError: the first cell does not begin with `# NN · title`.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    header = sources(cells[0]) if cells else ""
    first = re.match(r"# (\d\d) · (.+)", header)
    if not first:
        raise ValueError(f"expected {path.name} to begin with '# NN · title'; got {header[:60]!r}")
    minutes = re.search(r"\*\*Time\*\* (\d+)", header)
    needs = re.search(r"\*\*Needs\*\* ((?:.+\n?)+)", header)
    asked = [m for cell in cells if "check" in tags(cell) for m in re.findall(r"\bq\.(\w+)\.check\(", sources(cell))]
    return Lesson(
        number=first[1],
        title=first[2].strip(),
        minutes=int(minutes[1]) if minutes else None,
        needs=tuple(sorted({n for n in re.findall(r"(?<![\d.])\d\d(?![\d.]\d)\b", needs[1])} - {first[1]})) if needs else (),
        exercises=tuple(dict.fromkeys(asked)),
        path=path,
    )


def all_lessons(where: Path | None = None) -> dict[str, Lesson]:
    """The lessons in a folder, by number.

    Example:
        >>> course = all_lessons()
        >>> course["01"].title, course["01"].needs
        ('Energy functions and the Boltzmann distribution', ('00',))
    """
    found = [read_lesson(path) for path in sorted((where or folder()).glob("[0-9][0-9]_*.ipynb"))]
    return {lesson.number: lesson for lesson in found}


NOT_FOR_STUDENTS = (("homework", "solutions"), ("homework", "instructor"))


def copy_course(lessons: Path, docs: Path, target: Path) -> int:
    """Copy the notebooks, what they show and the pages that they link; keep what is there already; the number of new files.

    The pages go to `target/docs`, and the links between the two are changed to match.

    Args:
        lessons: the folder of lessons, with `solutions/` in it.
        docs: the folder of pages.
        target: where to.
    """
    moved = {path: path.relative_to(lessons) for path in sorted(lessons.rglob("*")) if path.is_file()}
    wanted = {
        path: to
        for path, to in moved.items()
        if to.parts[0] != "source"
        and to.parts[:2] not in NOT_FOR_STUDENTS
        and not any(part.startswith((".", "__")) for part in to.parts)
    }
    wanted |= {docs / name: Path("docs") / name for name in PAGES}
    new = 0
    for path, to in wanted.items():
        place = target / to
        if place.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".ipynb", ".md"):
            text = path.read_text(encoding="utf-8")
            text = text.replace("](../docs/", "](docs/").replace("](../../docs/", "](../docs/").replace("](../lessons/", "](../")
            place.write_text(text, encoding="utf-8")
        else:
            shutil.copyfile(path, place)
        new += 1
    return new
