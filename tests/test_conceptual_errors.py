"""Seventeen ways to be wrong: each is shown in a code cell of one lesson, with a number; docs/errors.md lists them.

`python -m tests.test_conceptual_errors` writes that page.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "errors.md"


class Error(NamedTuple):
    """One error.

    slug: the cell's first line is `# Error: <slug>`.
    sentence: what is wrong, in a sentence.
    lesson: its number.
    prints: a regular expression for the line with the number in the notebook's stored output.
    """

    slug: str
    sentence: str
    lesson: str
    prints: str


ERRORS = (
    Error(
        "Langevin noise of the wrong size",
        "A step of size η needs noise of standard deviation √(2η); √η samples at half the temperature, η at almost none.",
        "04",
        r"noise sqrt\(eta\) +variance \S+, exact 0.5128",
    ),
    Error(
        "Langevin is biased however long it runs",
        "Without an accept-or-reject step the variance on N(0, 1) is 1/(1 - η/2) at the end of time; only a smaller step helps.",
        "04",
        r"eta 1.00: variance \S+ ± \S+, exact 2.000",
    ),
    Error(
        "step and noise scaled together leave the temperature",
        "Dividing the step and the squared noise by β gives a smaller step at the old temperature, not a colder chain.",
        "04",
        r"scale step, noise² by 1/beta +variance \S+, exact 1.002",
    ),
    Error(
        "free energy can lie below the minimum",
        "With an integral over the latent F is neither above min E nor monotone in β; and min E is an energy, argmin E a latent.",
        "09",
        r"beta 1: raw, normalised = \[-1.18\d+, 1.30\d+\]",
    ),
    Error(
        "the contrastive value is no likelihood",
        "Mean energy of data less that of samples has the likelihood's gradient, no more: 0 at the truth, less for a worse model.",
        "07",
        r"theta +surrogate +-log likelihood +gradient of both\n +0.25 +-0.375 +1.737 +-1.500",
    ),
    Error(
        "the average of energies is neither AND nor OR",
        "A sum multiplies densities, a log-sum mixes them; an average takes their geometric mean, an AND at twice the temperature.",
        "10",
        r"variance of AND, average, OR = \[0.5000, 1.0000, 3.2500\]",
    ),
    Error(
        "OR without log Z",
        "The log-sum of two energies weighs the densities by their Z; a constant added to one of them decides the shares.",
        "10",
        "share of the second bump without log Z = 0.0067",
    ),
    Error(
        "NOT by subtraction may have no density",
        "E₁ - a E₂ can fall for ever, so that Z is infinite; precisions subtract, and the result must stay positive.",
        "10",
        r"sd 1.0, 0.6, a = 0.5: precision -0.389, no finite Z",
    ),
    Error(
        "an energy without a wall has no Z",
        "A slope has a finite log Z on every interval and none on the line; double the range and see whether log Z moves.",
        "01",
        r"L = 40: log Z of the slope, with a wall = \[20.69, 3.32\]",
    ),
    Error(
        "short run keeps the wrong mode weights",
        "A few hundred steps find every mode and keep the shares of the start; right shares need crossings.",
        "05",
        r"share on the left 0.6\d+, predicted 0.6\d+, exact 0.799",
    ),
    Error(
        "scores do not know the weights of modes",
        "Inside a mode the gradient is that mode's own; weights .5/.5 and .8/.2 differ in the score by less than anyone can learn.",
        "04",
        r"change of the gradient at -3, weights .5/.5 to .8/.2 = 6.9e-08",
    ),
    Error(
        "the mode is not typical",
        "In d dimensions samples of N(0, I) have energies near d/2 and none comes near the mode, whose energy is 0.",
        "01",
        r"d = 1000: lowest energy of \d+ samples \(the mode has 0\) = 4\d\d.\d+",
    ),
    Error(
        "the mode moves with the variable",
        "Under y = exp(x) a density picks up the stretch: the mode of y is exp(-1), not the exponential of the mode.",
        "01",
        r"mode of y on the grid, exp\(-1\), exp\(mode of x\) = \[0.37, 0.37, 1.00\]",
    ),
    Error(
        "the gradient of log Z with the wrong sign",
        "The gradient of log Z is minus the model's mean of the energy's gradient; with a plus the loss has no minimum at the truth.",
        "07",
        r"k = 1: gradient of the loss, with the wrong sign = \[0.000, 1.000\]",
    ),
    Error(
        "noised scores do not add up to the noised product",
        "The sum of two models' scores at a noise level is the score of another density than the noised product.",
        "10",
        r"s = 5.0: variance used, variance needed = \[13.000, 25.500\]",
    ),
    Error(
        "clipping the gradient changes the target",
        "A clipped gradient belongs to an energy that is linear far out; unadjusted Langevin then samples exponential tails.",
        "04",
        r"clipped, ULA: +variance \S+ Huber's 2.244, the normal's 1",
    ),
    Error(
        "log Z by Monte Carlo is biased low",
        "An average of weights is right on average, its logarithm is too low: with few points that see nothing, by nats.",
        "06",
        r"20 points: .*?mean of log Z +-\S+ ± \S+ \(exact 0.370\)",
    ),
)


def source_of(lesson: str) -> Path:
    (path,) = (ROOT / "lessons" / "source").glob(f"{lesson}_*.py")
    return path


def code_cells(path: Path) -> list[str]:
    """The code cells of a lesson's source, without the line that opens them."""
    cells = re.split(r"^# %%", path.read_text(), flags=re.M)[1:]
    return [body for head, _, body in (cell.partition("\n") for cell in cells) if "[markdown]" not in head]


