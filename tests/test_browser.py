"""Widgets in a real browser: JupyterLab on a free port, headless Chromium, keys pressed, new pictures and words seen.

Skipped, with the reason, where chromium or playwright is missing. Every notebook in `lessons/` is opened as a learner opens it, run at the
small size up to its last widget, each of its cells tagged `widget` is moved, and its quiz is answered.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.ipynb"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; install the distribution's package `chromium`"),
]

LIBRARY = {
    "explorer": """
from ebmlearn.widgets import Explorer, ParticleView, slider
def draw(ax, k):
    ax.bar([0], [k])
    return f"A bar of height {k}."
Explorer(draw, {"k": slider(4, 1, 8, label="height")}, figsize=(3, 2))
""",
    "particles": """
import torch
from ebmlearn.samplers import Langevin
ParticleView(lambda x: 2 * (x[:, 0] ** 2 - 1) ** 2 + x[:, 1] ** 2 / 2, lambda step_size: Langevin(step_size=step_size),
             torch.randn(1000, 2), controls={"step_size": slider(0.02, 0.001, 0.1, label="step size", log=True)})
""",
    "quiz": """
from ebmlearn.widgets.quiz import Choice, Question, Quiz
Quiz([Question("Is $e^0$ *one*?", (Choice("no", False, "Tempting: $0$."), Choice("yes", True, "Always.")))])
""",
    "plain": """
import ipywidgets
ipywidgets.interactive(lambda n: print(f"{n} squared is {n * n}"), n=ipywidgets.IntSlider(3, 0, 9, description="n"))
""",
}

READY = """() => {
  const panel = window.jupyterapp?.shell.currentWidget, kernel = panel?.sessionContext?.session?.kernel;
  return panel?.content?.widgets?.length && kernel?.connectionStatus === 'connected' && kernel?.status === 'idle'
      && window.jupyterapp.commands.hasCommand('notebook:run-all-cells') }"""
RUN = """() => { window.ran = false;
  window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => { window.ran = true }) }"""
NOT_RUN = """() => window.jupyterapp.shell.currentWidget.content.widgets
  .filter(c => c.model.type === 'code' && c.model.sharedModel.source.trim() && !c.model.executionCount).length"""
COMPLAINTS = """() => [...document.querySelectorAll(
    "[data-mime-type='application/vnd.jupyter.stderr'], [data-mime-type='application/vnd.jupyter.error'], .jp-OutputArea [role=alert]")]
  .map(e => e.textContent.trim()).filter(Boolean)"""
SEEN = """(cell) => {
  const area = cell.querySelector('.jp-OutputArea'), copy = area.cloneNode(true);
  copy.querySelectorAll('.widget-inline-hbox, .widget-toggle-button, .jupyter-button, style, script').forEach(e => e.remove());
  const pictures = [...area.querySelectorAll('img')].map(e => e.src), drawings = [...area.querySelectorAll('canvas')].map(e => e.toDataURL());
  return JSON.stringify([copy.textContent, pictures, drawings, [...area.querySelectorAll('svg')].length]) }"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Copies of the lessons without outputs, so that what is seen is live, and a notebook with one widget of each kind."""
    folder = tmp_path_factory.mktemp("notebooks")
    for path in LESSONS:
        nb = nbformat.read(path, as_version=4)
        last = max(i for i, cell in enumerate(nb.cells) if "widget" in cell.metadata.get("tags", []))
        nb.cells = [  # nbval runs what comes after the last widget; here it would only cost time
            cell
            for i, cell in enumerate(nb.cells)
            if i <= last or cell.cell_type == "markdown" or "quiz-widget" in cell.metadata.get("tags", [])
        ]
        for cell in nb.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(nb, folder / path.name)
    cells = [new_code_cell(source.strip(), metadata={"tags": ["widget"]}) for source in LIBRARY.values()]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "library.ipynb")
    return folder


