"""Property checkers: a problem looks at what a learner wrote and answers right, wrong (with a symptom) or not attempted."""

from __future__ import annotations

import contextlib
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Answer = Any  # what a learner hands in: a function, an energy, a number, a tensor
Status = Literal["right", "wrong", "not attempted"]
LISTENERS: list[Callable[[Problem, Outcome], None]] = []  # told of every outcome; what a listener raises is dropped


class Wrong(Exception):
    """A property does not hold; the message names the symptom, not the cure."""


class NotAttempted(Exception):
    """The exercise still returns `...` or None."""


class Text(str):
    """A string that a notebook shows as plain text, without quotes."""

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class Outcome:
    """What a check found; true when it is right.

    Args:
        problem: name of the problem.
        status: "right", "wrong" or "not attempted".
        message: for "wrong", the symptom.

    Example:
        >>> Outcome("score", "wrong", "the sign is off")
        score: wrong. Symptom: the sign is off
    """

    problem: str
    status: Status
    message: str = ""

    def __bool__(self) -> bool:
        return self.status == "right"

    def __repr__(self) -> str:
        return f"{self.problem}: {self.status}" + (f". Symptom: {self.message}" if self.message else "")


def is_missing(answer: Any) -> bool:
    """Whether an answer is a stub's: `...` or None."""
    return answer is None or answer is Ellipsis


