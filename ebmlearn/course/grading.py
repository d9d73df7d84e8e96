"""Grade a submission: it runs in a child process, this one draws the questions and judges the answers (docs/grading.md)."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import secrets
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..checks.base import NotAttempted, Wrong
from ..checks.homework import HOMEWORKS, Homework, homework
from ..datasets.files import root as data_root
from ..resources import PACKAGE, resource
from . import processes
from .wire import NotPlain, decode, encode

CHILD = PACKAGE / "course" / "grading_child.py"
MESSAGE = 32 << 20  # bytes of one answer
PROCESSES = 32
PATIENCE = 5  # seconds of wall time for each second of CPU time that is allowed
START = 60.0  # seconds of CPU time for Python and PyTorch to start, before any code of the submission runs


@dataclass(frozen=True)
class Limits:
    """What a submission may use.

    Args:
        seconds: of CPU time of its processes together, for its cells in all and for each problem; of wall time five times as
            many, so that a busy machine costs nobody points and a submission that sleeps is stopped, too.
        memory: MiB of its processes together.
    """

    seconds: float = 60.0
    memory: float = 2048.0

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.memory < 256:
            raise ValueError(
                f"expected seconds > 0 and memory >= 256 MiB (PyTorch alone takes about 150); got {self.seconds}, {self.memory}"
            )


class Stopped(Wrong):
    """The submission's process is no more; the message says why."""


