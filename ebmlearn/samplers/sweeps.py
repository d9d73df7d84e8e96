"""Many sweeps of a Gaussian-Bernoulli RBM, fast: weights prepared once, bfloat16 products, gradients streamed, one CUDA graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ..energies.rbm import GaussianBernoulliRBM
from .gibbs_langevin import GibbsLangevin, MemoryGibbs

Gradients = dict[str, Tensor]


def draw_hidden(a: Tensor, b: Tensor, u: Tensor, scale: float, out: Tensor) -> Tensor:
    """z = [u < sigmoid(scale (a + b))] in the dtype of `out`; a pure function, so that a compiler can fuse it."""
    return (u < torch.sigmoid(scale * (a.to(b.dtype) + b))).to(out.dtype)


def draw_hidden_(a: Tensor, b: Tensor, u: Tensor, scale: float, out: Tensor) -> Tensor:
    """`draw_hidden` without new memory, for the eager path: z goes into `out`, and `a` is overwritten where its dtype is b's."""
    p = a.add_(b) if a.dtype == b.dtype else a + b
    p = p if scale == 1 else p.mul_(scale)
    return torch.lt(u, p.sigmoid_(), out=out)


def move_visible(wz: Tensor, mu: Tensor, x: Tensor, memory: Tensor, noise: Tensor, xi: Tensor) -> Tensor:
    """x' = m + memory (x - m) + noise xi with m = mu + W z."""
    m = wz + mu
    return m + memory * (x - m) + noise * xi


class Fused:
    """A pure elementwise function compiled on its first call; where there is no compiler, one warning, then eager."""

    def __init__(self, fn: Callable[..., Tensor]) -> None:
        self.fn = fn
        self.call: Callable[..., Tensor] | None = None

    def __call__(self, *args: Any) -> Tensor:
        try:
            if self.call is None:
                self.call = torch.compile(self.fn, dynamic=False)
            return self.call(*args)
        except Exception as error:
            if self.call is self.fn or isinstance(error, torch.OutOfMemoryError):
                raise
            warnings.warn(
                f"{self.fn.__name__} could not be compiled, it runs eagerly: {str(error).splitlines()[0][:160]}", stacklevel=2
            )
            self.call = self.fn
            return self.fn(*args)


def _has_wide_products(device: torch.device) -> bool:
    """Whether this PyTorch multiplies bfloat16 matrices into a float32 result."""
    a = torch.ones(16, 16, dtype=torch.bfloat16, device=device)
    try:
        torch.mm(a, a, out_dtype=torch.float32)
    except (RuntimeError, TypeError):
        return False
    return True


