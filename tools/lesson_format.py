"""From one lesson source to two notebooks without outputs: stubs, quizzes, captions, tags, ids. Pure functions of text."""

from __future__ import annotations

import ast
import hashlib
import re
import textwrap
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

KINDS = ("student", "solution")
TAGS = {"setup", "exercise", "check", "figure", "widget", "quiz", "solution"}
MADE = {"links", "quiz-widget", "colab"}  # cells that the build adds; no source has them
NBVAL_TAGS = {"nbval-check-output", "nbval-ignore-output", "nbval-skip"}
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
QUESTIONS = 5


class FormatError(ValueError):
    """A lesson source breaks a rule of the format; the message says where and what to write instead."""


def hole(span: str) -> str:
    """What a student finds where a solution stood: `return ...`, `name = ...`, else `...` (at the top of a cell only a comment)."""
    last = ast.parse(textwrap.dedent(span)).body[-1]
    if isinstance(last, ast.Return):
        return "return ...  # your code"
    if isinstance(last, ast.Assign) and len(last.targets) == 1 and isinstance(last.targets[0], ast.Name):
        return f"{last.targets[0].id} = ...  # your code"
    return "...  # your code" if span[:1].isspace() else "# your code"


def split_solution(source: str, where: str) -> tuple[str, str]:
    """(stub, solution) of a cell: the marked spans replaced by holes, and only the marks removed."""
    stub: list[str] = []
    full: list[str] = []
    span: list[str] | None = None
    for line in source.splitlines():
        mark = line.strip()
        if mark == BEGIN:
            if span is not None:
                raise FormatError(f"{where}: '{BEGIN}' inside a solution")
            span = []
        elif mark == END:
            if not span:
                raise FormatError(f"{where}: '{END}' without a solution before it")
            body = "\n".join(span)
            indent = re.match(r"\s*", span[0]).group()  # type: ignore[union-attr]
            stub.append(indent + hole(body))
            span = None
        elif mark.upper().startswith(("### BEGIN", "### END", "###BEGIN", "###END")):
            raise FormatError(f"{where}: a misspelt mark {mark!r}; write '{BEGIN}' and '{END}'")
        else:
            full.append(line)
            (stub if span is None else span).append(line)
    if span is not None:
        raise FormatError(f"{where}: '{BEGIN}' without '{END}'")
    return "\n".join(stub), "\n".join(full)


def render_quiz(source: str, where: str, *, expected: int | None = QUESTIONS) -> str:
    """Compact quiz -> Markdown that needs no kernel: question, lettered choices, folded answer with a word on each choice.

    A question is `N. text`; a choice `- [ ] text :: why it tempts and why it is wrong`, the right one `- [x] text :: why`.
    Lines that begin otherwise continue the line before.
    """
    questions: list[tuple[str, list[tuple[bool, str]]]] = []
    for line in source.splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if m := re.match(r"\d+\. (.*)", text):
            questions.append((m[1], []))
        elif m := re.match(r"- \[([ xX])\] (.*)", text):
            if not questions:
                raise FormatError(f"{where}: a choice before the first question")
            questions[-1][1].append((m[1] != " ", m[2]))
        elif questions and questions[-1][1]:
            right, choice = questions[-1][1][-1]
            questions[-1][1][-1] = (right, f"{choice} {text}")
        elif questions:
            questions[-1] = (f"{questions[-1][0]} {text}", [])
        else:
            raise FormatError(f"{where}: expected '1. question'; got {text!r}")
    if expected is not None and len(questions) != expected:
        raise FormatError(f"{where}: a quiz has {expected} questions; got {len(questions)}")
    out = ["## Quiz", "", "Choose first, then open the answer."]
    for n, (question, choices) in enumerate(questions, start=1):
        right = [i for i, (yes, _) in enumerate(choices) if yes]
        if len(right) != 1 or len(choices) < 2:
            raise FormatError(f"{where}, question {n}: one right choice '- [x]' and at least one wrong '- [ ]', please")
        parts = [choice.split(" :: ", 1) for _, choice in choices]
        if any(len(p) != 2 for p in parts):
            raise FormatError(f"{where}, question {n}: every choice says ' :: why' (why it tempts, why it is wrong)")
        out += ["", f"### Question {n}", "", question, ""]
        out += [f"- **{'ABCDEFG'[i]}.** {p[0]}" for i, p in enumerate(parts)]
        out += ["", "<details><summary>Answer</summary>", "", f"**{'ABCDEFG'[right[0]]} is right.** {parts[right[0]][1]}"]
        out += [f"\n*Not {'ABCDEFG'[i]}:* {p[1]}" for i, p in enumerate(parts) if i != right[0]]
        out += ["", "</details>"]
    return "\n".join(out)


