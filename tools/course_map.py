"""Draw docs/course_map.png and write docs/course_map.md from the lessons' headers: `python -m tools.course_map [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from ebmlearn.course.lessons import Lesson, all_lessons
from ebmlearn.course.map import words, write_map

ROOT = Path(__file__).resolve().parents[1]


def page(lessons: dict[str, Lesson]) -> str:
    """The map's page: the picture, and the same in words."""
    lines = [
        "# The course",
        "",
        f"![The lessons as boxes, an arrow from each to those that build on it. {words(lessons)}](course_map.png)",
        "",
        "An arrow means *needs*; arrows that follow from others are left out. `ebmlearn progress --map map.png` draws the map with",
        "what you have finished, `ebmlearn progress` says what comes next. Made by `python -m tools.course_map`.",
        "",
        "| lesson | | minutes | builds on |",
        "|---|---|---|---|",
    ]
    for number, lesson in sorted(lessons.items()):
        needs = ", ".join(n for n in lesson.needs if n in lessons) or "-"
        lines.append(f"| [{number}](../lessons/{lesson.path.name}) | {lesson.title} | {lesson.minutes} | {needs} |")
    return "\n".join(lines) + "\n"


def out_of_step(lessons: dict[str, Lesson], docs: Path) -> list[str]:
    """Which of the two files do not show these lessons."""
    bad = []
    if not (docs / "course_map.md").exists() or (docs / "course_map.md").read_text(encoding="utf-8") != page(lessons):
        bad.append("course_map.md")
    shown = None
    if (docs / "course_map.png").exists():
        with Image.open(docs / "course_map.png") as picture:
            shown = picture.info.get("Description")
    return bad + ["course_map.png"] * (shown != words(lessons))


def main() -> int:
    lessons, docs = all_lessons(ROOT / "lessons"), ROOT / "docs"
    if "--check" in sys.argv:
        if bad := out_of_step(lessons, docs):
            print(f"out of step: {', '.join(bad)}; run python -m tools.course_map")
            return 1
        return 0
    write_map(docs / "course_map.png", lessons)
    (docs / "course_map.md").write_text(page(lessons), encoding="utf-8")
    print(f"{len(lessons)} lessons -> docs/course_map.png, docs/course_map.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