@pytest.fixture(scope="module")
def lab(folder, tmp_path_factory):
    """The address of a JupyterLab with fresh settings, shut down at the end."""
    home = tmp_path_factory.mktemp("jupyter")
    settings = {
        "@jupyterlab/apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
        "@jupyterlab/notebook-extension/tracker": '{"windowingMode": "none"}',  # all cells are in the page, at their places
    }
    for name, text in settings.items():
        path = home / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "EBMLEARN_SMOKE": "1",
        "EBMLEARN_PROGRESS": "off",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONWARNINGS": "ignore",
    }
    env.pop("MPLBACKEND", None)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"]
    command += [f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"]
    log = open(home / "log.txt", "w+")
    server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None, f"JupyterLab ended: {(home / 'log.txt').read_text()[-2000:]}"
                time.sleep(0.25)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()


class Notebooks:
    """Opens notebooks and runs them; the next one runs while the present one is looked at."""

    def __init__(self, browser, address: str, names: list[str]) -> None:
        self.browser, self.address, self.names = browser, address, names
        self.pages: dict[str, object] = {}
        self.errors: dict[str, list[str]] = {}

    def begin(self, name: str) -> None:
        if name in self.pages:
            return
        page = self.browser.new_page(viewport={"width": 1280, "height": 900})
        self.errors[name] = []
        page.on("pageerror", lambda error: self.errors[name].append(str(error)))
        page.goto(f"{self.address}/lab/tree/{name}?reset", wait_until="domcontentloaded")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
        page.wait_for_function(READY, timeout=90_000)
        page.evaluate(RUN)
        self.pages[name] = page

    def open(self, name: str):
        self.begin(name)
        following = self.names[self.names.index(name) + 1 :][:1] if name in self.names else []
        for later in following:
            self.begin(later)
        page = self.pages[name]
        page.bring_to_front()
        for attempt in range(3):  # a kernel may say that it is idle a moment before it listens
            page.wait_for_function("() => window.ran", timeout=180_000)
            if page.evaluate(NOT_RUN) == 0:
                break
            assert attempt < 2, f"{page.evaluate(NOT_RUN)} cells of {name} did not run; complaints: {page.evaluate(COMPLAINTS)}"
            page.evaluate(RUN)
        return page

    def close(self, name: str) -> None:
        page = self.pages.pop(name)
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        page.close()


@pytest.fixture(scope="module")
def notebooks(lab):
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here; pip install 'ebmlearn[browser]'")
    with playwright.sync_playwright() as pw:
        browser = pw.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield Notebooks(browser, lab, [path.name for path in LESSONS])
        browser.close()


def widget_cells(page, path: Path):
    """The cells tagged `widget`, as they stand in the page."""
    cells = nbformat.read(path, as_version=4).cells
    return [page.locator(".jp-Notebook .jp-Cell").nth(i) for i, c in enumerate(cells) if "widget" in c.metadata.get("tags", [])]


def wait_for_change(cell, before: str, seconds: float = 30.0) -> bool:
    """Whether what the cell shows, controls aside, becomes another picture or other words."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if cell.evaluate(SEEN) != before:
            return True
        time.sleep(0.1)
    return False


def frames(cell) -> int:
    return int(cell.locator("canvas[data-frames]").first.get_attribute("data-frames"))


def frames_per_second(cell, seconds: float = 3.0) -> float:
    """Start the particles with the space bar, count the frames that the browser drew, stop them again."""
    button = cell.locator("button.widget-toggle-button").first
    still, asked = frames(cell), 0.0
    deadline = time.monotonic() + 30
    # a busy kernel may be late to start, miss the key, or pause after its first frames: count when it runs
    while frames(cell) < still + 20 and time.monotonic() < deadline:
        if time.monotonic() - asked > 5 and "mod-active" not in (button.get_attribute("class") or ""):
            button.focus()
            button.press("Space")
            asked = time.monotonic()
        cell.scroll_into_view_if_needed()  # the view rests when nobody looks
        time.sleep(0.2)
    first, began = frames(cell), time.monotonic()
    time.sleep(seconds)
    rate = (frames(cell) - first) / (time.monotonic() - began)
    button.press("Space")
    return rate


def inward(slider) -> str:
    """The arrow key that moves a slider: right, unless it stands at its upper end."""
    at_end = slider.evaluate("e => (e.ariaValueNow ?? e.value) - 0 >= (e.ariaValueMax ?? e.max) - 1e-9")
    return "ArrowLeft" if at_end else "ArrowRight"


def move(cell) -> str:
    """Move a widget by the keyboard alone; return what moved. The first control must change what is seen."""
    cell.locator(".jp-OutputArea-output .jupyter-widgets, .jp-OutputArea-output input").first.wait_for(timeout=30_000)
    cell.scroll_into_view_if_needed()
    if cell.locator("canvas[data-frames]").count():
        rate = frames_per_second(cell, 1.5)
        assert rate > 1, f"the particles stand still: {rate:.1f} frames a second"
        handles = cell.locator(".noUi-handle")
        for i in range(handles.count()):
            handles.nth(i).press(inward(handles.nth(i)))
        return f"particles at {rate:.0f} frames a second, {handles.count()} sliders"
    kinds = {"slider": ".noUi-handle, input[type=range]", "list": "select", "button": "button, input"}
    for kind, selector in kinds.items():
        controls = cell.locator(".jp-OutputArea").locator(selector)
        for i in range(controls.count() if kind == "slider" else min(1, controls.count())):
            before = cell.evaluate(SEEN)
            controls.nth(i).focus()
            key = {"slider": inward(controls.nth(i)), "list": "ArrowDown", "button": "Space"}[kind]
            changed = False
            for _ in range(3 if i == 0 else 1):  # a fine slider of whole numbers needs more than one press
                controls.nth(i).press(key)
                changed = wait_for_change(cell, before, 20.0 if i == 0 else 5.0)
                if changed:
                    break
            assert changed or i > 0, f"the first {kind} moved and nothing else changed"  # a later one may rightly change nothing
        if controls.count():
            return f"{controls.count()} {kind}(s)"
    raise AssertionError("a cell tagged 'widget' shows nothing that can be moved")


def unlabelled(cell) -> list[str]:
    """Controls of a widget beside which no word stands."""
    return cell.evaluate(
        """cell => [...cell.querySelectorAll('.jp-OutputArea .widget-inline-hbox')].filter(row => {
          const control = row.querySelector('.noUi-handle, select, input'), words = row.querySelector('.widget-label, .widget-label-basic');
          return control && !control.disabled && control.offsetParent && !(words?.textContent.trim()) && !control.getAttribute('aria-label') })
        .map(row => row.outerHTML.slice(0, 200))"""
    )


def answer_quiz(page, path: Path) -> None:
    """Press the first button of the lesson's quiz with the space bar and read the word on it."""
    cells = nbformat.read(path, as_version=4).cells
    (i,) = [i for i, c in enumerate(cells) if "quiz-widget" in c.metadata.get("tags", [])]
    cell = page.locator(".jp-Notebook .jp-Cell").nth(i)
    cell.get_by_role("button", name="A", exact=True).first.press("Space")
    cell.get_by_text(re.compile("^(A is right|Not A): ")).first.wait_for(timeout=30_000)


def check_quiet(notebooks, page, name: str) -> None:
    page.wait_for_timeout(500)
    assert page.evaluate(COMPLAINTS) == []
    assert notebooks.errors[name] == []


def keep_picture(page, name: str) -> None:
    """A screenshot in the folder that EBMLEARN_SHOTS names, if it does."""
    if shots := os.environ.get("EBMLEARN_SHOTS"):
        Path(shots).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(shots) / f"{Path(name).stem}.png"))


