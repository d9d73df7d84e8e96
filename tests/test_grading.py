"""The grader: what each kind of submission gets, that none of them hangs it, outlives it or writes its own mark."""

import json
import os
import socket
import sys
import time

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ebmlearn import cli
from ebmlearn.checks.base import require_tensor
from ebmlearn.checks.homework import Homework, graded
from ebmlearn.course import processes
from ebmlearn.course.grading import Limits, as_csv, code_of, grade, grade_cells, plain, table
from ebmlearn.course.wire import NotPlain, decode, encode
from ebmlearn.energies import DoubleWell, Gaussian, Mixture, MLPEnergy, Ring

LIMITS = Limits(seconds=4, memory=500)


def doubling(*names):
    """A homework of one-point problems: twice a tensor."""
    problems = {}
    for name in names:
        signature = lambda x: ...
        signature.__name__ = name
        p = graded("Return twice x.", points=1, hints=["x + x"])(signature)

        @p.property
        def doubles(f):
            x = torch.randn(3, dtype=torch.float64)
            if not torch.equal(require_tensor(f(x), (3,)), 2 * x):
                raise ValueError("not twice")

        problems[name] = p
    return Homework("doubling", "Doubling", problems, {"essay": 2})


def messages(report):
    return {m.name: m.message for m in report.marks}


@pytest.fixture(scope="module")
def landlock():
    """Whether this kernel can confine a process; what it is then tested for."""
    report = grade_cells([], doubling("f"), limits=LIMITS, seed=0)
    if not report.confinement.startswith("Landlock") or "signals" not in report.confinement:
        pytest.skip(f"confinement here: {report.confinement}")


def test_empty_and_crashing_cells_and_right_beside_wrong():
    cells = [
        "import torch",
        "1 / 0",
        "def right(x):\n    return 2 * x\ndef listed(x):\n    return [2 * float(v) for v in x]\ndef wrong(x):\n    return x",
        "%matplotlib inline\n!rm -rf .\ndef raises(x):\n    raise KeyError('no')\ndef stub(x):\n    return ...\nvalue = None",
        "raise SystemExit(0)",
        "def todo(x):\n    raise NotImplementedError",
        "def broken(:",
    ]
    names = ("right", "listed", "wrong", "raises", "stub", "value", "todo", "absent")
    report = grade_cells(cells, doubling(*names), limits=LIMITS, seed=1)
    status = {m.name: m.status for m in report.marks}
    assert status == dict.fromkeys(("right", "listed"), "right") | dict.fromkeys(("wrong", "raises"), "wrong") | dict.fromkeys(
        ("stub", "value", "todo", "absent"), "not attempted"
    )
    assert (report.points, report.out_of, report.manual) == (2, 8, {"essay": 2})
    assert "KeyError: 'no'" in messages(report)["raises"]
    firsts = [n.split(" raised ")[0].removeprefix("the cell that begins with ") for n in report.notes[:3]]
    assert firsts == ["'1 / 0'", "'raise SystemExit(0)'", "'def broken(:'"]
    assert report.notes[3:] == ("nothing is named absent: renamed or deleted?",)
    assert "ZeroDivisionError" in report.notes[0] and "SystemExit" in report.notes[1] and "SyntaxError" in report.notes[2]
    assert "right" in str(report) and "2 of 8 points" in str(report) and "essay" in str(report)
    again = grade_cells([], doubling("f"), limits=LIMITS, seed=1)
    assert again.points == 0 and again.marks[0].status == "not attempted" and len(again.notes) == 1


ODD = """
import torch, sys, os, json
import ebmlearn.checks.base as base, ebmlearn.course.wire as wire
base.require = base.require_close = lambda *a, **k: None
base.Problem.check = lambda self, *a, **k: base.Outcome(self.name, "right")
torch.equal = torch.allclose = lambda *a, **k: True
print(json.dumps({"points": 100}))
def patched(x): return x
def nan(x): return x * float("nan")
def huge(x): return torch.zeros(3_000_000)
def deep(x):
    a = []
    for _ in range(200): a = [a]
    return a
def circular(x):
    a = []; a.append(a); return a
class Equal:
    def __eq__(self, other): return True
    def __reduce__(self): return (os.system, ("touch /tmp/never",))
def everything_equals(x): return Equal()
def text(x): return "2 * x, I promise \\x1b[2J"
def number(x): return 10**400
def leaves(x): sys.exit("done, full marks")
def escape(x): raise ValueError("\\x1b[31mall right\\n" * 500)
def right(x): return 2 * x
"""


