"""Begin a lesson from the template: `python -m tools.new_lesson 17 springs "Springs at a temperature"`.

Writes a lesson that builds and passes as it stands, its checkers, and the answers that test them; change one thing after another.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = Path(__file__).with_name("template")


def places(number: str, name: str, root: Path) -> dict[str, Path]:
    """Template -> where its copy goes."""
    return {
        "lesson.py.txt": root / "lessons" / "source" / f"{number}_{name}.py",
        "checks.py.txt": root / "ebmlearn" / "checks" / f"lesson{number}.py",
        "cases.py.txt": root / "tests" / "checks_cases" / f"lesson{number}.py",
    }


def new_lesson(number: str, name: str, title: str, root: Path = ROOT) -> list[Path]:
    """Write the three files of a new lesson.

    Raises:
        ValueError: a number that is taken or not of two digits, a name that is no file name.
    """
    if not re.fullmatch(r"\d\d", number) or not re.fullmatch(r"[a-z][a-z0-9_]*", name) or not title.strip():
        raise ValueError(f"expected two digits, a name like my_lesson and a title; got {number!r}, {name!r}, {title!r}")
    targets = places(number, name, root)
    taken = [p for p in targets.values() if p.exists()] + sorted((root / "lessons" / "source").glob(f"{number}_*.py"))
    if taken:
        raise ValueError(f"lesson {number} exists: {', '.join(str(p.relative_to(root)) for p in taken)}; choose another number")
    for template, target in targets.items():
        text = (TEMPLATE / template).read_text(encoding="utf-8").replace("NUMBER", number).replace("TITLE", title.strip())
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return list(targets.values())


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) != 3:
        print(__doc__)
        return 2
    try:
        made = new_lesson(*words)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(str(p.relative_to(ROOT)) for p in made))
    print(
        f"next: python -m tools.build_lessons {words[0]}; pytest tests/test_checks.py -k lesson{words[0]}; python -m tools.course_map"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
