"""From one homework source to three notebooks: for the student, with solutions, and for the instructor (nbgrader's marks in place)."""

from __future__ import annotations

import ast
import hashlib
import re
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

from ebmlearn.checks.homework import GradedProblem, homework

from .lesson_format import BEGIN, END, FormatError, bare_notebook, silence, split_solution

KINDS = ("student", "solution", "instructor")
TAGS = {"setup", "exercise", "check", "figure", "manual"}
HIDDEN = ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")
CHECK = re.compile(r"^print\(q\.(\w+)\.check\((.+)\)\)$")
ANSWER = "*Your answer.*"


def argument(p: GradedProblem) -> str:
    """What a check is called with: the answer, or a tuple of it and of those that it is judged against."""
    return f"({', '.join((p.name, *p.beside))})" if p.beside else p.name


def split_hidden(source: str, where: str) -> tuple[str, str]:
    """(what stands before the hidden tests, the hidden tests with their marks) of a check cell."""
    head, mark, rest = source.partition(HIDDEN[0])
    if not mark or not rest.rstrip().endswith(HIDDEN[1]) or "assert" not in rest:
        raise FormatError(f"{where}: a check ends with '{HIDDEN[0]}', a line that asserts, '{HIDDEN[1]}'")
    return head.rstrip(), mark + rest.rstrip()


def nbgrader(grade_id: str, *, points: int | None = None, solution: bool = False) -> dict[str, Any]:
    """The metadata of a cell that nbgrader knows, schema 3: an answer, a test with points, or an answer that a person marks."""
    grade = points is not None
    data: dict[str, Any] = {
        "grade": grade,
        "grade_id": grade_id,
        "locked": grade and not solution,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    return {**data, "points": points} if grade else data


def split_answer(source: str, where: str) -> tuple[str, str]:
    """(for the student, with the answer) of a Markdown cell whose answer stands between the marks."""
    if source.count(BEGIN) != 1 or source.count(END) != 1:
        raise FormatError(f"{where}: a 'manual' cell has one '{BEGIN}' ... '{END}' around a model answer and how it is marked")
    head, rest = source.split(BEGIN)
    inside, tail = rest.split(END)
    return f"{head}{ANSWER}{tail}", f"{head}{inside.strip()}{tail}"


def convert_homework(path: Path) -> dict[str, nbformat.NotebookNode]:
    """The three notebooks of a source, without outputs; points come from the homework's checks.

    Raises:
        FormatError: an unknown tag, a mark out of place, a problem without a check or a check without a problem, ...
    """
    text = path.read_text(encoding="utf-8")
    work = homework(path.stem)
    cells: dict[str, list[nbformat.NotebookNode]] = {kind: [] for kind in KINDS}
    checked: list[str] = []
    manual: list[str] = []
    answered: set[str] = set()

    def put(cell_type: str, bodies: tuple[str, str, str], key: str, tags: list[str], **metadata: Any) -> None:
        digest = hashlib.sha256(key.encode()).hexdigest()[:10]
        for kind, body in zip(KINDS, bodies, strict=True):
            cell = (new_markdown_cell if cell_type == "markdown" else new_code_cell)(body, id=digest)
            cell.metadata.update({**({"tags": tags} if tags else {}), **metadata})
            cells[kind].append(cell)

    for i, cell in enumerate(jupytext.reads(text, fmt="py:percent").cells):
        source = cell.source
        if not source.strip():
            continue
        where = f"{path.name}, cell {i} ({source.strip().splitlines()[0][:50]})"
        tags = list(cell.metadata.get("tags", []))
        if set(tags) - TAGS:
            raise FormatError(f"{where}: unknown tags {sorted(set(tags) - TAGS)}; known are {sorted(TAGS)}")
        if cell.cell_type == "markdown":
            if "manual" not in tags:
                put("markdown", (source,) * 3, source, tags)
                continue
            name = cell.metadata.get("name", "")
            if name not in work.manual:
                raise FormatError(f"{where}: name={name!r} is none of the open questions {sorted(work.manual)}")
            stub, full = split_answer(source, where)
            manual.append(name)
            put("markdown", (stub, full, source), source, tags, nbgrader=nbgrader(name, points=work.manual[name], solution=True))
            continue
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            raise FormatError(f"{where}: not Python: {error}") from error
        if "check" in tags:
            head, hidden = split_hidden(source, where)
            found = CHECK.match(head.strip())
            if not found or found[1] not in work.problems or found[2] != argument(work.problems[found[1]]):
                raise FormatError(f"{where}: expected print(q.NAME.check(NAME)) with a problem of {sorted(work.problems)}")
            checked.append(found[1])
            mark = nbgrader(f"{found[1]}-test", points=work.problems[found[1]].points)
            put("code", (head, head, f"{head}\n{hidden}"), source, [*tags, "nbval-check-output"], nbgrader=mark)
        elif "exercise" in tags:
            stub, full = split_solution(source, where)
            names = [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in work.problems]
            if len(names) != 1 or stub == full:
                raise FormatError(f"{where}: an exercise defines one function that a check asks for, its body between the marks")
            answered.update(names)
            put("code", (stub, full, source), source, tags, nbgrader=nbgrader(names[0], solution=True))
        else:
            if (alt := cell.metadata.get("alt", "")) and "figure" in tags:
                put("code", (silence(source),) * 3, source, tags, alt=alt)
                put("markdown", (f"*What is seen:* {alt}",) * 3, "caption " + alt, [])
            elif alt or "figure" in tags:
                raise FormatError(f"{where}: a cell tagged 'figure' says in alt=\"...\" what is seen, and only such a cell does")
            else:
                put("code", (source,) * 3, source, tags)
    if checked != list(work.problems) or answered != set(checked) or manual != list(work.manual):
        raise FormatError(
            f"{path.name}: expected answers and checks of {list(work.problems)} and open questions {list(work.manual)}, in this order; "
            f"got answers {sorted(answered)}, checks {checked}, open questions {manual}"
        )
    return {kind: bare_notebook(cells[kind], path.stem, kind, text) for kind in KINDS}