def test_answers_that_are_no_answers_and_patches_of_the_child_change_nothing():
    names = ("patched", "nan", "huge", "deep", "circular", "everything_equals", "text", "number", "leaves", "escape", "right")
    report = grade_cells([ODD], doubling(*names), limits=LIMITS, seed=2)
    said = messages(report)
    assert report.notes == () and [m.name for m in report.marks if m.points] == ["right"]
    for name, words in {
        "patched": "not twice",
        "nan": "not finite",
        "huge": "tensor of 3000000 numbers",
        "deep": "lists inside lists",
        "circular": "RecursionError",
        "everything_equals": "a Equal",
        "text": "a str",
        "leaves": "SystemExit",
        "escape": "ValueError",
    }.items():
        assert words in said[name], said
    assert all(c.isprintable() for m in said.values() for c in m) and max(map(len, said.values())) <= 240


FATAL = """
import torch, os, sys, time, signal
def endless(x):
    while True: pass
def stops_itself(x): os.kill(os.getpid(), signal.SIGSTOP)
def memory(x):
    kept = []
    while True:
        kept.append(torch.ones(2_000_000)); time.sleep(0.005)
def memory_of_a_child(x):
    if os.fork() == 0: memory(x)
    time.sleep(100)
def exits(x): os._exit(0)
def fakes_the_protocol(x):
    for fd in range(3, 30):
        try: os.write(fd, b'{"id": 4, "value": {"tensor": [0, 0, 0], "shape": [3], "dtype": "float64"}}\\n')
        except OSError: pass
    return x
def floods_the_protocol(x):
    fd = int(sys.argv[2])
    while True: os.write(fd, b" " * 65536)
def not_json(x):
    os.write(int(sys.argv[2]), b"[" * 100_000 + b"\\n"); time.sleep(100)
def closes_the_pipe(x): os.closerange(3, 1000); time.sleep(100)
def forks(x):
    for _ in range(60):
        if os.fork() == 0: time.sleep(100)
    time.sleep(100)
def outlives(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv("/bin/sleep", ["outliving-the-grader", "1000"])
        os._exit(0)
    return 2 * x
"""


def survivors():
    return [p for p in processes.parents() if b"outliving-the-grader" in _command(p)]


def _command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


@pytest.mark.slow
@pytest.mark.skipif(not processes.LINUX, reason="processes that leave their group are found on Linux only")
def test_what_kills_the_process_costs_that_problem_only_and_nothing_is_left():
    expected = {
        "endless": "more than 4 s of CPU time",
        "stops_itself": "took more than 20 s",
        "memory": "more than 500 MiB",
        "memory_of_a_child": "more than 500 MiB",
        "exits": "ended before it answered",
        "fakes_the_protocol": "something else than an answer",
        "floods_the_protocol": "more than 32 MiB",
        "not_json": "something else than an answer",
        "closes_the_pipe": "ended before it answered",
        "forks": "more than 32 processes",
        "outlives": "",
    }
    before = processes.children_of_mine()
    began = time.monotonic()
    report = grade_cells([FATAL], doubling(*expected), limits=LIMITS, seed=3)
    assert time.monotonic() - began < 1000  # it ends
    said = messages(report)
    for name, words in expected.items():
        assert words in said[name], (name, said[name])
    assert report.points == 1 and report.marks[-1].status == "right"
    assert survivors() == [] and processes.children_of_mine() == before


def test_cells_that_never_end_get_nothing():
    cells = ["def f(x):\n    return 2 * x", "import time\nwhile True:\n    time.sleep(0.01)"]
    report = grade_cells(cells, doubling("f", "g"), limits=Limits(seconds=1, memory=500), seed=0)
    assert report.points == 0 and all("its cells: it took more than 5 s" in m.message for m in report.marks)


