"""Every student and solution notebook runs at smoke size under nbval; the run itself is tested with broken notebooks."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools.build_lessons import ROOT
from tools.run_nbval import guard, main, notebooks, run

NUMBERS = sorted({path.stem[:2] for path in notebooks()})


def test_there_are_lessons_with_both_notebooks():
    found = notebooks()
    assert {"00", "01"} <= set(NUMBERS)
    assert len(found) == 2 * len(NUMBERS) == 2 * len({path.stem for path in found})


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_lesson(number):
    chosen = [path for path in notebooks() if path.stem.startswith(number)]
    problems = run(chosen)
    assert not problems, "\n".join(problems)


def write(path, *, shift=0, empty=False, raises=False, unexecuted=False):
    """A notebook of three compared cells; keywords break the last one."""
    nb = new_notebook()
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb.metadata["ebmlearn"] = {"kind": "solution"}
    for i in range(3):
        last = i == 2
        out = [new_output("stream", name="stdout", text=f"{i} is {i + (shift if last else 0)}\n")]
        cell = new_code_cell(f"print('{i} is {i}')" if not (raises and last) else "1 / 0")
        cell.outputs = [] if empty and last else out
        cell.execution_count = None if unexecuted and last else i + 1
        cell.metadata["tags"] = ["nbval-check-output"]
        nb.cells.append(cell)
    nbformat.write(nb, path)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write(tmp_path_factory.mktemp("nb") / "90_good.ipynb")


def test_nothing_to_run_is_a_failure():
    assert run([]) == ["no notebooks to run"]


def test_a_good_notebook_passes_beside_a_changed_and_a_raising_one(good, tmp_path, capsys):
    assert guard(good) == ([], 3)
    measured = {}
    assert run([good], measured=measured) == []
    (note,) = measured.values()
    assert note["cpu_seconds"] > 0 and note["peak_mb"] > 20 and note["figures"] == note["widgets"] == []
    changed = write(tmp_path / "91_changed.ipynb", shift=5)
    raising = write(tmp_path / "92_raising.ipynb", raises=True)
    assert main([str(good), str(changed), str(raising)]) == 1
    said = capsys.readouterr().err
    assert "'failures': 2" in said and "91_changed" in said and "92_raising" in said


@pytest.mark.parametrize("how, message", [("empty", "has no stored output"), ("unexecuted", "is not executed")])
def test_the_guard_sees_a_notebook_that_checks_nothing(tmp_path, how, message):
    path = write(tmp_path / "93.ipynb", **{how: True})
    assert any(message in line for line in run([path]))


def test_the_guard_wants_compared_cells(good, tmp_path):
    nb = nbformat.read(good, as_version=4)
    for cell in nb.cells:
        cell.metadata.pop("tags")
    nbformat.write(nb, tmp_path / "94.ipynb")
    assert any("fewer than 3 cells" in line for line in run([tmp_path / "94.ipynb"]))
    nb.cells[0].metadata["tags"] = ["nbval-skip"]
    nbformat.write(nb, tmp_path / "94.ipynb")
    assert any("skipped" in line for line in run([tmp_path / "94.ipynb"]))


def test_sanitising_rules_are_regular_expressions():
    import configparser
    import re

    config = configparser.RawConfigParser()
    config.read(ROOT / "tests" / "nbval.cfg")
    rules = [(re.compile(config[s]["regex"]), config[s]["replace"]) for s in config.sections()]
    text = "<A at 0x7f00ff> took 3.2 s on cuda:0 <Figure size 640x480 with 2 Axes> energy 3.25"
    for regex, replace in rules:
        text = regex.sub(replace, text)
    assert text == "<A at ADDRESS> took DURATION on DEVICE FIGURE energy 3.25"