class Submission:
    """Code in a child process that answers calls of its functions: a context manager.

    Args:
        cells: the code, cell by cell.
        limits: what it may use.
        seed: of the child's generator.
    """

    def __init__(self, cells: Sequence[str], *, limits: Limits, seed: int) -> None:
        self.cells, self.limits, self.seed = list(cells), limits, seed
        self.confinement = ""
        self.errors: list[list[Any]] = []
        self.deadline, self.used_up = 0.0, 0.0
        self.alive = False

    def __enter__(self) -> Submission:
        self._folder = tempfile.TemporaryDirectory(prefix="ebmlearn-grade-", ignore_cleanup_errors=True)
        self._before = processes.children_of_mine()
        processes.adopt_orphans(True)
        theirs, self._write = os.pipe()
        self._read, mine = os.pipe()
        scratch = self._folder.name
        environment = {k: os.environ[k] for k in ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT") if k in os.environ}
        environment |= {
            "PYTHONPATH": str(PACKAGE.parent),
            "EBMLEARN_DATA": str(data_root()),
            "EBMLEARN_PROGRESS": "off",
            "MPLBACKEND": "Agg",
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        } | dict.fromkeys(("HOME", "TMPDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"), scratch)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-B", str(CHILD), str(theirs), str(mine)],
            cwd=scratch,
            env=environment,
            pass_fds=(theirs, mine),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(mine)
        for fd in (self._read, self._write):
            os.set_blocking(fd, False)
        self.alive, self._id, self._seen = True, 0, 0.0
        try:
            self.clock(START)
            first = self._ask({"readable": readable(), "writable": scratch, "seed": self.seed})
            self.confinement = str(first.get("confinement", "?"))[:80]
            self.clock()
            self.errors = self._ask({"op": "run", "cells": self.cells}).get("errors", [])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.alive = False
        processes.end(self.process, self._before)
        processes.adopt_orphans(False)
        for fd in (self._read, self._write):
            os.close(fd)
        self._folder.cleanup()

    def clock(self, seconds: float | None = None) -> None:
        """From now on the submission has this long; default its limit."""
        allowed = self.limits.seconds if seconds is None else seconds
        self.deadline = time.monotonic() + PATIENCE * allowed
        self.used_up = processes.cpu_of(self._family()) + allowed

    def _family(self) -> set[int]:
        return processes.below({self.process.pid} | (processes.children_of_mine() - self._before)) - self._before

    def _stop(self, why: str) -> None:
        self.alive = False
        processes.end(self.process, self._before)
        raise Stopped(why)

    def _watch(self) -> None:
        now = time.monotonic()
        if now > self.deadline:
            self._stop(f"it took more than {PATIENCE * self.limits.seconds:g} s and was stopped")
        if now - self._seen < 0.1:
            return
        self._seen = now
        family = self._family()
        if processes.cpu_of(family) > self.used_up:
            self._stop(f"it ran for more than {self.limits.seconds:g} s of CPU time and was stopped")
        if len(family) > PROCESSES:
            self._stop(f"it started more than {PROCESSES} processes and was stopped")
        if processes.memory_of(family) > self.limits.memory:
            self._stop(f"it used more than {self.limits.memory:g} MiB of memory and was stopped")

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """One question, one answer; never waits for longer than the clock allows."""
        if not self.alive:
            raise Stopped("its process had ended")
        self._id += 1
        out = memoryview(json.dumps({"id": self._id, **message}).encode() + b"\n")
        said = bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(self._read, selectors.EVENT_READ)
            ready.register(self._write, selectors.EVENT_WRITE)
            block = b""
            while b"\n" not in block:
                self._watch()
                for key, _ in ready.select(0.05):
                    if key.fd == self._write:
                        try:
                            out = out[os.write(self._write, out[: 1 << 16]) :]
                        except BrokenPipeError:
                            self._stop("its process ended before it answered")
                        if not out:
                            ready.unregister(self._write)
                        continue
                    block = os.read(self._read, 1 << 16)
                    if not block:
                        self._stop("its process ended before it answered")
                    said += block
                    if len(said) > MESSAGE:
                        self._stop(f"an answer has more than {MESSAGE >> 20} MiB")
        line, _, rest = said.partition(b"\n")
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if rest or out or not isinstance(answer, dict) or answer.get("id") != self._id:
            self._stop("something else than an answer came through the grader's channel")
        return answer

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """The submission's function `name` at these arguments.

        Raises:
            Wrong: it raised, or its answer is not plain data; `Stopped` when the process ended.
            NotAttempted: no such function, or the answer is `...` or None.
        """
        reply = self._ask({"op": "call", "name": name, "args": [encode(a) for a in args], "kwargs": kwargs})
        if "error" in reply:
            raise Wrong(f"it raised {plain(reply['error'])}")
        try:
            value = decode(reply.get("value"))
        except NotPlain as error:
            raise Wrong(f"your result is {plain(error)}; expected numbers, tensors, or tuples of them") from None
        if value is None or value is Ellipsis:
            raise NotAttempted
        return value

    def function(self, name: str) -> Callable[..., Any]:
        """The submission's function as a function of this process."""
        return lambda *args, **kwargs: self.call(name, *args, **kwargs)


def plain(text: object, most: int = 240) -> str:
    """Text from a submission as one line of printable characters."""
    return "".join(c if c.isprintable() else " " for c in str(text))[:most]


def readable() -> list[str]:
    """What a submission may read: Python, the system's libraries, the package and its data; not the grader's folder."""
    own = [sys.prefix, sys.base_prefix, *(p for p in sys.path if p.startswith((sys.prefix, sys.base_prefix)))]
    for name in ("torch", "numpy", "matplotlib"):
        module = sys.modules.get(name)
        if module is not None and module.__file__:
            own.append(str(Path(module.__file__).parents[1]))
    system = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/opt", "/proc", "/sys", "/dev"]
    with contextlib.suppress(FileNotFoundError):
        own.append(str(resource("data")))
    return sorted({os.path.realpath(p) for p in [*own, *system, str(PACKAGE), str(data_root())] if os.path.exists(p)})


@dataclass(frozen=True)
class Mark:
    """What one problem got."""

    name: str
    points: int
    out_of: int
    status: str
    message: str = ""


@dataclass(frozen=True)
class Report:
    """What a submission got; `manual` are the points that a person gives."""

    notebook: str
    homework: str
    seed: int
    marks: tuple[Mark, ...]
    manual: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    confinement: str = ""

    @property
    def points(self) -> int:
        return sum(m.points for m in self.marks)

    @property
    def out_of(self) -> int:
        return sum(m.out_of for m in self.marks)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "points": self.points, "out_of": self.out_of}

    def __str__(self) -> str:
        width = max(len(m.name) for m in self.marks)
        lines = [f"{self.notebook}: {self.homework}, {self.points} of {self.out_of} points"]
        for m in self.marks:
            more = f". {m.message}" if m.message else ""
            lines.append(f"  {m.name:{width}s}  {m.points} of {m.out_of}  {m.status}{more}")
        lines += [f"  {name:{width}s}  - of {n}  for a person to mark" for name, n in self.manual.items()]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join([*lines, f"  seed {self.seed}; confined by {self.confinement or 'nothing: it did not start'}"])


def code_of(path: Path) -> tuple[list[str], str | None]:
    """The code cells of a notebook that are the student's to run (no checks, no figures), and the homework that it names.

    Raises:
        ValueError: not a notebook.
    """
    if path.stat().st_size > MESSAGE:
        raise ValueError(f"{path} has more than {MESSAGE >> 20} MiB; clear its outputs")
    try:
        book = json.loads(path.read_bytes())
        cells = [c for c in book["cells"] if c["cell_type"] == "code"]
        code = []
        for c in cells:
            tags = c.get("metadata", {}).get("tags", [])
            if not {"check", "figure"} & set(tags):
                code.append("".join(c["source"]))
        text = "\n".join("".join(c["source"]) for c in cells)
        named = book.get("metadata", {}).get("ebmlearn", {}).get("lesson")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a notebook ({type(error).__name__}); save it again in Jupyter") from None
    if named not in HOMEWORKS:
        found = re.search(r"from ebmlearn\.checks import (\w+) as q", text)
        named = found.group(1) if found and found.group(1) in HOMEWORKS else None
    return code, named