def silence(source: str) -> str:
    """A figure cell that ends with an expression, with the semicolon that keeps its value from being printed."""
    last = ast.parse(source).body[-1]
    lines = source.splitlines()
    if isinstance(last, ast.Expr) and last.end_lineno is not None and last.end_col_offset is not None:
        line = lines[last.end_lineno - 1].encode()
        head, tail = line[: last.end_col_offset].decode(), line[last.end_col_offset :].decode()
        if not tail.lstrip().startswith(";"):
            lines[last.end_lineno - 1] = f"{head};{tail}"
    return "\n".join(lines)


def names(tree: ast.AST) -> tuple[set[str], set[str]]:
    """(names bound at the top of a cell, names read anywhere in it)."""
    bound: set[str] = set()
    for node in getattr(tree, "body", []):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        else:
            bound |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return bound, {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def links(stem: str, kind: str, repository: str | None) -> str:
    """The line below the header: where letters, words and the other lessons are, and a Colab badge where a repository is known."""
    up = "../" if kind == "student" else "../../"
    other = f"[solutions](solutions/{stem}.ipynb)" if kind == "student" else f"[without solutions](../{stem}.ipynb)"
    pages = [("letters", "notation.md"), ("words", "glossary.md"), ("order of lessons", "course_map.md")]
    line = " · ".join([*(f"[{name}]({up}docs/{page})" for name, page in pages), other, "`ebmlearn progress` says where you are"])
    if repository:
        badge = "https://colab.research.google.com/assets/colab-badge.svg"
        where = repository.removeprefix("https://github.com/").rstrip("/")
        path = f"lessons/{stem}.ipynb" if kind == "student" else f"lessons/solutions/{stem}.ipynb"
        line += f" · [![Open in Colab]({badge})](https://colab.research.google.com/github/{where}/blob/main/{path})"
    return line


def colab_cell(repository: str) -> str:
    """The one set-up cell that a notebook on Colab needs; elsewhere it does nothing."""
    return (
        "# On Colab: install the course. Anywhere else this cell does nothing.\nimport sys\n\n"
        'if "google.colab" in sys.modules:\n'
        f'    get_ipython().run_line_magic("pip", "install --quiet \'ebmlearn @ git+{repository.rstrip("/")}\'")'
    )


def bare_notebook(cells: list[nbformat.NotebookNode], stem: str, kind: str, text: str) -> nbformat.NotebookNode:
    """Cells as a notebook that says which source it was made of, in which version for whom."""
    nb = new_notebook(cells=cells)
    nb.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    nb.metadata["language_info"] = {
        "name": "python",
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "pygments_lexer": "ipython3",
    }
    nb.metadata["ebmlearn"] = {"lesson": stem, "kind": kind, "source_sha256": hashlib.sha256(text.encode()).hexdigest()}
    return nb


def convert(path: Path, *, complete: bool = True, repository: str | None = None) -> dict[str, nbformat.NotebookNode]:
    """The student's and the solution notebook of one source, without outputs.

    The build adds a line of links below the header, the quiz as a widget below the folded one, and, when the address of the
    repository is known, a Colab badge and the cell that installs the course there.

    Args:
        complete: ask for all that a lesson has: three checked exercises, a figure, a widget, a quiz.
        repository: https address on GitHub, `Repository` under `[project.urls]`; None where the project has none yet.

    Raises:
        FormatError: an unknown tag, a mark out of place, a figure without words, a later cell that uses an exercise, ...
    """
    text = path.read_text(encoding="utf-8")
    source = jupytext.reads(text, fmt="py:percent")
    cells: dict[str, list[nbformat.NotebookNode]] = {kind: [] for kind in KINDS}
    seen: set[str] = set()
    exercised: dict[str, str] = {}
    count = dict.fromkeys(TAGS, 0)

    def put(kinds: tuple[str, ...], cell_type: str, body: dict[str, str], tags: list[str], key: str, **metadata: str) -> None:
        digest = hashlib.sha256(key.encode()).hexdigest()[:10]
        cell_id, n = digest, 1
        while cell_id in seen:
            n += 1
            cell_id = f"{digest}-{n}"
        seen.add(cell_id)
        for kind in kinds:
            make = new_markdown_cell if cell_type == "markdown" else new_code_cell
            cell = make(body[kind], id=cell_id)
            if tags or metadata:
                cell.metadata.update({**({"tags": tags} if tags else {}), **metadata})
            cells[kind].append(cell)

    for i, cell in enumerate(source.cells):
        if not cell.source.strip():
            continue
        where = f"{path.name}, cell {i} ({cell.source.strip().splitlines()[0][:50]})"
        tags = list(cell.metadata.get("tags", []))
        unknown = set(tags) - TAGS - NBVAL_TAGS
        if unknown:
            raise FormatError(f"{where}: unknown tags {sorted(unknown)}; known are {sorted(TAGS | NBVAL_TAGS)}")
        for tag in tags:
            count[tag] = count.get(tag, 0) + 1
        if cell.cell_type == "markdown":
            expected = QUESTIONS if complete else None
            body = render_quiz(cell.source, where, expected=expected) if "quiz" in tags else cell.source
            bodies = {"student": body, "solution": body.replace("](../", "](../../")}  # one folder further down
            put(("solution",) if "solution" in tags else KINDS, "markdown", bodies, tags, cell.source)
            if len(cells["student"]) == 1:
                line = {kind: links(path.stem, kind, repository) for kind in KINDS}
                put(KINDS, "markdown", line, ["links"], "links")
                if repository:
                    put(KINDS, "code", dict.fromkeys(KINDS, colab_cell(repository)), ["colab"], "colab")
            if "quiz" in tags:
                source_of_quiz = f'from ebmlearn.course import quiz\n\nquiz("{path.stem[:2]}")'
                quiz_tags = ["quiz-widget", "nbval-ignore-output"]
                put(KINDS, "code", dict.fromkeys(KINDS, source_of_quiz), quiz_tags, "quiz widget")
            continue
        stub, full = split_solution(cell.source, where)
        if (stub != full) != ("exercise" in tags):
            raise FormatError(f"{where}: the tag 'exercise' and the marks '{BEGIN}' / '{END}' belong together")
        try:
            bound, read = names(ast.parse(full))
            ast.parse(stub)
        except SyntaxError as error:
            raise FormatError(f"{where}: not Python: {error}") from error
        if "check" not in tags:
            for name in sorted(read & set(exercised)):
                raise FormatError(f"{where}: uses {name!r}, which the exercise in {exercised[name]} defines; only checks may")
            for name in bound & set(exercised):
                raise FormatError(f"{where}: defines {name!r} again, a name of the exercise in {exercised[name]}")
        if "exercise" in tags:
            exercised.update(dict.fromkeys(bound, where))
        metadata: dict[str, str] = {}
        alt = cell.metadata.get("alt", "")
        if ("figure" in tags and not alt) or (alt and not {"figure", "exercise"} & set(tags)):
            raise FormatError(
                f"{where}: a cell tagged 'figure' says in alt=\"...\" what is seen; an exercise that draws may, too"
            )
        if alt:
            metadata["alt"] = alt
        if "check" in tags and "nbval-check-output" not in tags:
            tags.append("nbval-check-output")
        if "widget" in tags and "nbval-ignore-output" not in tags:
            tags.append("nbval-ignore-output")
        if "figure" in tags:
            stub, full = silence(stub), silence(full)
        put(KINDS, "code", {"student": stub, "solution": full}, tags, cell.source, **metadata)
        if alt and "exercise" in tags:  # the picture is drawn in the solutions only, and its words would tell
            del cells["student"][-1].metadata["alt"]
        if alt:
            put(
                KINDS if "figure" in tags else ("solution",),
                "markdown",
                dict.fromkeys(KINDS, f"*What is seen:* {alt}"),
                [],
                "caption " + alt,
            )
    for tag, least in {"exercise": 3, "check": 3, "figure": 1, "widget": 1, "quiz": 1}.items():
        if complete and count[tag] < least:
            raise FormatError(f"{path.name}: a lesson has at least {least} cell(s) tagged {tag!r}; got {count[tag]}")
    return {kind: bare_notebook(cells[kind], path.stem, kind, text) for kind in KINDS}
