"""Graded problems: property checkers that carry points and no solution, and the homeworks that they make up."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from .base import Outcome, Problem, Text, _Watched, is_missing, problems_of

HOMEWORKS = ("homework_a", "homework_b", "homework_c", "capstone")


class GradedProblem(Problem):
    """A problem with points whose solution is not in the package.

    Its properties get the answer as a function of plain data (numbers, tensors, the energies that `ebmlearn.course.wire` knows),
    so that they judge a function of this process and one that answers from another process alike. They draw inputs from
    PyTorch's global generator: a grader that seeds it anew asks new questions.

    Args:
        signature: a function without a body that matters: its name and arguments are those of the answer.
        points: for a right answer; a wrong one gets none.
        statement, hints: as for `Problem`.
        beside: names of other answers that this one is judged against; then it is checked as a tuple, `q.draw.check((draw, energy))`.
    """

    shows = False

    def __init__(
        self,
        signature: Callable[..., Any],
        *,
        points: int,
        statement: str,
        hints: Sequence[str],
        beside: Sequence[str] = (),
    ) -> None:
        if points < 1:
            raise ValueError(f"expected points >= 1; got {points}")
        super().__init__(None, statement=statement, hints=hints, name=signature.__name__)
        self.points = points
        self.beside = tuple(beside)

    def _judge(self, answer: Any, seed: int) -> Outcome:
        if not self.beside or is_missing(answer):
            return super()._judge(answer, seed)
        names = (self.name, *self.beside)
        if not isinstance(answer, tuple) or len(answer) != len(names):
            raise ValueError(f"expected q.{self.name}.check(({', '.join(names)})); got {type(answer).__name__}")
        if any(is_missing(f) for f in answer):
            return Outcome(self.name, "not attempted")
        return super()._judge(tuple(_Watched(f) if callable(f) else f for f in answer), seed)

    def solution(self) -> Text:
        """No solution: this is graded."""
        return Text(f"{self.name} is graded ({self.points} points); its solution is with the instructor")


def graded(
    statement: str, *, points: int, hints: Sequence[str], beside: Sequence[str] = ()
) -> Callable[[Callable[..., Any]], GradedProblem]:
    """Decorator: a signature becomes a `GradedProblem` of the same name.

    Example:
        >>> @graded("Return twice the number.", points=2, hints=["What is x + x?"])
        ... def twice(x): ...
        >>> @twice.property
        ... def doubles(f):
        ...     if f(3.0) != 6.0:
        ...         raise ValueError("not twice")
        >>> twice.points, twice.check(lambda x: x + x), twice.check(lambda x: ...)
        (2, twice: right, twice: not attempted)
    """
    return lambda signature: GradedProblem(signature, points=points, statement=statement, hints=hints, beside=beside)


@dataclass(frozen=True)
class Homework:
    """A homework: its problems in order, and what a person reads and marks.

    Args:
        name: of its checks module and of `ebmlearn grade --homework`.
        title: as the notebook has it.
        problems: by name.
        manual: points of the open questions, by name.
    """

    name: str
    title: str
    problems: Mapping[str, GradedProblem]
    manual: Mapping[str, int] = field(default_factory=dict)

    @property
    def points(self) -> int:
        """What a program can give."""
        return sum(p.points for p in self.problems.values())


def homework(name: str) -> Homework:
    """A homework by name.

    Raises:
        ValueError: no such homework; the message lists them.

    Example:
        >>> homework("homework_a").points >= 20
        True
    """
    if name not in HOMEWORKS:
        raise ValueError(f"unknown homework {name!r}; there are {', '.join(HOMEWORKS)}")
    module: ModuleType = importlib.import_module(f"{__package__}.{name}")
    problems = {k: p for k, p in problems_of(module).items() if isinstance(p, GradedProblem)}
    return Homework(name, module.TITLE, problems, module.MANUAL)