class _Watched:
    """The learner's callable; a result of `...` or None ends the check as not attempted. Attributes pass through."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self._f = f

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._f(*args, **kwargs)
        if is_missing(result):
            raise NotAttempted
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._f, name)


def require(holds: bool | Tensor, symptom: str) -> None:
    """End the check as wrong, with `symptom`, unless `holds`."""
    if not bool(holds):
        raise Wrong(symptom)


def require_tensor(a: Any, shape: Sequence[int], what: str = "your result") -> Tensor:
    """`a` as a finite float64 tensor of `shape`, or a wrong outcome that says what came instead.

    Numbers and arrays are accepted where a tensor would be.
    """
    try:
        t = torch.as_tensor(a, dtype=None if isinstance(a, Tensor) else torch.float64).detach().to(torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{what} is a {type(a).__name__}; expected a tensor of shape {tuple(shape)}") from None
    require(tuple(t.shape) == tuple(shape), f"{what} has shape {tuple(t.shape)}; expected {tuple(shape)}")
    require(torch.isfinite(t).all(), f"{what} is not finite everywhere")
    return t


def require_close(a: Any, b: Any, symptom: str, *, atol: float = 1e-4, rtol: float = 1e-4) -> None:
    """End the check as wrong, with `symptom`, unless `a` is within atol + rtol |b| of `b` everywhere."""
    target = torch.as_tensor(b, dtype=torch.float64)
    t = require_tensor(a, target.shape)
    require(torch.allclose(t, target, atol=atol, rtol=rtol), symptom)


class Problem:
    """One exercise: properties that judge an answer, hints that open up step by step, and a solution.

    Made by the decorator `problem`; properties are added by the decorator `.property` and looked at in that order.

    Args:
        reference: a right answer; a function's source is what `.solution()` shows.
        statement: what is asked, in a sentence or two.
        hints: from vague to nearly there.
        name: as the learner types it, `q.<name>`; default the reference's own.
    """

    shows = True  # whether there is a solution to show

    def __init__(self, reference: Any, *, statement: str, hints: Sequence[str], name: str | None = None) -> None:
        if not hints or not statement:
            raise ValueError("expected a statement and at least one hint")
        self.reference = reference
        self.statement = statement
        self.hints = tuple(hints)
        self.name = reference.__name__ if name is None else name
        self.properties: list[Callable[[Any], None]] = []
        self._rung = 0  # the last hint that was given

    def property(self, judge: Callable[[Any], None]) -> Callable[[Any], None]:
        """Decorator: add a function of the learner's answer that calls `require(...)`."""
        self.properties.append(judge)
        return judge

    def check(self, answer: Any, *, seed: int = 0) -> Outcome:
        """Judge an answer. Never raises: an exception of the learner's code is reported as wrong.

        Runs with its own seed, so that the same answer gets the same outcome, and leaves the global one as it was.

        Args:
            seed: of the inputs that the properties draw; a grader takes one that the learner does not know.
        """
        outcome = self._judge(answer, seed)
        for listener in LISTENERS:
            with contextlib.suppress(Exception):  # a full disk is no reason to fail an exercise
                listener(self, outcome)
        return outcome

    def _judge(self, answer: Any, seed: int) -> Outcome:
        if is_missing(answer):
            return Outcome(self.name, "not attempted")
        if not self.properties:
            raise ValueError(f"the problem {self.name} has no properties to check")
        watched = _Watched(answer) if callable(answer) and not isinstance(answer, torch.nn.Module) else answer
        try:
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                torch.manual_seed(seed)
                for judge in self.properties:
                    judge(watched)
        except (NotAttempted, NotImplementedError):
            return Outcome(self.name, "not attempted")
        except Wrong as wrong:
            return Outcome(self.name, "wrong", str(wrong))
        except Exception as error:
            lines = str(error).strip().splitlines()
            return Outcome(self.name, "wrong", f"it raised {type(error).__name__}{': ' + lines[0] if lines else ''}")
        return Outcome(self.name, "right")

    def hint(self, n: int | None = None) -> Text:
        """The next hint, from a nudge to nearly there; after the last one, where the solution is.

        Args:
            n: a certain hint, counted from 1; without it every call climbs one rung.
        """
        last = len(self.hints)
        if n is None:
            if self._rung == last:
                where = (
                    f"q.{self.name}.solution() shows one right answer" if self.shows else "the solution is with the instructor"
                )
                return Text(f"that were all {last} hints; {where}")
            n = self._rung + 1
        if not 1 <= n <= last:
            raise ValueError(f"expected a hint from 1 to {last}; got {n}")
        self._rung = n
        then = f"then there is q.{self.name}.solution()" if self.shows else "the last one"
        more = f"q.{self.name}.hint() says more" if n < last else then
        return Text(f"hint {n} of {last}: {self.hints[n - 1]} ({more})")

    def solution(self) -> Text:
        """One right answer, as source."""
        if not callable(self.reference):
            return Text(repr(self.reference))
        lines = textwrap.dedent(inspect.getsource(self.reference)).rstrip().splitlines()
        first = next((i for i, line in enumerate(lines) if line.startswith(("def ", "class "))), 0)  # without the decorator
        return Text("\n".join(lines[first:]))

    def __repr__(self) -> str:
        return f"{self.name}: {self.statement} Use .check(...), .hint(){', .solution()' if self.shows else ''}"


def problem(statement: str, *, hints: Sequence[str]) -> Callable[[Any], Problem]:
    """Decorator: a reference solution becomes a `Problem` of the same name.

    Example:
        >>> @problem("Return twice the number.", hints=["What is x + x?"])
        ... def twice(x):
        ...     return 2 * x
        >>> @twice.property
        ... def doubles(f):
        ...     require_close(f(3.0), 6.0, "f(3) is not twice 3")
        >>> twice.check(lambda x: x**2), twice.check(lambda x: ...), twice.check(lambda x: x + x)
        (twice: wrong. Symptom: f(3) is not twice 3, twice: not attempted, twice: right)
        >>> twice.hint()
        hint 1 of 1: What is x + x? (then there is q.twice.solution())
    """
    return lambda reference: Problem(reference, statement=statement, hints=hints)


def problems_of(module: Any) -> dict[str, Problem]:
    """The problems of a checks module, by name, in the order in which they stand."""
    return {name: value for name, value in vars(module).items() if isinstance(value, Problem)}
