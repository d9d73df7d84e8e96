"""A live view of chains on a two-dimensional energy: many particles, one of them with its path, controls that act at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import torch
import traitlets
from torch import Tensor

from ..functional import EnergyFunction
from ..samplers import Info, Kernel, State, iterate
from ..viz import SEQUENTIAL, Extent, grid_values
from .explorer import Labels, choice

FOLDER = Path(__file__).parent
AHEAD = 8  # frames sent before the browser says that it has drawn them (it says so every fourth); more would queue up
SAY_EVERY = 0.25  # seconds between two changes of the words under a moving picture
PATIENCE = 10.0  # seconds without a drawn frame after which the chain rests (the page was closed or is hidden)


def map_bytes(energy: EnergyFunction, extent: Extent, resolution: int) -> bytes:
    """The map of an energy as RGBA bytes, `[resolution, resolution, 4]`, first row at the top, dark where E is low.

    Colours run from the minimum to the 90 % quantile, at most twelve above it.
    """
    import matplotlib as mpl

    values = grid_values(energy, extent, resolution)[::-1]
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise ValueError("the energy is not finite anywhere in the picture; choose another extent")
    low = float(finite.min())
    high = max(low + 1e-6, min(float(np.quantile(finite, 0.9)), low + 12.0))
    shade = np.clip((np.where(np.isfinite(values), values, high) - low) / (high - low), 0, 1)
    return mpl.colormaps[SEQUENTIAL](shade, bytes=True).tobytes()


class Canvas(anywidget.AnyWidget):
    """The picture in the browser: a map once, then float32 positions a frame; it reports each frame that it has drawn."""

    _esm = FOLDER / "particles.js"
    _css = FOLDER / "particles.css"
    extent = traitlets.List(traitlets.Float()).tag(sync=True)
    resolution = traitlets.Int(150).tag(sync=True)
    background = traitlets.Bytes().tag(sync=True)
    positions = traitlets.Bytes().tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)
    says = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    describes = traitlets.Unicode("").tag(sync=True)


class ParticleView(widgets.VBox):
    """Chains that move over the map of an energy, with Start / Stop, Step and Reset buttons and one control for each setting.

    The chains run in the notebook's kernel, a few steps a frame, between other work; they rest while a cell runs and when
    nobody looks. A chain that leaves the finite numbers stops with the reason under the picture.

    Args:
        energy: maps `[N, 2]` to `[N]`; or name -> energy, which adds a list to choose from.
        kernel: a kernel, or a function of the settings that makes one, e.g.
            `lambda step_size, temperature: Langevin.at_temperature(step_size=step_size, temperature=temperature)`.
        x: starting points, `[N, 2]`; Reset returns there. The first one is drawn with its path.
        controls: setting -> labelled widget with a `value`, see `slider` and `choice`.
        extent: left, right, bottom, top of the picture.
        steps_per_frame: chain steps between two pictures.
        seed: of the chains; Reset starts it again, so the same settings give the same run.
        statistic: words under the picture, from the positions `[N, 2]`; default the share right of zero.

    Example:
        >>> from ebmlearn.samplers import MALA
        >>> view = ParticleView(lambda x: 0.5 * (x**2).sum(-1), MALA(step_size=0.3), torch.zeros(100, 2))
        >>> view.advance()
        >>> view.steps, tuple(view.x.shape)
        (1, (100, 2))
    """

    def __init__(
        self,
        energy: EnergyFunction | Mapping[str, EnergyFunction],
        kernel: Kernel | Callable[..., Kernel],
        x: Tensor,
        *,
        controls: Mapping[str, widgets.Widget] | None = None,
        extent: Extent = (-3.0, 3.0, -3.0, 3.0),
        steps_per_frame: int = 1,
        seed: int = 0,
        statistic: Callable[[Tensor], str] | None = None,
    ) -> None:
        if x.ndim != 2 or x.shape[-1] != 2 or len(x) == 0:
            raise ValueError(f"expected starting points of shape [N, 2]; got {tuple(x.shape)}")
        if steps_per_frame < 1:
            raise ValueError(f"expected steps_per_frame >= 1; got {steps_per_frame}")
        self.controls = dict(controls or {})
        self._energies = dict(energy) if isinstance(energy, Mapping) else {"energy": energy}
        self._chooser = choice(list(self._energies), label="energy") if isinstance(energy, Mapping) else None
        self._kernel = kernel
        self._start = x.detach().clone()
        self._seed = seed
        self._statistic = statistic or (lambda x: f"{(x[:, 0] > 0).float().mean().item():.2f} of them right of 0")
        self.extent = extent
        self.steps_per_frame = steps_per_frame
        self.canvas = Canvas(extent=list(extent))
        self._toggle = widgets.ToggleButton(False, description="Start", tooltip="start or stop the chains (space bar)")
        self._one = widgets.Button(description="One step", tooltip="move every chain by one step")
        self._reset = widgets.Button(description="Reset", tooltip="back to the start, same random numbers")
        self._task: asyncio.Task[None] | None = None
        self._chain: Iterator[tuple[State, Info]] | None = None
        self._drawn = 0
        self._seen = self._said = 0.0
        settings = [*([self._chooser] if self._chooser else []), *self.controls.values()]
        super().__init__([*settings, widgets.HBox([self._toggle, self._one, self._reset]), self.canvas, Labels()])
        self.add_class("ebm-named")
        self._new_energy()
        self.reset()
        self._toggle.observe(self._toggled, names="value")
        self._one.on_click(lambda _: self.advance())
        self._reset.on_click(lambda _: self.reset())
        if self._chooser:
            self._chooser.observe(lambda _: self._new_energy(), names="value")
        for control in self.controls.values():
            control.observe(lambda _: self._restart(), names="value")
        self.canvas.on_msg(self._on_drawn)

    @property
    def state(self) -> dict[str, Any]:
        """The values of the controls, name -> value."""
        return {name: control.value for name, control in self.controls.items()}

    @property
    def energy(self) -> EnergyFunction:
        """The energy that the chains move on."""
        return self._energies[self._chooser.value if self._chooser else "energy"]

    @property
    def kernel(self) -> Kernel:
        """The kernel at the present settings."""
        return self._kernel if hasattr(self._kernel, "step") else self._kernel(**self.state)  # type: ignore[return-value]

    @property
    def running(self) -> bool:
        """Whether the chains move by themselves."""
        return self._task is not None and not self._task.done()

    def reset(self) -> None:
        """Back to the starting points and to the first random number."""
        self.x = self._start.clone()
        self.steps = 0
        self._generator = torch.Generator(self.x.device).manual_seed(self._seed)
        self._restart()
        self.canvas.frame = 0
        self._drawn = 0
        self._show(None)

    def advance(self) -> None:
        """One frame: `steps_per_frame` steps of every chain, and the new picture."""
        try:
            for _ in range(self.steps_per_frame):
                if self._chain is None:
                    self._chain = iterate(self.energy, self.kernel, self.x, generator=self._generator)
                state, info = next(self._chain)
                self.x, self.steps = state.x, self.steps + 1
        except (ValueError, FloatingPointError) as error:
            self._chain = None
            self.canvas.error = f"Stopped after {self.steps} steps: {error}"
            raise
        self._show((state, info))

    async def play(self, frames: int | None = None, *, rate: float = 60.0) -> None:
        """Advance at most `rate` frames a second and never more than two frames ahead of the browser; for ever, or `frames` times."""
        self._seen = time.monotonic()
        count = 0
        while frames is None or count < frames:
            began = time.monotonic()
            if self.canvas.frame - self._drawn <= AHEAD:
                self.advance()
                count += 1
            elif began - self._seen > PATIENCE:
                break
            await asyncio.sleep(max(0.001, 1 / rate - (time.monotonic() - began)))

    def start(self) -> None:
        """What the Start button does; needs a running event loop, which a notebook has."""
        self._toggle.value = True

    def stop(self) -> None:
        """What the Stop button does."""
        self._toggle.value = False

    def _toggled(self, change: Any) -> None:
        self._toggle.description = "Stop" if change["new"] else "Start"
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if change["new"]:
            self._task = asyncio.get_running_loop().create_task(self.play())
            self._task.add_done_callback(lambda task: self.stop() if task is self._task else None)

    def _restart(self) -> None:
        """Forget the chain's cached gradient; the next step begins at the present positions, with the present settings."""
        self._chain = None
        self.canvas.error = ""

    def _new_energy(self) -> None:
        self.canvas.background = map_bytes(self.energy, self.extent, self.canvas.resolution)
        self._restart()

    def _show(self, moved: tuple[State, Info] | None) -> None:
        left, right, bottom, top = self.extent
        positions = self.x.detach().float().cpu()
        u, v = positions[:, 0], positions[:, 1]
        outside = int(((u < left) | (u > right) | (v < bottom) | (v > top)).sum())
        words = [f"Step {self.steps}", f"{len(positions)} chains", self._statistic(self.x)]
        if moved is not None:
            state, info = moved
            if state.energy is not None:
                words.append(f"mean energy {float(state.energy.mean()):.2f}")
            words.append(f"acceptance {float(info.accept_prob.mean()):.2f}")
        if outside:
            words.append(f"{outside} outside the picture")
        text = ", ".join(words) + "."
        now = time.monotonic()
        aloud = not self.running or now - self._said > SAY_EVERY
        with self.canvas.hold_sync():
            self.canvas.positions = positions.numpy().tobytes()
            if aloud:
                self.canvas.says, self._said = text, now
            if not self.running:
                self.canvas.describes = f"Map of the energy, dark where it is low, with a dot for each chain. {text}"
            self.canvas.frame += 1

    def _on_drawn(self, widget: Any, content: Mapping[str, Any], buffers: Any) -> None:
        self._drawn = int(content["drawn"])
        self._seen = time.monotonic()