def grade_cells(cells: Sequence[str], work: Homework, *, limits: Limits, seed: int, notebook: str = "") -> Report:
    """Mark the code of a submission; whatever it does, a report comes back.

    A problem at which the process is stopped gets no points; the next problem begins with a new process.
    """
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: int(torch.randint(2**31, (1,), generator=generator))
    marks: list[Mark] = []
    notes: list[str] = []
    confinement = ""
    todo = list(work.problems.values())
    seeds = {p.name: draw() for p in todo}
    while todo:
        try:
            with Submission(cells, limits=limits, seed=draw()) as submission:
                confinement = submission.confinement
                if not notes:
                    notes = [f"{_cell(cells, i)} raised {plain(e)}" for i, e in _pairs(submission.errors)]
                while todo and submission.alive:
                    p = todo.pop(0)
                    submission.clock()
                    functions = tuple(submission.function(name) for name in (p.name, *p.beside))
                    outcome = p.check(functions if p.beside else functions[0], seed=seeds[p.name])
                    marks.append(Mark(p.name, p.points if outcome else 0, p.points, outcome.status, plain(outcome.message)))
        except Stopped as stopped:  # its cells, before any question
            why = f"its cells: {stopped}"
            marks += [Mark(p.name, 0, p.points, "wrong", why) for p in todo]
            todo = []
    code = "\n".join(cells)
    absent = [name for name in work.problems if not re.search(rf"\b{name}\b", code)]
    if absent:
        notes.append(f"nothing is named {', '.join(absent)}: renamed or deleted?")
    return Report(notebook, work.name, seed, tuple(marks), dict(work.manual), tuple(notes), confinement)


def _cell(cells: Sequence[str], i: Any) -> str:
    lines = cells[i].strip().splitlines() if isinstance(i, int) and 0 <= i < len(cells) else []
    return f"the cell that begins with {plain(lines[0], 60)!r}" if lines else "a cell"


def _pairs(errors: Any) -> Iterator[tuple[Any, Any]]:
    for e in errors[:20] if isinstance(errors, list) else []:
        if isinstance(e, list) and len(e) == 2:
            yield e[0], e[1]


def grade(path: Path, *, name: str | None = None, limits: Limits | None = None, seed: int | None = None) -> Report:
    """Grade a notebook.

    Args:
        path: the .ipynb file that was handed in.
        name: of the homework, e.g. "homework_a"; default what the notebook says.
        limits: of time and memory.
        seed: of the questions; default a new one, which the report names.

    Raises:
        ValueError: not a notebook, or nothing says which homework it is.
    """
    cells, named = code_of(path)
    chosen = name or named
    if chosen is None:
        raise ValueError(f"{path} does not say which homework it is; add --homework NAME: {', '.join(HOMEWORKS)}")
    number = secrets.randbelow(2**31) if seed is None else seed
    return grade_cells(cells, homework(chosen), limits=limits or Limits(), seed=number, notebook=str(path))


def notebooks(place: Path) -> list[Path]:
    """The notebook, or every notebook in a folder."""
    if place.is_dir():
        return sorted(p for p in place.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
    return [place]


def table(reports: Sequence[Report], failed: Sequence[str] = ()) -> list[list[str]]:
    """One row a submission: notebook, points of each problem, sum, what it is out of; a header first, what could not be graded last."""
    names = list(dict.fromkeys(f"{r.homework}.{m.name}" for r in reports for m in r.marks))
    rows = [["submission", *names, "points", "out of"]]
    for r in reports:
        got = {f"{r.homework}.{m.name}": str(m.points) for m in r.marks}
        rows.append([r.notebook, *(got.get(n, "") for n in names), str(r.points), str(r.out_of)])
    return rows + [[name, *("" for _ in names), "not graded", ""] for name in failed]


def as_csv(reports: Sequence[Report], failed: Sequence[str] = ()) -> str:
    """`table` as CSV; a name that a spreadsheet would take for a formula gets a quote in front."""
    out = io.StringIO()
    rows = [[f"'{v}" if v[:1] in "=+-@" and v else v for v in row] for row in table(reports, failed)]
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
