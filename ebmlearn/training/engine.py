"""The image engine: Langevin chains through a frozen twin of the network, replayed from a captured CUDA graph where there is a GPU.

Inside the chain the network is fixed, so its spectral norm is divided out once an iteration (`networks.resnet.bake`), its
trunk may run in bfloat16, and one step is a fixed list of kernels. On a CPU, or with `mode="eager"`, the same code runs
the same steps without a graph; `samplers.sample` with `Clamped(Langevin(...))` is the reference it equals.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..functional import EnergyFunction
from ..samplers import Clamped
from .files import write_atomic

MODES = ("auto", "eager", "graph", "compile")


class OutOfMemory(RuntimeError):
    """The device's memory did not suffice; the message says which setting to lower."""


def explain_out_of_memory(error: torch.OutOfMemoryError, *, batch_size: int, buffer_size: int, network: str) -> OutOfMemory:
    """The error that names the settings to lower, largest share of the memory first."""
    return OutOfMemory(
        f"the device ran out of memory at batch_size={batch_size}, network={network!r}, buffer_size={buffer_size}. "
        f"Activations grow with the batch: try --batch-size {max(1, batch_size // 2)}; then --trunk bf16, a smaller --network, "
        f"or a smaller --buffer-size. ({str(error).splitlines()[0][:160]})"
    )


def out_of_memory(error: torch.OutOfMemoryError, *, settings: str, lower: str) -> OutOfMemory:
    """The same for other recipes: the settings at hand, and which of their flags to lower."""
    return OutOfMemory(f"the device ran out of memory at {settings}. Try {lower}. ({str(error).splitlines()[0][:160]})")


def input_gradient(energy: EnergyFunction, x: Tensor) -> Tensor:
    """grad E(x), without looking at any value (no synchronisation)."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        (grad,) = torch.autograd.grad(energy(leaf).sum(), leaf)
    return grad


@dataclass
class ChainRunner:
    """Runs x <- clamp(x - eta grad E(x) + noise N(0, I)) with one gradient a step and no synchronisation.

    Args:
        energy: a callable with frozen parameters that stay in place (a captured graph keeps pointers to them).
        kernel: the clamped Langevin kernel; number-valued step size and noise.
        mode: "eager"; "graph" captures one step as a CUDA graph, once for each batch shape; "compile" compiles the step,
            then captures it; "auto" is "graph" on a GPU and "eager" elsewhere. A step that cannot be captured warns once
            and runs eagerly.
    """

    energy: EnergyFunction
    kernel: Clamped
    mode: str = "auto"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"expected one of {MODES}; got {self.mode!r}")
        step, noise = self.kernel.kernel.step_size, self.kernel.kernel.noise
        if isinstance(step, tuple) or isinstance(noise, tuple):
            raise ValueError("expected numbers for step_size and noise; one step for each entry is for samplers.sample")
        self.step_size = float(step)
        self.noise = (2 * self.step_size) ** 0.5 if noise is None else float(noise)
        self._graphs: dict[tuple[Any, ...], tuple[Any, Tensor, Tensor]] = {}

    def update(self, x: Tensor, noise: Tensor) -> Tensor:
        """One step with given standard normal numbers."""
        grad = input_gradient(self.energy, x)
        return (x - self.step_size * grad + self.noise * noise).clamp(self.kernel.low, self.kernel.high)

    def run(self, x: Tensor, steps: int, *, generator: torch.Generator | None = None) -> Tensor:
        """The positions after `steps` steps, `[*batch, *event]`."""
        x = x.detach().clamp(self.kernel.low, self.kernel.high)
        mode = self.mode
        if mode == "auto":
            mode = "graph" if x.is_cuda else "eager"
        if mode != "eager" and x.is_cuda:
            return self._replay(x, steps, generator, compiled=mode == "compile")
        for _ in range(steps):
            x = self.update(x, torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator))
        return x

    def _replay(self, x: Tensor, steps: int, generator: torch.Generator | None, *, compiled: bool) -> Tensor:
        key = (tuple(x.shape), x.dtype, x.device)
        if key not in self._graphs:
            try:
                self._graphs[key] = self._capture(x, compiled=compiled)
            except RuntimeError as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                self.mode = "graph" if compiled else "eager"  # the next best
                what = "compiled" if compiled else "captured"
                warnings.warn(
                    f"the Langevin step could not be {what}; mode {self.mode!r}: {str(error).splitlines()[0]}", stacklevel=2
                )
                return self.run(x, steps, generator=generator)
        graph, static_x, static_noise = self._graphs[key]
        static_x.copy_(x)
        for _ in range(steps):
            static_noise.normal_(generator=generator)
            graph.replay()
        return static_x.clone()

    def _capture(self, x: Tensor, *, compiled: bool) -> tuple[Any, Tensor, Tensor]:
        static_x, static_noise = x.clone(), torch.zeros_like(x)
        update: Callable[[Tensor, Tensor], Tensor] = self.update
        if compiled:
            update = _compiled_update(self)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                update(static_x, static_noise)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            static_x.copy_(update(static_x, static_noise))
        static_x.copy_(x)
        return graph, static_x, static_noise


def _compiled_update(runner: ChainRunner) -> Callable[[Tensor, Tensor], Tensor]:
    energy = torch.compile(runner.energy, dynamic=False)

    def update(x: Tensor, noise: Tensor) -> Tensor:
        grad = input_gradient(energy, x)
        return (x - runner.step_size * grad + runner.noise * noise).clamp(runner.kernel.low, runner.kernel.high)

    return update


@torch.no_grad()
def ema_update(average: nn.Module, module: nn.Module, decay: float) -> None:
    """average <- decay average + (1 - decay) module for parameters, in one fused call; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), [p.detach() for p in module.parameters()], 1 - decay)
    theirs = list(module.buffers())
    if theirs:
        torch._foreach_copy_(list(average.buffers()), theirs)


