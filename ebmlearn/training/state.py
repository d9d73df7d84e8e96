"""What every recipe shares: its state, exact checkpoints, EMA, batch order, the divergence guard and the driving loop.

A recipe's state is a dataclass derived from `TrainState`; its fields (modules, optimizers, buffers, generators, the
step) are everything the future of the run depends on, so saving the fields and loading them again is an exact resume.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..samplers.base import NotFinite
from .files import append_row, atomic, drop_rows_after, remove_scratch, scalar_writer, session
from .processes import share

FORMAT = 1  # raised whenever an old checkpoint can no longer be read
Metrics = dict[str, Tensor]


class Diverged(RuntimeError):
    """A run left the finite numbers or its energy bound; the message names the step and the last good checkpoint."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used here: truncated, of another recipe, version or setting."""


def ema_of(module: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of `module`'s parameters, updated by `.update_parameters(module)`."""
    if not 0 <= decay < 1:
        raise ValueError(f"expected 0 <= decay < 1; got {decay}")
    return AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=False)


def bare(module: nn.Module) -> nn.Module:
    """The module inside Fabric's or DDP's wrapper; chains run through it, the loss takes one wrapped forward."""
    inner = getattr(module, "module", None)
    if isinstance(module, AveragedModel) or not isinstance(inner, nn.Module):
        return module  # an average also keeps its model in .module, but its own count must be saved with it
    return bare(inner)


def generator_of(fabric: Any, seed: int) -> torch.Generator:
    """A generator on this process's device; every process draws its own numbers."""
    return torch.Generator(fabric.device).manual_seed(seed + 1000 * (fabric.global_rank + 1))


def gradient_norm(module: nn.Module) -> Tensor:
    """The norm of all gradients of a module's parameters together; nothing waits for the device."""
    return torch.stack(torch._foreach_norm([p.grad for p in module.parameters() if p.grad is not None])).norm()