OUTWARD = """
import os, signal, socket, ctypes
def kills_the_grader(x): os.kill(os.getppid(), signal.SIGKILL); return 2 * x
def deletes(x): os.unlink({file!r}); return 2 * x
def overwrites(x): open({file!r}, "w").write("full marks"); return 2 * x
def reads(x): open({file!r}).read(); return 2 * x
def connects(x): socket.create_connection(("127.0.0.1", {port}), timeout=2); return 2 * x
def works_at_home(x):
    open("notes.txt", "w").write("mine"); os.mkdir("a"); os.rename("notes.txt", "a/b")
    assert open("a/b").read() == "mine" and "SECRET_OF_THE_GRADER" not in os.environ
    return 2 * x
"""


def test_a_submission_cannot_reach_out(landlock, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_GRADER", "1")
    file = tmp_path / "marks.json"
    file.write_text("0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = OUTWARD.format(file=str(file), port=server.getsockname()[1])
        names = ("kills_the_grader", "deletes", "overwrites", "reads", "connects", "works_at_home")
        report = grade_cells([code], doubling(*names), limits=LIMITS, seed=4)
    assert file.read_text() == "0"
    assert [m.name for m in report.marks if m.points] == ["works_at_home"], str(report)
    assert all("PermissionError" in m.message for m in report.marks if not m.points), str(report)


def write(path, *sources, lesson=None):
    nb = new_notebook(cells=[new_markdown_cell("# Homework"), *map(new_code_cell, sources)])
    for cell in nb.cells[1:]:
        if "q." in cell.source:
            cell.metadata["tags"] = ["check"]
    if lesson:
        nb.metadata["ebmlearn"] = {"lesson": lesson}
    nbformat.write(nb, path)
    return path


GRADIENT = """
import torch
def nll_gradient(theta, statistics, p_data):
    return {sign}(torch.softmax(statistics @ theta, dim=0) - p_data) @ statistics
"""


def test_a_folder_of_notebooks_as_table_csv_and_json(tmp_path, capsys):
    folder = tmp_path / "handed in"
    folder.mkdir()
    write(folder / "=ann.ipynb", GRADIENT.format(sign=""), "print(q.nll_gradient.check(nll_gradient))", lesson="homework_b")
    write(folder / "bob.ipynb", "from ebmlearn.checks import homework_b as q\n" + GRADIENT.format(sign="-"))
    (folder / "eve.ipynb").write_text('{"cells": [{"cell_type": "code"}]}')
    write(folder / "joe.ipynb", "x = 1")
    out, sheet = tmp_path / "r.json", tmp_path / "r.csv"
    code = cli.main(["grade", str(folder), "--json", str(out), "--csv", str(sheet), "--seed", "5", "--timeout", "60"])
    said = capsys.readouterr().out
    assert code == 1, "two could not be graded"
    assert "eve.ipynb is not a notebook" in said and "joe.ipynb does not say which homework it is" in said
    reports = json.loads(out.read_text())
    assert ["error" in r for r in reports] == [False, False, True, True] and "not a notebook" in reports[2]["error"]
    reports = reports[:2]
    assert [r["points"] for r in reports] == [4, 0] and [r["out_of"] for r in reports] == [30, 30]
    assert [r["seed"] for r in reports] == [5, 5]
    bob = {m["name"]: m for m in reports[1]["marks"]}
    assert "sign" in bob["nll_gradient"]["message"] and bob["fit"]["status"] == "not attempted"
    rows = [line.split(",") for line in sheet.read_text().splitlines()]
    assert rows[0][:2] == ["submission", "homework_b.nll_gradient"] and rows[0][-2:] == ["points", "out of"]
    assert [row[-2] for row in rows[1:]] == ["4", "0", "not graded", "not graded"] and "points" in said
    assert [row[0].split("/")[-1] for row in rows[3:]] == ["eve.ipynb", "joe.ipynb"] and len({len(row) for row in rows}) == 1
    assert "nothing is named cd_direction, fit" in reports[0]["notes"][-1]


def test_bad_input_is_one_line(tmp_path, capsys):
    assert cli.main(["grade", str(write(tmp_path / "x.ipynb", "x = 1"))]) == 2
    assert "add --homework NAME" in capsys.readouterr().err
    assert cli.main(["grade", str(write(tmp_path / "x.ipynb", "x = 1")), "--homework", "homework_z"]) == 2
    assert "unknown homework 'homework_z'; there are homework_a" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert cli.main(["grade", str(empty)]) == 2 and "no notebook in" in capsys.readouterr().err
    with pytest.raises(ValueError, match="memory >= 256"):
        Limits(memory=10)
    with pytest.raises(ValueError, match="not a notebook"):
        grade(write_text(tmp_path / "deep.ipynb", "[" * 200_000))


def write_text(path, text):
    path.write_text(text)
    return path


def test_checks_and_figures_are_not_run_and_the_homework_is_found(tmp_path):
    path = write(tmp_path / "a.ipynb", "from ebmlearn.checks import homework_a as q", "print(q.x.check(x))", "y = 1")
    assert code_of(path) == (["from ebmlearn.checks import homework_a as q", "y = 1"], "homework_a")
    assert code_of(write(tmp_path / "b.ipynb", "y = 1", lesson="capstone"))[1] == "capstone"
    assert code_of(write(tmp_path / "c.ipynb", "y = 1", lesson="04_langevin"))[1] is None


def test_a_name_that_looks_like_a_formula_is_text_in_the_csv():
    report = grade_like("=HYPERLINK(1)")
    assert as_csv([report]).splitlines()[1].startswith("'=HYPERLINK(1)") and table([report])[1][0] == "=HYPERLINK(1)"
    assert plain("a\x1b[2J\nb") == "a [2J b"


def grade_like(name):
    from ebmlearn.course.grading import Mark, Report

    return Report(name, "doubling", 0, (Mark("f", 1, 1, "right"),))


@pytest.mark.parametrize(
    "value",
    [1, -2.5, True, None, "a", [1, [2.0]], (1, (2, "b")), float("inf"), torch.randn(2, 3), torch.zeros(0, 2), torch.arange(3)],
)
def test_plain_data_come_back_as_they_were(value):
    back = decode(json.loads(json.dumps(encode(value))))
    if isinstance(value, torch.Tensor):
        assert back.dtype == value.dtype and torch.equal(back, value)
    else:
        assert back == value and type(back) is type(value)


def test_energies_come_back_as_functions():
    bowl = Gaussian(torch.randn(2, dtype=torch.float64), torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=torch.float64))
    x = torch.randn(5, 2, dtype=torch.float64)
    for energy in (
        bowl,
        DoubleWell(2, height=3.0),
        Ring(radius=1.5),
        2 * bowl - DoubleWell(2),
        Mixture([bowl, Ring()], [0.1, 2.0]),
    ):
        message = json.loads(json.dumps(encode(energy)))
        torch.testing.assert_close(decode(message, energies=True)(x), energy(x))
        with pytest.raises(NotPlain):
            decode(message)  # the side that judges makes none
    with pytest.raises(NotPlain, match="MLPEnergy"):
        decode(encode(MLPEnergy(2)))


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"tensor": [1], "shape": [2], "dtype": "float64"},
        {"tensor": [1, 2], "shape": [-1, -2], "dtype": "float64"},
        {"tensor": ["1"], "shape": [1], "dtype": "float64"},
        {"tensor": [1], "shape": [1], "dtype": "object"},
        {"tensor": [[1]], "shape": [1], "dtype": "float64"},
        {"tensor": [10**400], "shape": [1], "dtype": "float64"},
        {"tensor": [2**70], "shape": [1], "dtype": "int64"},
        {"tensor": 3, "shape": [], "dtype": "float64"},
        {"tuple": 3},
        {"energy": "Gaussian", "arguments": {}},
    ],
)
def test_malformed_messages_are_refused(message):
    with pytest.raises(NotPlain):
        decode(message)


def test_the_memory_of_a_process_counts_what_it_allocates():
    before = processes.memory_of({os.getpid()})
    kept = torch.ones(25_000_000)  # 95 MiB
    assert 80 < processes.memory_of({os.getpid()}) - before < 120 or not sys.platform.startswith("linux")
    del kept