def fused_adam(parameters: Sequence[nn.Parameter], *, lr: float, betas: tuple[float, float] = (0.0, 0.999)) -> torch.optim.Adam:
    """Adam in one kernel for all parameters on a GPU; the same numbers as the plain one."""
    return torch.optim.Adam(parameters, lr=lr, betas=betas, fused=parameters[0].is_cuda)


def fused_sgd(parameters: Sequence[nn.Parameter], *, lr: float, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """SGD with momentum and weight decay in one kernel for all parameters on a GPU."""
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=parameters[0].is_cuda)


def prepare_device(device: torch.device) -> None:
    """On a GPU: let cuDNN time its convolutions once for each shape, and keep float32 ones in float32 (no TF32); nothing on a CPU."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = False


def write_png(path: Path, x: Tensor, *, columns: int = 10, scale: int = 1) -> None:
    """A grid of images `[N, 1 or 3, H, W]` in [0, 1] as a PNG file, row by row, without any plotting library.

    Args:
        columns: images in a row.
        scale: every pixel is repeated so many times in both directions.
    """
    n, c, h, w = x.shape
    rows = -(-n // columns)
    grid = torch.ones(rows * columns, c, h + 1, w + 1)
    grid[:n, :, :h, :w] = x.detach().float().cpu().clamp(0, 1)
    picture = grid.reshape(rows, columns, c, h + 1, w + 1).permute(0, 3, 1, 4, 2).reshape(rows * (h + 1), columns * (w + 1), c)
    picture = picture.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    data = (picture * 255).round().to(torch.uint8).numpy()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", data.shape[1], data.shape[0], 8, 0 if c == 1 else 2, 0, 0, 0)
    lines = b"".join(b"\0" + line.tobytes() for line in data)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines, 6)) + chunk(b"IEND", b"")
    write_atomic(path, b"\x89PNG\r\n\x1a\n" + body)
