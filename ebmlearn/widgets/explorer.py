"""Explorers: a picture that is a pure function of a few controls, redrawn when one of them moves."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import ipywidgets as widgets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDE = {"description_width": "11em"}
LAYOUT = {"width": "30em", "max_width": "100%"}


class Labels(anywidget.AnyWidget):
    """Invisible: gives each slider, list and box beside it the words of its label as its name for a screen reader.

    ipywidgets shows the words next to a slider but does not connect the two.
    """

    _esm = """
    function render({ el }) {
      el.style.display = "none";
      const name = () => el.closest(".ebm-named")?.querySelectorAll(".widget-inline-hbox").forEach((row) => {
        const words = row.querySelector(".widget-label")?.textContent;
        if (words) row.querySelectorAll(".noUi-handle").forEach((e) => e.setAttribute("aria-label", words));
      });
      const watch = new MutationObserver(name);
      const wait = requestAnimationFrame(function look() {
        const box = el.closest(".ebm-named");
        if (!box) return requestAnimationFrame(look);
        watch.observe(box, { childList: true, subtree: true });
        name();
      });
      return () => { watch.disconnect(); cancelAnimationFrame(wait); };
    }
    export default { render };
    """


def slider(
    value: float, low: float, high: float, *, label: str, step: float | None = None, log: bool = False, help: str = ""
) -> widgets.Widget:
    """A labelled slider that answers on release; arrow keys, Page Up / Down, Home and End move it.

    Args:
        value: where it starts; integers for `value`, `low`, `high` and `step` give an integer slider.
        low, high: its ends.
        label: what it is, in words; every control has one.
        step: the smallest move, default 1 or a fiftieth of the range; for `log` in decades, default 0.05.
        log: move along the logarithm.
        help: a longer sentence, shown on hover.

    Example:
        >>> slider(4, 1, 8, label="width").value
        4
        >>> round(slider(0.1, 0.001, 1.0, label="step size", log=True).value, 6)
        0.1
    """
    common: dict[str, Any] = {
        "description": label,
        "tooltip": help or label,
        "continuous_update": False,
        "style": WIDE,
        "layout": LAYOUT,
    }
    if not low <= value <= high:
        raise ValueError(f"expected low <= value <= high for {label!r}; got {low}, {value}, {high}")
    if log:
        ends = {"min": math.log10(low), "max": math.log10(high), "base": 10.0, "step": step or 0.05}
        return widgets.FloatLogSlider(value=value, readout_format=".3g", **ends, **common)
    if all(isinstance(v, int) for v in (value, low, high)) and (step is None or isinstance(step, int)):
        return widgets.IntSlider(value=value, min=low, max=high, step=step or 1, **common)
    return widgets.FloatSlider(value=value, min=low, max=high, step=step or (high - low) / 50, readout_format=".3g", **common)


def choice(
    options: Mapping[str, Any] | list[Any] | tuple[Any, ...], *, label: str, value: Any = None, help: str = ""
) -> widgets.Dropdown:
    """A labelled drop-down list.

    Args:
        options: the values, or name -> value.
        label: what it chooses.
        value: the first choice, default the first option.
        help: a longer sentence, shown on hover.
    """
    pairs = list(options.items()) if isinstance(options, Mapping) else [(str(o), o) for o in options]
    first = pairs[0][1] if value is None else value
    return widgets.Dropdown(options=pairs, value=first, description=label, tooltip=help or label, style=WIDE, layout=LAYOUT)


def switch(value: bool, *, label: str, help: str = "") -> widgets.Checkbox:
    """A labelled check box."""
    return widgets.Checkbox(value=value, description=label, tooltip=help or label, indent=True, style=WIDE, layout=LAYOUT)


def picture(
    draw: Callable[..., str | None], state: Mapping[str, Any], *, figsize: tuple[float, float], panels: int, dpi: int
) -> tuple[bytes, str]:
    """Draw once: the PNG, and the sentence that `draw` returned ("" if none). The pure core of an `Explorer`."""
    figure = Figure(figsize=figsize, dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels)
    text = draw(axes, **state)
    if text is not None and not isinstance(text, str):
        text = None
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor="white")
    return out.getvalue(), text or ""


class Explorer(widgets.VBox):
    """Controls above, a picture below: `draw(ax, **state)` runs again whenever a control moves.

    `draw` is a plain function of the values of the controls, so a lesson calls it once for an ordinary figure and a test
    calls it without a browser. It may return one sentence that says what is seen; that is shown under the picture and is
    the picture's text for a screen reader. An error in `draw` is never hidden: at construction it is raised; when a control
    moves it is shown in place of the sentence, and raised.

    Args:
        draw: called with axes (an array of them when `panels > 1`) and one keyword for each control.
        controls: name -> widget with a `value`: `slider`, `choice`, `switch`.
        figsize: of the picture, in inches.
        panels: axes side by side.
        dpi: dots an inch.

    Example:
        >>> def draw(ax, k):
        ...     ax.plot([0, k])
        ...     return f"A line that ends at {k}."
        >>> explorer = Explorer(draw, {"k": slider(4, 1, 8, label="end")})
        >>> explorer.controls["k"].value = 6
        >>> explorer.state, explorer.text
        ({'k': 6}, 'A line that ends at 6.')
    """

    def __init__(
        self,
        draw: Callable[..., str | None],
        controls: Mapping[str, widgets.Widget],
        *,
        figsize: tuple[float, float] = (6.0, 4.0),
        panels: int = 1,
        dpi: int = 90,
    ) -> None:
        if not controls:
            raise ValueError("expected at least one control; got none. Without one, draw an ordinary figure")
        for name, control in controls.items():
            if not hasattr(control, "value"):
                raise ValueError(f"expected a widget with a value for the control {name!r}; got {type(control).__name__}")
        self.draw = draw
        self.controls = dict(controls)
        self._shape: dict[str, Any] = {"figsize": figsize, "panels": panels, "dpi": dpi}
        self._width = round(figsize[0] * dpi)
        self.text = ""
        self._image = widgets.HTML()
        self._says = widgets.HTML()
        super().__init__([*self.controls.values(), self._image, self._says, Labels()])
        self.add_class("ebm-named")
        self._show(*picture(draw, self.state, **self._shape))
        for control in self.controls.values():
            control.observe(self._moved, names="value")

    @property
    def state(self) -> dict[str, Any]:
        """The values of the controls, name -> value."""
        return {name: control.value for name, control in self.controls.items()}

    def _show(self, png: bytes, text: str) -> None:
        self.text = text
        data = base64.b64encode(png).decode()
        alt = html.escape(text or "picture drawn from the controls above", quote=True)
        self._image.value = f'<img alt="{alt}" style="max-width:100%;width:{self._width}px" src="data:image/png;base64,{data}">'
        self._says.value = f'<p role="status" style="line-height:1.4;max-width:{self._width}px">{html.escape(text)}</p>'

    def _moved(self, change: Any) -> None:
        try:
            self._show(*picture(self.draw, self.state, **self._shape))
        except Exception as error:
            self.text = f"{type(error).__name__}: {error}"
            self._says.value = f'<p role="alert" style="color:var(--jp-error-color1,#d55e00)">{html.escape(self.text)}</p>'
            raise
