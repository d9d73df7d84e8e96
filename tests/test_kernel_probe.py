"""What nbval's kernels note about figures, widgets and cost: each rule sees a planted fault and passes what is right."""

import ipywidgets
import pytest
import torch
from matplotlib.figure import Figure

from ebmlearn.samplers import MALA
from ebmlearn.widgets import Explorer, ParticleView, choice, slider, switch
from tools.budgets import OVER, over_budget, read_budgets, write_budgets
from tools.kernel_probe import calibration_loop, examine_widget, figure_problems, look_of, peak_megabytes, probed, records
from tools.run_nbval import judge

X = [0, 1, 2, 3]


def draw(*lines, legend=False, texts=(), vertical=False):
    figure = Figure()
    ax = figure.subplots()
    for style in lines:
        ax.plot(X, X, **style)
    for text in texts:
        ax.text(0, 0, text)
    if legend:
        ax.legend()
    if vertical:
        ax.axvline(1, color="black")
    return figure


def bars(*, legend):
    figure = Figure()
    ax = figure.subplots()
    for label in ("a", "b"):
        ax.errorbar(X, X, yerr=X, fmt="o", capsize=3, label=label)
    if legend:
        ax.legend()
    return figure


@pytest.mark.parametrize(
    "figure, fault",
    [
        (draw({}, {}), "colour alone"),
        (draw({"label": "a"}, {"label": "b"}), "colour alone"),  # labels that are never shown
        (draw({"label": "a"}, {}, legend=True), "colour alone"),
        (draw({"color": "C0"}, {"color": "C1", "ls": "--"}, {"color": "C2"}), "colour alone"),
        (draw({"color": "red"}), "not safe"),
        (draw({"color": "green", "label": "a"}, {"color": "blue", "label": "b"}, legend=True), "not safe"),
        (draw({}), None),
        (draw({"color": "C0"}, {"color": "C0"}), None),  # one colour carries no meaning
        (draw({"label": "a"}, {"label": "b"}, legend=True), None),
        (draw({}, {"ls": "--"}, {"marker": "o"}), None),
        (draw({}, {}, texts=["first", "second"]), None),  # named beside the lines
        (draw({}, vertical=True), None),
        (draw({"label": "_chains"}, {"label": "_chains"}), None),  # a bundle in which no line means anything of its own
        (draw({"label": "_chains"}, {"label": "_chains"}, {}, {}), "colour alone"),
        (bars(legend=True), None),
        (bars(legend=False), "colour alone"),
    ],
)
def test_figures(figure, fault):
    found = figure_problems(figure)
    assert fault in found[0] if fault else not found, found


def test_look_of_a_line():
    a, b = draw({"marker": "None"}, {"ls": "-"}).axes[0].lines
    assert look_of(a) == look_of(b)


def test_an_explorer_is_moved_and_found_pure():
    state = {"k": slider(4, 1, 8, label="height"), "s": choice(["a", "b"], label="sign"), "b": switch(True, label="on")}
    note = examine_widget(Explorer(lambda ax, k, s, b: f"{k} {s} {b}", state, figsize=(2, 2)))
    assert [c["label"] for c in note["controls"]] == ["height", "sign", "on"]
    assert all(c["changed"] and c["throttled"] and c["ms"] >= 0 for c in note["controls"])
    assert note["pure"] is True and state["k"].value == 4, "the value is put back"
    assert judge({"98/student": {"figures": [], "widgets": [{"cell": 1, **note}]}}) == []


def test_an_impure_and_a_raising_explorer_are_seen():
    calls = []

    def impure(ax, k):
        calls.append(k)
        ax.plot([0, len(calls)])
        if k != 4:
            raise ArithmeticError("no picture")

    note = examine_widget(Explorer(impure, {"k": slider(4, 1, 8, label="height")}, figsize=(2, 2)))
    said = judge({"98/student": {"figures": [], "widgets": [{"cell": 1, **note}]}})
    assert any("moving 'height' raises ArithmeticError: no picture" in line for line in said)
    assert any("another picture a second time" in line for line in said)


def test_particles_have_a_stop_button():
    note = examine_widget(
        ParticleView(
            lambda x: (x**2).sum(-1),
            lambda e: MALA(step_size=e),
            torch.zeros(5, 2),
            controls={"e": slider(0.1, 0.0, 1.0, label="step")},
        )
    )
    assert note["loops"] and "Start" in note["buttons"]
    bad = judge({"98/student": {"figures": [], "widgets": [{"cell": 1, **note, "buttons": ["Reset"]}]}})
    assert any("no Stop button" in line for line in bad)


def test_interact_of_ipywidgets_is_moved_too():
    plain = ipywidgets.interactive(lambda n: None, n=ipywidgets.IntSlider(3, 0, 9, description="n", continuous_update=False))
    note = examine_widget(plain)
    assert [c["label"] for c in note["controls"]] == ["n"] and not {"error", "changed"} & set(note["controls"][0])
    assert judge({"98/student": {"figures": [], "widgets": [{"cell": 1, **note}]}}) == []


@pytest.mark.parametrize(
    "change, fault",
    [
        ({"label": " "}, "without a label"),
        ({"throttled": False, "ms": 200}, "redraws in 200 ms"),
        ({"changed": False}, "no control changes"),
    ],
)
def test_controls(change, fault):
    control = {"label": "k", "throttled": True, "ms": 5, "changed": True} | change
    widget = {"cell": 1, "class": "W", "controls": [control], "pure": None, "loops": False, "buttons": []}
    said = judge({"98/student": {"figures": [], "widgets": [widget]}})
    assert len(said) == 1 and fault in said[0]
    assert (
        judge(
            {
                "98/student": {
                    "figures": [],
                    "widgets": [widget | {"controls": [control | {"label": "k", "throttled": True, "changed": True}]}],
                }
            }
        )
        == []
    )


def test_budgets_are_relative_and_can_be_off(tmp_path, monkeypatch):
    monkeypatch.delenv("EBMLEARN_BUDGETS", raising=False)
    file = tmp_path / "budgets.json"
    note = {"cpu_seconds": 6.0, "calibration": [0.1, 0.1], "peak_mb": 400}
    assert over_budget({"98/student": note}, file) == [], "no budget yet"
    write_budgets({"98/student": note}, file)
    write_budgets({"97/student": note}, file)
    assert read_budgets(file)["98/student"] == {"loops": 60, "cpu_seconds": 6.0, "peak_mb": 400} and len(read_budgets(file)) == 2
    slow_machine = {"cpu_seconds": 24.0, "calibration": [0.4, 0.4], "peak_mb": 400}
    assert over_budget({"98/student": slow_machine}, file) == []
    slow_lesson = note | {"cpu_seconds": 9.5}
    (line,) = over_budget({"98/student": slow_lesson}, file)
    assert OVER in line and "95 calibration loops" in line
    monkeypatch.setenv("EBMLEARN_BUDGETS", "off")
    assert over_budget({"98/student": slow_lesson}, file) == []


def test_the_kernel_s_environment(tmp_path):
    env = probed(tmp_path, {"98/student": ["1 + 1"]})
    startup = tmp_path / "ipython" / "profile_default" / "startup" / "00_probe.py"
    assert env["IPYTHONDIR"] == str(tmp_path / "ipython") and "start()" in startup.read_text() and records(tmp_path) == []
    names: dict = {}
    exec(startup.read_text(), names)  # no shell here: nothing happens, and no name is left
    assert set(names) == {"__builtins__"}


def test_measures():
    assert calibration_loop() > 0 and peak_megabytes() > 50