def marked(cells: list[str], slug: str) -> list[str]:
    """The cells whose first line is the error's."""
    return [cell for cell in cells if cell.startswith(f"# Error: {slug}\n")]


@functools.cache
def notebook(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def stored(error: Error, kind: str) -> nbformat.NotebookNode:
    """The error's cell in the student's notebook (".") or in the solutions."""
    cells = notebook(ROOT / "lessons" / kind / f"{source_of(error.lesson).stem}.ipynb").cells
    (cell,) = (c for c in cells if c.cell_type == "code" and c.source.startswith(f"# Error: {error.slug}\n"))
    return cell


def printed(error: Error, kind: str) -> str:
    """What the cell printed when the notebook was built, as far as the error's pattern goes."""
    text = "".join(out.get("text", "") for out in stored(error, kind).outputs)
    found = re.search(error.prints, text)
    assert found, f"{error.slug}: {error.prints!r} is not in\n{text}"
    return found.group()


def page() -> str:
    lines = [
        "# Seventeen ways to be wrong",
        "",
        "Errors that a course on energies should cure. Each is made on purpose in one cell of a lesson, which begins with",
        "`# Error:` and its name; the number stands in the notebook's stored output. Look for the name in the notebook.",
        "",
        "| error | what is wrong | lesson | the cell prints |",
        "|---|---|---|---|",
    ]
    for e in ERRORS:
        found = " ".join(printed(e, "solutions").split()).replace("|", "\\|")
        lines.append(f"| {e.slug} | {e.sentence} | [{e.lesson}](../lessons/{source_of(e.lesson).stem}.ipynb) | `{found}` |")
    return "\n".join([*lines, "", "Made by `python -m tests.test_conceptual_errors`; a test compares it with the lessons.", ""])


def test_there_are_seventeen():
    assert len(ERRORS) == 17 and len({e.slug for e in ERRORS}) == 17
    for e in ERRORS:
        print(f"{e.lesson}  {e.slug}: {e.sentence}")


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.slug.replace(" ", "-"))
def test_each_error_is_a_cell_of_its_lesson_and_no_other(error):
    where = {
        path.stem[:2]: found
        for path in sorted((ROOT / "lessons" / "source").glob("[0-9]*.py"))
        if (found := marked(code_cells(path), error.slug))
    }
    assert list(where) == [error.lesson], f"{error.slug}: found in {list(where)}, expected in {error.lesson}"
    (cell,) = where[error.lesson]
    assert re.search(r"\b(show|print)\(", cell), f"{error.slug}: the cell prints no number"
    compared = "nbval-check-output" in stored(error, ".").metadata.get("tags", [])
    assert compared or re.search(r"^\s*assert\b", cell, re.M), f"{error.slug}: nothing in the cell is checked"


@pytest.mark.parametrize("kind", [".", "solutions"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.slug.replace(" ", "-"))
def test_the_number_is_in_the_stored_output(error, kind):
    assert any(ch.isdigit() for ch in printed(error, kind))


def test_the_page_lists_them():
    assert PAGE.read_text() == page(), "run python -m tests.test_conceptual_errors"


@pytest.mark.parametrize(
    "cell", ["x = 1\n# Error: a\n", "# Error: ab\nprint(1)\n", "# an error: a\n"], ids=["not first", "another", "no mark"]
)
def test_what_does_not_count_as_marked(cell):
    assert marked([cell], "a") == [] and marked(["# Error: a\nprint(1)\n"], "a") != []


if __name__ == "__main__":
    PAGE.write_text(page())