def contrast(page, selector: str) -> float:
    """WCAG contrast of an element's text against the first opaque background behind it."""
    return page.locator(selector).first.evaluate(
        """e => {
          const rgb = s => s.match(/[\\d.]+/g).map(Number);
          const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((a, v, i) => a + v * [.2126, .7152, .0722][i], 0);
          let behind = e, back = [0, 0, 0, 0];
          while (behind && (back = rgb(getComputedStyle(behind).backgroundColor)).length === 4 && back[3] === 0) behind = behind.parentElement;
          const a = light(rgb(getComputedStyle(e).color)), b = light(back);
          return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) }"""
    )


def test_library_widgets(notebooks, folder, record_property):
    name = "library.ipynb"
    page = notebooks.open(name)
    explorer, particles, quiz, plain = widget_cells(page, folder / name)

    explorer.locator(".noUi-handle").first.press("ArrowRight")
    explorer.get_by_text("A bar of height 5.").wait_for(timeout=30_000)
    assert explorer.locator("img").first.get_attribute("alt") == "A bar of height 5."
    plain.locator(".noUi-handle").first.press("ArrowRight")
    plain.get_by_text("4 squared is 16").wait_for(timeout=30_000)

    quiz.get_by_role("button", name="A", exact=True).press("Space")
    quiz.get_by_text("Not A: Tempting").wait_for(timeout=30_000)
    quiz.get_by_role("button", name="B", exact=True).press("Enter")
    quiz.get_by_text("B is right: Always.").wait_for(timeout=30_000)
    quiz.get_by_text("0 right at the first choice, 1 of 1 answered").wait_for(timeout=10_000)
    assert quiz.locator("mjx-container, .MathJax, math").count(), "formulas of the quiz are not typeset"

    for cell, label in ((explorer, "height"), (particles, "step size")):  # a screen reader hears which slider it is
        cell.get_by_role("slider", name=label).wait_for(timeout=10_000)

    particles.scroll_into_view_if_needed()
    rate = 0.0
    for _ in range(4):  # on a busy machine the view may rest for the whole of a window
        rate = max(rate, frames_per_second(particles))
        if rate > 3:
            break
    record_property("frames_per_second", round(rate, 1))
    print(f"\nparticle view, 1,000 chains: {rate:.1f} frames a second in the browser")
    assert rate > 3  # a floor for a busy machine; a quiet one shows more than 30
    page.wait_for_timeout(300)
    stopped = frames(particles)
    page.wait_for_timeout(300)
    assert frames(particles) == stopped
    handle = particles.locator(".noUi-handle").first
    handle.press("ArrowRight")
    particles.get_by_role("button", name="One step").press("Enter")
    page.wait_for_timeout(500)
    assert frames(particles) == stopped + 1
    particles.get_by_role("button", name="Reset").press("Enter")
    particles.get_by_text("Step 0,").wait_for(timeout=10_000)
    assert "Map of the energy" in particles.get_by_role("img").get_attribute("aria-label")

    assert contrast(page, ".ebm-particles p") > 4.5
    page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    page.wait_for_selector("body[data-jp-theme-light='false']", state="attached", timeout=30_000)
    assert contrast(page, ".ebm-particles p") > 4.5
    assert contrast(page, ".widget-html p") > 4.5
    assert contrast(page, ".widget-htmlmath p") > 4.5
    keep_picture(page, name)
    check_quiet(notebooks, page, name)
    notebooks.close(name)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_widgets(path, notebooks, folder):
    page = notebooks.open(path.name)
    cells = widget_cells(page, folder / path.name)
    assert cells, "a lesson has a cell tagged 'widget'"
    moved = [move(cell) for cell in cells]
    assert [row for cell in cells for row in unlabelled(cell)] == []
    answer_quiz(page, folder / path.name)
    print(f"\n{path.stem}: {'; '.join(moved)}")
    keep_picture(page, path.name)
    check_quiet(notebooks, page, path.name)
    notebooks.close(path.name)