class Sweeps:
    """The chains of a training update: k sweeps, and the mean gradient of the free energy over their states.

    The same law as the kernel's own `step`. What is saved: W/s² and the kernel's coefficients are prepared once an update
    and not once a sweep; W z serves the next position and the gradient of log s²; states are never stored; products may be
    in bfloat16 (z is 0 or 1, exact there; x, W and the logits are rounded, parameters and sums stay float32); and on a GPU
    all sweeps of an update are one CUDA graph, with its elementwise parts fused by torch.compile.

    Args:
        rbm: the machine; its parameters may change in place between calls.
        kernel: `GibbsLangevin` or `MemoryGibbs` (memory 0 is Gibbs).
        marginal: replace the draw of z by its mean: Langevin on F when the kernel has one inner step.
        products: "float32" or "bfloat16".
        graph: capture a CUDA graph; None is "on a GPU". What cannot be captured warns once and runs eagerly.
        fuse: compile the elementwise parts; None is "on a GPU".
    """

    def __init__(
        self,
        rbm: GaussianBernoulliRBM,
        kernel: GibbsLangevin | MemoryGibbs,
        *,
        marginal: bool = False,
        products: Literal["float32", "bfloat16"] = "float32",
        graph: bool | None = None,
        fuse: bool | None = None,
    ) -> None:
        if products not in ("float32", "bfloat16"):
            raise ValueError(f"expected products in 'float32' or 'bfloat16'; got {products!r}")
        self.rbm, self.kernel, self.marginal = rbm, kernel, marginal
        self.low = products == "bfloat16"
        on_gpu = rbm.W.is_cuda
        self.wide = self.low and on_gpu and _has_wide_products(rbm.W.device)
        self.graph = on_gpu if graph is None else graph and on_gpu
        fused = on_gpu if fuse is None else fuse
        self._memory: dict[tuple[Any, ...], tuple[Tensor, Tensor, Tensor]] = {}
        self._captured: dict[tuple[Any, ...], tuple[Any, Tensor, tuple[Tensor, Gradients]]] = {}
        self._hidden: Callable[..., Tensor] = Fused(draw_hidden) if fused else draw_hidden_
        self._visible: Callable[..., Tensor] = Fused(move_visible) if fused else move_visible

    def _cast(self, a: Tensor) -> Tensor:
        return a.to(torch.bfloat16) if self.low else a

    def _mm(self, a: Tensor, w: Tensor, *, wide: bool = True) -> Tensor:
        """a @ w; `wide` asks for a float32 result, on a GPU without rounding in between."""
        if self.wide and wide:
            return torch.mm(a, w, out_dtype=torch.float32)
        out = a @ w
        return out.float() if wide and self.low else out

    @torch.no_grad()
    def statistics(self, x: Tensor) -> Gradients:
        """The mean gradient of F_T over `x[N, D]` in W, b, mu, log_var: `rbm.gradients(x)` with this object's products."""
        rbm = self.rbm
        w, inverse, total = self._cast(rbm.W.detach()), (-rbm.log_var).exp(), self._zeros()
        xs = x * inverse
        low = self._cast(xs)
        p = self._probability(self._mm(low, w, wide=False))
        self._add(total, x, xs, low, p, self._mm(self._cast(p), w.T), inverse)
        return {k: v / len(x) for k, v in total.items()}

    def _probability(self, a: Tensor) -> Tensor:
        return torch.sigmoid((a.to(self.rbm.b.dtype) + self.rbm.b) / self.kernel.z_temperature)

    def _zeros(self) -> Gradients:
        return {name: torch.zeros_like(p) for name, p in self.rbm.named_parameters()}

    def _scratch(self, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Memory for z, uniforms and logits, kept between calls (and by a captured graph): fresh pages cost as much as the draws."""
        key = (len(x), x.dtype, w.dtype)
        if key not in self._memory:
            n, h = len(x), self.rbm.n_hidden
            z, a = (torch.empty(n, h, dtype=w.dtype, device=x.device) for _ in range(2))
            self._memory[key] = (z, torch.empty(n, h, dtype=x.dtype, device=x.device), a)
        return self._memory[key]

    def _add(self, total: Gradients, x: Tensor, xs: Tensor, low: Tensor, p: Tensor, wz: Tensor, inverse: Tensor) -> None:
        """Add the sums over the batch of dF/dtheta at x: p = p(z = 1 | x), wz = W z for z drawn or z = p."""
        d = x - self.rbm.mu
        total["W"].sub_(self._mm(low.T, self._cast(p)))
        total["b"].sub_(p.sum(0))
        total["mu"].sub_(d.sum(0) * inverse)
        total["log_var"].add_((xs * wz - 0.5 * d.square() * inverse).sum(0))

    def run(
        self, x: Tensor, sweeps: int, *, burn_in: int | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Gradients]:
        """`sweeps` sweeps from x.

        Args:
            x: starting positions, `[N, D]`.
            burn_in: the gradient is averaged over the states burn_in, ..., sweeps (0 is x itself); None: the last alone.

        Returns:
            The last positions and the mean gradient of F over the states, by parameter name. With a CUDA graph both are
            overwritten by the next call.
        """
        if sweeps < 1:
            raise ValueError(f"expected sweeps >= 1; got {sweeps}")
        first = sweeps if burn_in is None else burn_in
        if not 0 <= first <= sweeps:
            raise ValueError(f"expected 0 <= burn_in <= {sweeps} sweeps; got {burn_in}")
        if not self.graph:
            return self._run(x.detach(), sweeps, first, generator)
        key = (tuple(x.shape), sweeps, first, id(generator))
        if key not in self._captured:
            try:
                self._captured[key] = self._capture(x, sweeps, first, generator)
            except RuntimeError as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                warnings.warn(f"the sweeps could not be captured, they run eagerly: {str(error).splitlines()[0]}", stacklevel=2)
                self.graph = False
                return self._run(x.detach(), sweeps, first, generator)
        captured, start, out = self._captured[key]
        start.copy_(x)
        captured.replay()
        return out

    def positions(self, x: Tensor, sweeps: int, *, generator: torch.Generator | None = None) -> Tensor:
        """The positions after `sweeps` sweeps from x, without any gradient and without a graph."""
        return self._run(x.detach(), sweeps, sweeps + 1, generator)[0]

    @torch.no_grad()
    def _run(self, x: Tensor, sweeps: int, first: int, generator: torch.Generator | None) -> tuple[Tensor, Gradients]:
        rbm, scale = self.rbm, 1 / self.kernel.z_temperature
        w, inverse = self._cast(rbm.W.detach()), (-rbm.log_var).exp()
        memory, noise = self.kernel.coefficients(rbm.variance)
        z, u, logits = self._scratch(x, w)
        xi = torch.empty_like(x)
        total = self._zeros() if first <= sweeps else {}
        for t in range(sweeps + (first <= sweeps)):  # the gradient at the last state takes one more look at it
            xs = x * inverse
            low = self._cast(xs)
            a = torch.mm(low, w, out=logits)  # less b
            collect, last = t >= first, t == sweeps
            p = self._probability(a) if collect or self.marginal else None
            if self.marginal or last:
                wz = self._mm(self._cast(p), w.T)  # type: ignore[arg-type]
            else:
                wz = self._mm(self._hidden(a, rbm.b, u.uniform_(generator=generator), scale, z), w.T)
            if collect:
                self._add(total, x, xs, low, p, wz, inverse)  # type: ignore[arg-type]
            if not last:
                x = self._visible(wz, rbm.mu, x, memory, noise, xi.normal_(generator=generator))
        count = len(x) * max(sweeps - first + 1, 1)
        return x, {k: v / count for k, v in total.items()}

    def _capture(
        self, x: Tensor, sweeps: int, first: int, generator: torch.Generator | None
    ) -> tuple[Any, Tensor, tuple[Tensor, Gradients]]:
        start = x.detach().clone()
        spare = None if generator is None else torch.Generator(x.device)  # warming up must not move the run's own generator
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # compiles, and lets the libraries allocate, before the capture
            for warm in (2, 1):
                self._run(start, warm, min(first, warm), spare)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        if generator is not None:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            out = self._run(start, sweeps, first, generator)
        return graph, start, out
