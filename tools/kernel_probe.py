"""What a kernel notes about itself while the build or nbval runs a notebook: CPU seconds, memory, how figures and widgets are made.

`probed(folder)` is the environment of a kernel whose start-up file calls `start`; it writes `folder/<process>.json` after every
cell. A fixed loop is timed now and then, so that seconds can be compared between machines and between busy and quiet hours. After
the last cell of a student's notebook every widget is moved from Python. The notebook's own code knows nothing of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KNOWN = "notebooks.json"
EVERY = 8  # cells between two calibrations
RAW = {"#ff0000", "#008000", "#00ff00"}  # the pair that one man in twelve cannot tell apart, at full strength


def probed(folder: Path, notebooks: Mapping[str, Sequence[str]] | None = None) -> dict[str, str]:
    """Environment variables for a kernel that reports to `folder`; without the user's own start-up files.

    Args:
        folder: for start-up files and reports.
        notebooks: name -> sources of the code cells, so that a kernel knows which notebook it runs and when it has ended.
    """
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    # leaves no name behind that a lesson could use by mistake; tools/ is on PYTHONPATH
    (startup / "00_probe.py").write_text("__import__('tools.kernel_probe', fromlist=['start']).start()\n")
    (folder / KNOWN).write_text(json.dumps({name: list(sources) for name, sources in (notebooks or {}).items()}))
    return {"IPYTHONDIR": str(folder / "ipython"), "EBMLEARN_PROBE": str(folder)}


def records(folder: Path) -> list[dict[str, Any]]:
    """What the kernels of a folder have written."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json")) if path.name != KNOWN]


def peak_megabytes() -> float:
    """The largest resident memory of this process so far."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def calibration_loop() -> float:
    """CPU seconds of a fixed piece of work of the kind that lessons do: small tensors, many calls."""
    import torch

    began = time.process_time()
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, 32, generator=generator, dtype=torch.float32) / 6 for n in (256, 32))
    for _ in range(1500):
        x = torch.tanh(x @ w) + 0.1 * x.square().sum(-1, keepdim=True).sqrt().log1p()
    return time.process_time() - began


def look_of(line: Any) -> tuple[Any, ...]:
    """What tells a line from another without its colour."""
    return line.get_linestyle(), line.get_marker() if line.get_marker() not in ("None", None, "") else "", line.get_linewidth()


def _named(ax: Any) -> set[str]:
    """Colours of what a legend of these axes would name: lines, and error bars, whose name is their container's."""
    from matplotlib.colors import to_hex

    lines = [line for line in ax.lines if not line.get_label().startswith("_")]
    for container in ax.containers:
        if not str(container.get_label()).startswith("_"):
            lines += [part for part in container.get_children() if hasattr(part, "get_linestyle") and hasattr(part, "get_xdata")]
    return {to_hex(line.get_color()) for line in lines}


def figure_problems(figure: Any) -> list[str]:
    """Lines that only their colour tells apart, and colours that colour-blind readers confuse.

    Lines that share a label which begins with an underscore, e.g. `label="_chains"`, are told apart on purpose by nothing.
    """
    from matplotlib.colors import to_hex

    bad = []
    for ax in figure.axes:
        lines = [line for line in ax.lines if line.get_visible() and len(line.get_xdata(orig=True)) > 2]
        looks: dict[str, set[tuple[Any, ...]]] = {}
        for line in lines:
            if not line.get_label().startswith("_") or line.get_label().startswith(("_child", "_nolegend_")):
                looks.setdefault(to_hex(line.get_color()), set()).add(look_of(line))
        written = sum(bool(text.get_text().strip()) for text in ax.texts) >= len(looks)
        named = _named(ax) if ax.get_legend() is not None or figure.legends else set()
        alone = [] if written else [colour for colour in looks if colour not in named]
        shared = [c for c in alone if any(looks[c] & looks[d] for d in looks if d != c)]
        if shared:
            bad.append(
                f"lines in {sorted(shared)} differ by colour alone: label them and draw a legend, or give them other styles"
            )
        raw = RAW & {to_hex(line.get_color()) for line in lines}
        if raw:
            bad.append(f"{sorted(raw)} are not safe for colour-blind readers: use the colours of ebmlearn.viz")
    return bad


def _inside(widget: Any) -> list[Any]:
    return [widget, *(w for child in getattr(widget, "children", ()) for w in _inside(child))]


