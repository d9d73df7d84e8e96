"""A quiz with a button for each choice and a word on each: what is right, and which misconception a wrong choice rests on."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import ipywidgets as widgets


@dataclass(frozen=True)
class Choice:
    """One answer to choose.

    Args:
        text: what it says, in Markdown.
        right: whether it is the right one.
        why: why it is right; or why it tempts, and why it is wrong.
    """

    text: str
    right: bool
    why: str


@dataclass(frozen=True)
class Question:
    """What is asked, and two or more choices of which one is right."""

    text: str
    choices: tuple[Choice, ...]

    def __post_init__(self) -> None:
        if len(self.choices) < 2 or sum(c.right for c in self.choices) != 1:
            raise ValueError(f"expected two or more choices, one of them right; got {len(self.choices)} for {self.text[:40]!r}")


def questions_of(markdown: str) -> list[Question]:
    """The questions of a lesson's quiz cell, as the build renders it: lettered choices, folded answers.

    Raises:
        ValueError: no questions, or a choice without a word on it.
    """
    found = []
    for part in re.split(r"^### Question \d+\n", markdown, flags=re.M)[1:]:
        asked, _, answer = part.partition("<details>")
        text, *_ = re.split(r"^- \*\*A\.\*\* ", asked, maxsplit=1, flags=re.M)
        choices = re.findall(r"^- \*\*([A-G])\.\*\* (.*)$", asked, flags=re.M)
        right = dict(re.findall(r"^\*\*([A-G]) is right\.\*\* (.*)$", answer, flags=re.M))
        why = right | dict(re.findall(r"^\*Not ([A-G]):\* (.*)$", answer, flags=re.M))
        if set(why) != {letter for letter, _ in choices}:
            raise ValueError(f"expected a word on every choice; got {sorted(why)} for the question {text.strip()[:40]!r}")
        found.append(Question(text.strip(), tuple(Choice(said, letter in right, why[letter]) for letter, said in choices)))
    if not found:
        raise ValueError("expected '### Question 1' in the quiz; got no question")
    return found


def inline(markdown: str) -> str:
    """Bold, italics and code of a sentence as HTML; formulas between dollars are left to the page.

    Example:
        >>> inline("A *low* energy, `E(x)`: $a*b*c < 1$")
        'A <em>low</em> energy, <code>E(x)</code>: $a*b*c &lt; 1$'
    """
    parts = re.split(r"(\$[^$]+\$|`[^`]+`)", markdown)
    for i, part in enumerate(parts):
        safe = html.escape(part, quote=False)
        if i % 2:
            parts[i] = f"<code>{safe[1:-1]}</code>" if part.startswith("`") else safe
        else:
            parts[i] = re.sub(r"\*(.+?)\*", r"<em>\1</em>", re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", safe))
    return "".join(parts)


class Quiz(widgets.VBox):
    """Questions with one button for each choice; a choice is answered at once, and a wrong one may be followed by another.

    Only the first choice of a question counts. The buttons are reached with Tab and pressed with the space bar.

    Args:
        questions: see `Question`; those of a lesson come from `course.quiz`.

    Example:
        >>> quiz = Quiz([Question("$1 + 1$?", (Choice("3", False, "One too many."), Choice("2", True, "Count.")))])
        >>> quiz.choose(0, 0)
        'Not A: One too many.'
        >>> quiz.choose(0, 1), quiz.score
        ('B is right: Count.', (0, 1))
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        if not questions:
            raise ValueError("expected at least one question; got none")
        self.questions = tuple(questions)
        self._buttons: list[list[widgets.Button]] = []
        self._feedback: list[widgets.HTMLMath] = []
        self._total = widgets.HTML()
        again = widgets.Button(description="Start again", tooltip="forget the answers")
        again.on_click(lambda _: self.reset())
        super().__init__([*(self._row(i) for i in range(len(self.questions))), widgets.HBox([again, self._total])])
        self.reset()

    def _row(self, i: int) -> widgets.VBox:
        question = self.questions[i]
        lines: list[widgets.Widget] = [widgets.HTMLMath(f"<p><strong>{i + 1}.</strong> {inline(question.text)}</p>")]
        buttons = []
        for j, choice in enumerate(question.choices):
            letter = "ABCDEFG"[j]
            button = widgets.Button(tooltip=f"question {i + 1}, answer {letter}", layout={"width": "4.5em", "flex": "0 0 auto"})
            button.on_click(partial(self._pressed, i, j))
            buttons.append(button)
            lines.append(widgets.HBox([button, widgets.HTMLMath(inline(choice.text))], layout={"align_items": "center"}))
        self._buttons.append(buttons)
        self._feedback.append(widgets.HTMLMath())
        return widgets.VBox([*lines, self._feedback[-1]], layout={"max_width": "50em", "margin": "0 0 0.8em 0"})

    def _pressed(self, i: int, j: int, _: widgets.Button) -> None:
        self.choose(i, j)

    def choose(self, question: int, choice: int) -> str:
        """What the button of a choice does, both counted from 0; returns the word on it."""
        chosen = self.questions[question].choices[choice]
        letter = "ABCDEFG"[choice]
        if question not in self._first:
            self._first[question] = chosen.right
        says = f"{letter} is right: {chosen.why}" if chosen.right else f"Not {letter}: {chosen.why}"
        self._buttons[question][choice].description = f"{letter} {'✓' if chosen.right else '✗'}"
        self._feedback[question].value = f'<p role="status" style="line-height:1.4"><em>{inline(says)}</em></p>'
        self._say_total()
        return says

    @property
    def score(self) -> tuple[int, int]:
        """(right at the first choice, questions answered)."""
        return sum(self._first.values()), len(self._first)

    def reset(self) -> None:
        """Forget the answers."""
        self._first: dict[int, bool] = {}
        for buttons, feedback in zip(self._buttons, self._feedback, strict=True):
            for letter, button in zip("ABCDEFG", buttons, strict=False):
                button.description = letter
            feedback.value = ""
        self._say_total()

    def _say_total(self) -> None:
        right, answered = self.score
        self._total.value = (
            f'<p role="status">{right} right at the first choice, {answered} of {len(self.questions)} answered</p>'
        )