class BatchStream:
    """Endless shuffled batches of the rows of one or more tensors, with a position that can be saved.

    Every epoch is a fresh permutation from the stream's own generator; a last incomplete batch is dropped.

    Args:
        tensors: rows to draw; all of one length. Batches are tuples in this order.
        batch_size: rows a batch.
        seed: of the stream's own CPU generator.
        rank, world_size: each of `world_size` processes gets its own slice of every global batch of
            `batch_size * world_size` rows, so N processes see what one process with N times the batch sees.
    """

    def __init__(self, *tensors: Tensor, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        lengths = {len(t) for t in tensors}
        if len(lengths) != 1:
            raise ValueError(f"expected tensors of one length; got {[len(t) for t in tensors]}")
        self.tensors = tensors
        self.n = lengths.pop()
        self.batch_size = batch_size
        self.rank, self.world_size = rank, world_size
        if not 0 < batch_size * world_size <= self.n:
            raise ValueError(f"expected 0 < batch size <= {self.n} rows; got {batch_size} x {world_size} processes")
        self.generator = torch.Generator().manual_seed(seed)
        self.order = torch.randperm(self.n, generator=self.generator)
        self.position = 0

    @classmethod
    def of(cls, fabric: Any, *tensors: Tensor, batch_size: int, seed: int = 0) -> BatchStream:
        """This process's share, on its device, of global batches of `batch_size` rows."""
        rows = [t.to(fabric.device) for t in tensors]
        own = share(batch_size, "batch_size")
        return cls(*rows, batch_size=own, seed=seed, rank=fabric.global_rank, world_size=fabric.world_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        while True:
            yield self.next()

    def next(self) -> tuple[Tensor, ...]:
        """The next batch."""
        whole = self.batch_size * self.world_size
        if self.position + whole > self.n:
            self.order = torch.randperm(self.n, generator=self.generator)
            self.position = 0
        first = self.position + self.rank * self.batch_size
        index = self.order[first : first + self.batch_size]
        self.position += whole
        return tuple(t[index.to(t.device, non_blocking=True)] for t in self.tensors)  # no wait for the device

    def state_dict(self) -> dict[str, Any]:
        return {"order": self.order.clone(), "position": self.position, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if len(state["order"]) != self.n:
            raise CheckpointError(f"the checkpoint's batch order is for {len(state['order'])} rows; the data have {self.n}")
        self.order, self.position = state["order"], int(state["position"])
        self.generator.set_state(state["generator"])


@dataclass
class TrainState:
    """Base of every recipe's state. Subclasses add fields; each is saved by what it is.

    Modules, optimizers, schedulers, buffers and batch streams by their `state_dict`, generators by their state,
    tensors and numbers by value; None is skipped.
    """

    step: int = dataclasses.field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        self.sessions: list[dict[str, Any]] = []  # who trained this so far; written beside the fields, not one of them

    def state_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            v = getattr(self, f.name)
            if v is None:
                continue
            if isinstance(v, nn.Module):
                v = bare(v).state_dict()
            elif isinstance(v, torch.Generator):
                v = v.get_state()
            elif hasattr(v, "state_dict"):
                v = v.state_dict()
            out[f.name] = v
        return out

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        names = {f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None}
        if set(state) != names:
            raise CheckpointError(f"expected a checkpoint with the parts {sorted(names)}; got {sorted(state)}")
        for name, saved in state.items():
            v = getattr(self, name)
            try:
                if isinstance(v, nn.Module):
                    bare(v).load_state_dict(saved)
                elif isinstance(v, torch.Generator):
                    v.set_state(saved.cpu())
                elif hasattr(v, "load_state_dict"):
                    v.load_state_dict(saved)
                else:
                    setattr(self, name, saved.to(v.device) if isinstance(v, Tensor) else saved)
            except (RuntimeError, KeyError) as error:
                raise CheckpointError(f"the checkpoint's {name!r} does not fit this model: {error}") from error


def save_atomic(path: Path, payload: Mapping[str, Any]) -> None:
    """Write `payload` with torch.save so that `path` is never half-written: write beside it, fsync, rename."""
    with atomic(path) as file:
        torch.save(dict(payload), file)


def plain(config: Any) -> dict[str, Any]:
    """A configuration dataclass as plain str, int, float, bool, None and tuples of them; anything else is an error."""
    out = dataclasses.asdict(config)

    def check(name: str, v: Any) -> None:
        if isinstance(v, tuple):
            for one in v:
                check(name, one)
        elif isinstance(v, dict):
            for key, one in v.items():
                check(f"{name}.{key}", one)
        elif not (v is None or isinstance(v, (str, int, float, bool))):
            raise ValueError(f"a configuration holds str, int, float, bool or tuples; {name} is {type(v).__name__}")

    for name, v in out.items():
        check(name, v)
    return out


def save_checkpoint(path: Path, *, recipe: str, config: Any, state: TrainState, processes: int = 1) -> None:
    """Write the whole state of a run, atomically, with the sessions that made it and the number of processes it belongs to."""
    payload = {"format": FORMAT, "recipe": recipe, "config": plain(config), "state": state.state_dict()}
    save_atomic(path, {**payload, "processes": processes, "sessions": state.sessions})


def read_checkpoint(path: Path, *, recipe: str | None = None) -> dict[str, Any]:
    """Read a checkpoint of `recipe` (any, when None) with `weights_only=True`; raise a CheckpointError that says what is wrong."""
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:120]
        raise CheckpointError(f"{path} is truncated or not a checkpoint ({type(error).__name__}: {reason})") from error
    if not isinstance(payload, dict) or "format" not in payload:
        raise CheckpointError(f"{path} is not a checkpoint of ebmlearn")
    if payload["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {payload['format']}; this version reads {FORMAT}. Use the version that wrote it"
        )
    if recipe is not None and payload["recipe"] != recipe:
        raise CheckpointError(f"{path} is a checkpoint of the recipe {payload['recipe']!r}; expected {recipe!r}")
    return payload


def check_same_config(saved: Mapping[str, Any], config: Any, override: tuple[str, ...] = ()) -> None:
    """Raise a CheckpointError when a hyperparameter differs from the checkpoint's and is not named in `override`."""
    now = plain(config)
    saved = {**plain(type(config)()), **saved}  # a setting that is younger than the checkpoint was at its default
    unknown = sorted(set(override) - set(now))
    if unknown:
        raise CheckpointError(f"--override names {unknown}, which this recipe does not have; it has {sorted(now)}")
    changed = [k for k in sorted(set(now) | set(saved)) if now.get(k) != saved.get(k) and k not in override]
    if changed:
        rows = "; ".join(f"{k}: {saved.get(k)} in the checkpoint, {now.get(k)} now" for k in changed)
        raise CheckpointError(f"hyperparameters changed since the checkpoint ({rows}). Name them in --override to mean it")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is driven, as opposed to what it trains; none of this changes the numbers.

    Args:
        out: folder for checkpoints (`last.ckpt`), `metrics.csv` and figures.
        resume: continue from `out/last.ckpt`.
        override: names of hyperparameters that may differ from the checkpoint's.
        max_minutes: stop cleanly, with a checkpoint, after this many minutes.
        checkpoint_minutes: time between checkpoints.
        log_every: steps between rows of metrics.csv; the guard looks at the same steps.
        energy_bound: a run whose |energy| passes this has diverged.
        command: what started the run; checkpoints and model cards name it.
        tensorboard: also write the metrics for TensorBoard, into `out/tensorboard`.
    """

    out: Path
    resume: bool = False
    override: tuple[str, ...] = ()
    max_minutes: float | None = None
    checkpoint_minutes: float = 2.0
    log_every: int = 20
    energy_bound: float = 1e6
    command: str = ""
    tensorboard: bool = False


class Guard:
    """Stops a run whose metrics are not finite or whose energies (metrics named `e_...`) pass a bound."""

    def __init__(self, bound: float, checkpoint: Callable[[], str]) -> None:
        self.bound = bound
        self.checkpoint = checkpoint

    def look(self, step: int, metrics: Mapping[str, float]) -> None:
        bad = [k for k, v in metrics.items() if v != v or v in (float("inf"), float("-inf"))]
        far = [k for k, v in metrics.items() if k.startswith("e_") and abs(v) > self.bound]
        if bad or far:
            raise self.diverged(step, f"{', '.join(bad)} not finite" if bad else f"|{', '.join(far)}| > {self.bound:g}")

    def diverged(self, step: int, what: str) -> Diverged:
        """The error for a run that went wrong at `step` because of `what`."""
        return Diverged(
            f"the run diverged at step {step}: {what}. Last good checkpoint: {self.checkpoint()}. "
            "Lower the learning rate or the step size, regularise the energy (energy L2, spectral norm), or take more chain steps"
        )


def make_fabric(*, devices: int = 1, accelerator: str = "cpu", precision: str = "32-true", num_nodes: int = 1) -> Any:
    """Fabric, launched: devices, precision and processes. With more than one device the strategy is DDP.

    Energies have no batch statistics, so DDP's buffers are not broadcast.

    Args:
        accelerator: "cpu", "cuda" or "auto".
        precision: "32-true", "bf16-mixed", ... as Fabric names them.
        num_nodes: machines; start each with torchrun.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy
    except ImportError:  # the same library inside the lightning package
        from lightning.fabric import Fabric  # type: ignore[no-redef]
        from lightning.fabric.strategies import DDPStrategy  # type: ignore[no-redef]
    many = devices * num_nodes > 1
    strategy: Any = DDPStrategy(broadcast_buffers=False) if many else "auto"
    fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=num_nodes, strategy=strategy, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def run(
    fabric: Any,
    state: TrainState,
    steps: Iterator[Metrics],
    *,
    recipe: str,
    config: Any,
    total: int,
    options: RunOptions,
    on_log: Callable[[int, dict[str, float]], None] | None = None,
) -> str:
    """Drive a recipe's generator to `total` steps: log, guard, checkpoint; return why it stopped, "done" or "time".

    A checkpoint is written only after the guard has looked at that very step, so the last one is always good.

    Args:
        state: the state that `steps` works on; call `resume` before.
        steps: the recipe, e.g. `train_cd(...)`; it advances `state.step` by one before each yield.
        recipe, config: written into the checkpoint and compared on resume.
        on_log: called with (step, metrics) at every logged step, on rank zero.

    Raises:
        Diverged: names the step, what went wrong and the last good checkpoint.
    """
    out = Path(options.out)
    path = out / LAST
    last_good = str(path) if path.exists() else "none yet"
    guard = Guard(options.energy_bound, lambda: last_good)
    began = saved = time.monotonic()
    world, rank = fabric.world_size, fabric.global_rank
    alone = world == 1
    now_training = session(fabric.device, processes=world, command=options.command, step=state.step)
    state.sessions = [*state.sessions, now_training]
    board = scalar_writer(out / "tensorboard", state.step) if options.tensorboard and rank == 0 else None

    def save() -> None:
        nonlocal last_good, saved
        now_training.update(last_step=state.step, seconds=round(time.monotonic() - began, 3))
        if not alone:  # the other ranks' parts first: last.ckpt is the commit
            if rank > 0:
                save_checkpoint(rank_path(out, rank, state.step), recipe=recipe, config=config, state=state, processes=world)
            fabric.barrier()
        if rank == 0:
            save_checkpoint(path, recipe=recipe, config=config, state=state, processes=world)
            for old in out.glob("rank*-step*.ckpt"):
                if not old.name.endswith(f"-step{state.step}.ckpt"):
                    old.unlink()
        last_good, saved = f"{path} (step {state.step})", time.monotonic()

    if options.max_minutes is not None and options.max_minutes <= 0:
        raise ValueError(f"expected max_minutes > 0; got {options.max_minutes}")
    while state.step < total:
        try:
            metrics = next(steps)
        except (FloatingPointError, NotFinite) as error:  # between two looks of the guard, in the chains
            raise guard.diverged(state.step + 1, str(error)) from error
        now = time.monotonic()
        logged = state.step % options.log_every == 0 or state.step == total
        out_of_time = options.max_minutes is not None and now - began > 60 * options.max_minutes
        due = now - saved > 60 * options.checkpoint_minutes
        if not alone:  # clocks differ between ranks: rank zero decides, at logged steps only
            out_of_time, due = fabric.broadcast((out_of_time, due)) if logged else (False, False)
        if logged or out_of_time or due:
            row = _numbers(fabric, metrics)
            guard.look(state.step, row)
            for name, value in row.items() if board is not None else ():
                board.add_scalar(name, value, state.step)
            if rank == 0:
                append_row(out / "metrics.csv", {"step": state.step, "seconds": round(now - began, 3), **row})
                if on_log is not None:
                    on_log(state.step, row)
        if due or out_of_time:
            save()
        if out_of_time:
            return "time"
    save()
    return "done"


def _numbers(fabric: Any, metrics: Metrics) -> dict[str, float]:
    """Metrics as numbers, averaged over the processes; all processes call it at the same steps."""
    if fabric.world_size == 1:
        return {k: float(v) for k, v in metrics.items()}
    own = torch.stack([v.detach().double() for v in metrics.values()])
    return dict(zip(metrics, fabric.all_reduce(own, reduce_op="mean").tolist(), strict=True))


LAST = "last.ckpt"


def rank_path(out: Path, rank: int, step: int) -> Path:
    """Where rank `rank` > 0 keeps its part (its buffer and generator) of the checkpoint of `step`."""
    return Path(out) / f"rank{rank}-step{step}.ckpt"


def resume(fabric: Any, state: TrainState, *, recipe: str, config: Any, options: RunOptions) -> bool:
    """Load `out/last.ckpt` into `state` when `options.resume` asks for it; False when there is none to continue from.

    Raises:
        CheckpointError: a checkpoint stands in `out` but `resume` is off; it is truncated, of another recipe or version,
            or a hyperparameter changed that `override` does not name; or another number of processes wrote it.
    """
    out = Path(options.out)
    path = out / LAST
    if fabric.global_rank == 0:
        remove_scratch(out)
    if not options.resume:
        if path.exists():
            raise CheckpointError(f"{path} exists: continue it with --resume, or choose another --out")
        return False
    if not path.exists():
        if fabric.global_rank == 0:  # a run killed before its first checkpoint may have left rows
            drop_rows_after(out / "metrics.csv", state.step)
        return False
    payload = read_checkpoint(path, recipe=recipe)
    check_same_config(payload["config"], config, options.override)
    processes = payload.get("processes", fabric.world_size)
    if processes != fabric.world_size:
        raise CheckpointError(
            f"{path} was written by {processes} processes, each with its own chains and random numbers; "
            f"continue it with as many (--devices, --num-nodes), not {fabric.world_size}"
        )
    if fabric.global_rank > 0:
        payload = read_checkpoint(rank_path(out, fabric.global_rank, int(payload["state"]["step"])), recipe=recipe)
    state.load_state_dict(payload["state"])
    state.sessions = list(payload.get("sessions", []))
    if fabric.global_rank == 0:
        drop_rows_after(out / "metrics.csv", state.step)
    return True