def _other_value(control: Any) -> Any:
    """A value that a control may take and does not have; None if there is none."""
    if hasattr(control, "options"):
        values = [option[1] if isinstance(option, tuple) else option for option in control._options_full]
        return next((v for v in values if v != control.value), None)
    if isinstance(control.value, bool):
        return not control.value
    low, high, base = control.min, control.max, getattr(control, "base", None)
    if base is not None:
        low, high = base**low, base**high
    step = (high - low) / 4
    other = control.value + step if control.value + step <= high else control.value - step
    return round(other) if isinstance(control.value, int) else other


def _seen(parts: list[Any]) -> list[Any]:
    """What the parts of a widget show, controls aside."""
    shown = []
    for part in parts:
        if not any(hasattr(part, name) for name in ("min", "options")):
            shown += [
                str(getattr(part, name))[:200_000]
                for name in ("value", "background", "positions", "outputs")
                if hasattr(part, name)
            ]
    return shown


def examine_widget(widget: Any) -> dict[str, Any]:
    """Move every control of a widget from Python, as a browser would, and note name, throttle, time and effect."""
    parts = _inside(widget)
    controls = [w for w in parts if hasattr(w, "value") and any(hasattr(w, n) for n in ("min", "options")) and not w.disabled]
    controls += [w for w in parts if type(w).__name__ == "Checkbox"]
    found = []
    for control in controls:
        before, value = _seen(parts), control.value
        note: dict[str, Any] = {"label": control.description, "throttled": getattr(control, "continuous_update", False) is False}
        try:
            began = time.perf_counter()
            control.value = _other_value(control)
            note["ms"] = round(1000 * (time.perf_counter() - began))
            later = hasattr(widget, "advance") or any(type(part).__name__ == "Output" for part in parts)
            if not later:  # else it shows at the next step of the chains, or in the page only
                note["changed"] = _seen(parts) != before
        except Exception as error:
            note["error"] = f"{type(error).__name__}: {error}"
        with contextlib.suppress(Exception):
            control.value = value
        found.append(note)
    buttons = [w.description for w in parts if type(w).__name__ in ("Button", "ToggleButton")]
    pure = None
    if hasattr(widget, "draw") and hasattr(widget, "_shape"):
        from ebmlearn.widgets.explorer import picture

        pure = picture(widget.draw, widget.state, **widget._shape) == picture(widget.draw, widget.state, **widget._shape)
    loops = hasattr(widget, "play")
    return {"class": type(widget).__name__, "controls": found, "buttons": buttons, "loops": loops, "pure": pure}


class Probe:
    """The notes of one kernel."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{os.getpid()}.json"
        self.known: dict[str, list[str]] = json.loads((folder / KNOWN).read_text(encoding="utf-8"))
        self.widgets: list[tuple[int, Any]] = []
        self.inputs: list[str] = []
        self.own = 0.0  # CPU seconds that the probe itself used
        self.notes: dict[str, Any] = {"notebook": None, "figures": [], "widgets": [], "calibration": []}

    def before_figures_close(self) -> None:
        """Runs after a cell and before its figures are shown and closed."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        for number in pyplot.get_fignums() if pyplot else ():
            for problem in figure_problems(pyplot.figure(number)):
                self.notes["figures"].append({"cell": len(self.inputs), "problem": problem})

    def after_cell(self, result: Any) -> None:
        """Note the cell; after the last one, move the widgets."""
        began = time.process_time()
        self.inputs.append(result.info.raw_cell.strip())
        if hasattr(result.result, "comm") and hasattr(result.result, "layout"):
            self.widgets.append((len(self.inputs) - 1, result.result))
        ended = next((name for name, sources in self.known.items() if self.inputs == [s.strip() for s in sources]), None)
        if self.known and "torch" in sys.modules and (ended or len(self.inputs) % EVERY == 1):
            self.notes["calibration"].append(round(calibration_loop(), 4))
        self.notes.update(notebook=ended, cpu_seconds=round(began - self.own, 2), peak_mb=round(peak_megabytes()))
        if ended and "student" in ended:
            self.notes["widgets"] = [{"cell": cell, **examine_widget(widget)} for cell, widget in self.widgets]
        scratch = self.path.with_suffix(".part")
        scratch.write_text(json.dumps(self.notes), encoding="utf-8")
        os.replace(scratch, self.path)
        self.own += time.process_time() - began


def start() -> None:
    """Listen to the shell of this kernel, where EBMLEARN_PROBE asks for it."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None and "EBMLEARN_PROBE" in os.environ:
        probe = Probe(Path(os.environ["EBMLEARN_PROBE"]))
        shell.events.register("post_execute", probe.before_figures_close)
        shell.events.register("post_run_cell", probe.after_cell)
