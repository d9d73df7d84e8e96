"""The command line: `ebmlearn doctor | data | lessons | progress | train | sample | evaluate | export | grade | ablate`. Each command imports only what it needs."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

USAGE = """usage: ebmlearn COMMAND ...

  doctor               is my set-up right: versions, device, widgets, data, fonts
  data [NAME]          the data sets by name, and which of them are here; NAME fetches and verifies one
  lessons [DIR]        copy the lessons to DIR (default ebmlearn-lessons) and open JupyterLab at the first
  progress             exercises passed, time and the next step; kept in one file on this machine
  train RECIPE ...     train a model; ebmlearn train RECIPE --help lists its hyperparameters
  sample ...           draw samples from a checkpoint
  evaluate ...         judge a checkpoint, once or as a run goes on: distances with their floor, detection, a grid
  export ...           slim weights and a model card from a run
  grade NOTEBOOK ...   mark a homework, or a folder of them, with points and a symptom for each problem
  ablate NAME ...      settings x seeds -> one table with means and standard errors

ebmlearn COMMAND --help says more."""


class Problem(Exception):
    """Bad input: printed as one line, exit code 2."""


class Recipe(NamedTuple):
    """Where the parts of a recipe are; everything is imported when it is asked for."""

    module: str  # holds run_<recipe>
    config: str  # "module:Class"
    preset: str  # "module:function", data -> config
    about: str


RECIPES = {
    "cd": Recipe("cd", "cd:CDConfig", "cd:cd_preset", "contrastive divergence: persistent chains, CD-k or short runs"),
    "score": Recipe("score", "score:ScoreConfig", "score:score_preset", "denoising score matching"),
    "nce": Recipe("nce", "nce:NCEConfig", "nce:nce_preset", "noise-contrastive estimation"),
    "rbm": Recipe("rbm", "rbm:RBMConfig", "rbm:rbm_preset", "Gaussian-Bernoulli restricted Boltzmann machine"),
    "clel": Recipe("clel", "clel_model:ClelConfig", "clel_model:clel_preset", "energy guided by a contrastive latent"),
    "gcd": Recipe("gcd", "game:GcdConfig", "game:gcd_preset", "generalised contrastive divergence: energy and diffusion sampler"),
    "htm": Recipe(
        "htm", "htm_model:HTMConfig", "htm_model:htm_preset", "hallucinative topological memory: planning for a context"
    ),
    "planning": Recipe(
        "planning", "planning:PlanningConfig", "planning:planning_preset", "an energy of transitions, for planning"
    ),
}
# name -> where its settings are ("module:function" of `steps`), and what it compares
ABLATIONS = {
    "cd": (
        "cd_report:ablate_cd",
        "where the negatives come from, on eight Gaussians: buffer, data, noise; with and without energy L2",
    ),
    "clel": ("clel_report:clel_settings", "the latent of CLEL on digits: none, SimCLR, BYOL, MAE, supervised, random"),
    "grbm": (
        "rbm_ablation:ablate_rbm",
        "the Gaussian-Bernoulli RBM in the plane and on digits: clipping, variance, temperature, start, sweeps, sampler",
    ),
    "gcd": ("gcd_report:ablate_gcd", "generalised contrastive divergence in the plane"),
}


def _settings(name: str, steps: int | None) -> Any:
    """The settings of an ablation; some need the digits classifier, which stands above `training`."""
    make = _get(ABLATIONS[name][0])
    if name not in ("clel", "grbm"):
        return make(steps=steps)
    from .pretrained import load_pretrained

    if name == "grbm":
        return make(steps=steps, classifier=load_pretrained("digits-classifier"))
    base = _get("clel_model:clel_preset")("digits")
    return make(base if steps is None else replace(base, steps=steps), load_pretrained("digits-classifier"))


def _exists(place: str) -> bool:
    """Whether "module:name" below ebmlearn.training is there; only the module's text is looked at."""
    module, _, name = place.partition(":")
    spec = importlib.util.find_spec(f"ebmlearn.training.{module}")
    if spec is None or spec.origin is None:
        return False
    text = Path(spec.origin).read_text()
    return f"def {name}(" in text or f"class {name}" in text


def recipes() -> dict[str, Recipe]:
    """The recipes of this version."""
    return {name: r for name, r in RECIPES.items() if _exists(f"{r.module}:run_{name}")}


def ablations() -> dict[str, str]:
    """The ablations of this version and what each compares."""
    return {name: about for name, (place, about) in ABLATIONS.items() if _exists(place)}


def _get(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"ebmlearn.training.{module}"), name)


def _parse(target: Any, argv: Sequence[str], *, prog: str, default: Any = None) -> Any:
    import tyro

    extra = {} if default is None else {"default": default}
    return tyro.cli(target, args=list(argv), prog=prog, **extra)


@dataclass
class How:
    """How a run is driven; a run interrupted and resumed equals one that was not. Only precision and processes touch the numbers.

    Args:
        out: folder for checkpoints, metrics.csv and samples.
        max_minutes: stop cleanly, with a checkpoint, after this many minutes.
        resume: continue from the last good checkpoint in --out.
        override: names of hyperparameters that may differ from the checkpoint's.
        checkpoint_minutes: time between checkpoints.
        accelerator: "cpu", "cuda" or "auto".
        devices: processes on this machine, one a device.
        num_nodes: machines; start each with torchrun.
        precision: as Fabric names it, e.g. 32-true or bf16-mixed; default the recipe's own.
        log_every: updates between rows of metrics.csv; default 20, on a GPU 100.
        tensorboard: write the metrics for TensorBoard too.
    """

    out: Path
    max_minutes: float | None = None
    resume: bool = False
    override: tuple[str, ...] = ()
    checkpoint_minutes: float = 2.0
    accelerator: str = "cpu"
    devices: int = 1
    num_nodes: int = 1
    precision: str | None = None
    log_every: int | None = None
    tensorboard: bool = False


# recipes that place bfloat16 themselves: the setting that --precision sets, and its values
OWN_PRECISION: dict[str, tuple[str, dict[str, str]]] = {
    "clel": ("trunk", {"32-true": "float32", "bf16-mixed": "bf16"}),
    "rbm": ("products", {"32-true": "float32", "bf16-mixed": "bfloat16"}),
}


def _precision(name: str, config: Any, precision: str | None) -> tuple[Any, str]:
    """The configuration, and what Fabric is told: a recipe that knows which numbers must stay in float32 is asked first."""
    if name not in OWN_PRECISION or precision is None:
        return config, precision or "32-true"
    setting, values = OWN_PRECISION[name]
    if precision not in values:
        raise Problem(f"ebmlearn train {name} knows the precisions {', '.join(values)}; got {precision!r}")
    return replace(config, **{setting: values[precision]}), "32-true"


def _value_of(argv: Sequence[str], flag: str) -> str | None:
    for i, a in enumerate(argv):
        if a == flag and i + 1 < len(argv):
            return argv[i + 1]
        if a.startswith(flag + "="):
            return a.partition("=")[2]
    return None


def _without(argv: list[str], flag: str) -> tuple[str | None, list[str]]:
    """The value of a flag, and the words without it."""
    for i, a in enumerate(argv):
        if a == flag and i + 1 < len(argv):
            return argv[i + 1], argv[:i] + argv[i + 2 :]
        if a.startswith(flag + "="):
            return a.partition("=")[2], argv[:i] + argv[i + 1 :]
    return None, argv


def _train(argv: list[str]) -> int:
    known = recipes()
    if not argv or argv[0] in ("-h", "--help"):
        print(
            "usage: ebmlearn train RECIPE --data NAME --out DIR [--preset P] [--max-minutes M] [--resume] [--override NAME ...]\n"
        )
        print("\n".join(f"  {name:10s} {r.about}" for name, r in known.items()))
        print(
            "\n--preset NAME starts from other settings where a recipe has them: clel and gcd tiny, small, base, large; rbm tiny,"
        )
        print(
            "small, paper, released, large. A wrong name lists those of the data set. docs/training.md has a command for each case."
        )
        print("ebmlearn train RECIPE --help lists the recipe's hyperparameters; ebmlearn data lists the data.")
        return 0 if argv else 2
    name, rest = argv[0], argv[1:]
    if name not in known:
        raise Problem(f"unknown recipe {name!r}; this version has: {', '.join(known)}")
    import tyro

    recipe = known[name]
    config_class, preset = _get(recipe.config), _get(recipe.preset)
    default = config_class()
    data = _value_of(rest, "--data") or default.data
    variant, rest = _without(rest, "--preset")
    if variant is None:
        default = preset(data)  # the settings to start from depend on the data
    elif len(inspect.signature(preset).parameters) < 2:
        raise Problem(f"ebmlearn train {name} has one set of settings for each data set; leave --preset out")
    else:
        default = preset(data, variant)
    whole = make_dataclass(
        "Train",
        [
            ("how", Annotated[How, tyro.conf.arg(name="")]),
            ("config", Annotated[config_class, tyro.conf.arg(name="")], field(default_factory=lambda: default)),  # type: ignore[valid-type]
        ],
    )
    whole.__doc__ = recipe.about
    args = _parse(whole, rest, prog=f"ebmlearn train {name}")
    from .training.state import RunOptions, make_fabric

    how: How = args.how
    config, precision = _precision(name, args.config, how.precision)
    fabric = make_fabric(devices=how.devices, accelerator=how.accelerator, precision=precision, num_nodes=how.num_nodes)
    options = RunOptions(
        out=how.out,
        resume=how.resume,
        override=how.override,
        max_minutes=how.max_minutes,
        checkpoint_minutes=how.checkpoint_minutes,
        log_every=how.log_every or (100 if fabric.device.type == "cuda" else 20),
        command=shlex.join(["ebmlearn", "train", *argv]),
        tensorboard=how.tensorboard,
    )
    state = _with_progress(_get(f"{recipe.module}:run_{name}"), config, options, fabric)
    if fabric.global_rank == 0:
        print(f"{state.step} updates; checkpoint {how.out / 'last.ckpt'}")
        if name != "planning":  # energies of transitions: nothing to draw
            print(
                f"draw from it: ebmlearn sample --from {how.out} --n 100 --out samples.npz; judge it: ebmlearn evaluate --from {how.out}"
            )
    return 0


def _with_progress(run: Callable[..., Any], config: Any, options: Any, fabric: Any) -> Any:
    from tqdm.auto import tqdm

    bars: list[Any] = []  # made at the first report, so that bad input is one line and no bar

    def on_log(step: int, metrics: dict[str, float]) -> None:
        if not bars:
            total = config.steps + getattr(config, "pretrain_steps", 0)
            bars.append(tqdm(total=total, unit="step", disable=fabric.global_rank > 0, mininterval=0.5))
        bars[0].update(step - bars[0].n)
        bars[0].set_postfix({k: f"{v:.3g}" for k, v in list(metrics.items())[:4]}, refresh=False)

    try:
        return run(config, options, fabric=fabric, on_log=on_log)
    finally:
        for bar in bars:
            bar.close()


@dataclass
class Sample:
    """Draw samples from a checkpoint of `ebmlearn train`.

    Args:
        source: the checkpoint, or the folder that --out named.
        out: .npz (array x), .pt (a tensor) or .png (a grid, images only).
        n: how many.
        seed: of the sampler.
    """

    source: Annotated[Path, "from"]
    out: Path
    n: int = 100
    seed: int = 0


def _sample(argv: list[str]) -> int:
    import tyro

    Sample.__annotations__["source"] = Annotated[Path, tyro.conf.arg(name="from")]
    args: Sample = _parse(Sample, argv, prog="ebmlearn sample")
    if args.n < 1:
        raise Problem(f"expected --n >= 1; got {args.n}")
    if args.out.suffix not in (".npz", ".pt", ".png"):
        raise Problem(f"expected --out to end in .npz, .pt or .png; got {args.out}")
    path = args.source / "last.ckpt" if args.source.is_dir() else args.source
    import numpy as np
    import torch

    from .training.samples import samples_from_checkpoint

    x = samples_from_checkpoint(path, args.n, seed=args.seed).cpu()
    if args.out.suffix == ".png" and x.ndim != 4:
        raise Problem(f"only images make a .png; these samples have the shape {tuple(x.shape)}. Use .npz")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.out.suffix == ".npz":
        np.savez_compressed(args.out, x=x.numpy())
    elif args.out.suffix == ".pt":
        torch.save(x, args.out)
    else:
        from .training.engine import write_png

        write_png(args.out, x, scale=max(1, 64 // x.shape[-1]))
    print(f"{len(x)} samples of shape {tuple(x.shape[1:])} -> {args.out}")
    return 0


def _data(argv: list[str]) -> int:
    if argv and argv[0] in ("-h", "--help"):
        print(
            "usage: ebmlearn data [NAME]\n\nWithout NAME: the data sets and where they are kept. With NAME: fetch it, verify it, say its shape."
        )
        return 0
    from . import datasets
    from .datasets import files, registry

    if argv:
        for split in ("train", "test"):
            d = datasets.load(argv[0], split=split)
            classes = "" if d.y is None else f", {int(d.y.max()) + 1} classes"
            print(f"{d.name} {split}: {tuple(d.x.shape)}{classes}, from {float(d.x.min()):.3g} to {float(d.x.max()):.3g}")
        return 0
    for name, entry in registry.REGISTRY.items():
        here = "here" if registry.available(name) else "not here"
        print(f"{name:22s} {entry.kind:9s} {here:9s} {entry.about}")
    print(f"\nFiles are kept in {files.root()} (EBMLEARN_DATA names another folder), as <name>/<official file name>.")
    print("Your own: --data PATH, an .npz file, a saved tensor (.pt) or a folder of images.")
    return 0


def _lessons(argv: list[str]) -> int:
    flags = [a for a in argv if a.startswith("-")]
    if "-h" in flags or "--help" in flags:
        print(
            "usage: ebmlearn lessons [DIR] [--no-open] [JupyterLab's own flags, e.g. --no-browser]\n\nFiles that are there already are kept."
        )
        return 0
    places = [a for a in argv if not a.startswith("-")]
    if len(places) > 1:
        raise Problem(f"expected one folder; got {' '.join(places)}. Flags with values are written --flag=value")
    target = Path(places[0] if places else "ebmlearn-lessons").expanduser()
    from .course.lessons import copy_course
    from .resources import resource

    if target.is_file():
        raise Problem(f"{target} is a file; name a folder")
    new = copy_course(resource("lessons"), resource("docs"), target)
    print(f"{new} new files in {target}; files that were there are kept")
    first = min(target.glob("[0-9][0-9]_*.ipynb"), default=None)
    if first is None:
        raise Problem(f"no lesson in {target}; reinstall ebmlearn")
    if "--no-open" in flags:
        return 0
    return subprocess.run([sys.executable, "-m", "jupyterlab", *flags, str(first)]).returncode


def _progress(argv: list[str]) -> int:
    from .course.progress import progress_command

    return progress_command(argv)


def _doctor(argv: list[str]) -> int:
    if argv:
        print("usage: ebmlearn doctor\n\nChecks the set-up; exit code 0 when everything that the lessons need is there.")
        return 0 if argv[0] in ("-h", "--help") else 2
    from .course.doctor import doctor

    return 0 if doctor() else 1


@dataclass
class Grade:
    """Mark a homework notebook, or every one in a folder; the submission runs in a confined process (docs/grading.md).

    Args:
        notebook: an .ipynb file, or a folder of them.
        homework: homework_a, homework_b, homework_c or capstone; default what the notebook says.
        json: write the reports to this file.
        csv: write one row a submission to this file.
        timeout: CPU seconds for the notebook's cells, and again for each problem; five times as many of wall time.
        memory: MiB that the submission's processes may use together.
        seed: of the questions; default a new one, which the report names.
    """

    notebook: Path
    homework: str | None = None
    json: Path | None = None
    csv: Path | None = None
    timeout: float = 60.0
    memory: float = 2048.0
    seed: int | None = None


def _grade(argv: list[str]) -> int:
    import json

    import tyro

    Grade.__annotations__["notebook"] = Annotated[Path, tyro.conf.Positional]
    args: Grade = _parse(Grade, argv, prog="ebmlearn grade")
    from .course.grading import Limits, as_csv, grade, notebooks, table

    limits = Limits(seconds=args.timeout, memory=args.memory)
    paths = notebooks(args.notebook)
    if not paths:
        raise Problem(f"no notebook in {args.notebook}")
    reports: list[Any] = []
    bad: list[dict[str, str]] = []
    for path in paths:
        try:
            reports.append(grade(path, name=args.homework, limits=limits, seed=args.seed))
            print(reports[-1], flush=True)
        except ValueError as error:
            if len(paths) == 1:
                raise
            bad.append({"notebook": str(path), "error": str(error)})
            print(f"{path}: not graded. {error}", flush=True)
    if len(paths) > 1:
        rows = table(reports)
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        print("\n" + "\n".join("  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() for row in rows))
    if args.json is not None:
        args.json.write_text(json.dumps([*(r.as_dict() for r in reports), *bad], indent=1) + "\n")
    if args.csv is not None:
        args.csv.write_text(as_csv(reports))
    return 1 if bad else 0


@dataclass
class Ablate:
    """An ablation: settings x seeds -> a table with means and standard errors, as Markdown and CSV.

    Args:
        seeds: one run a setting and seed; three or more for a standard error worth printing.
        out: stem of the files; default data/results/ablate_NAME.
        steps: updates a run; default the recipe's own.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    out: Path | None = None
    steps: int | None = None


def _ablate(argv: list[str]) -> int:
    known = ablations()
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: ebmlearn ablate NAME [--seeds 0 1 2] [--out STEM] [--steps N]\n")
        print("\n".join(f"  {name:10s} {about}" for name, about in known.items()))
        return 0 if argv else 2
    name = argv[0]
    if name not in known:
        raise Problem(f"unknown ablation {name!r}; this version has: {', '.join(known)}")
    args: Ablate = _parse(Ablate, argv[1:], prog=f"ebmlearn ablate {name}")
    from .training.ablate import run_ablation

    settings = _settings(name, args.steps)
    command = f"ebmlearn ablate {name} --seeds {' '.join(map(str, args.seeds))}" + (
        f" --steps {args.steps}" if args.steps else ""
    )

    def on_row(setting: str, seed: int, metrics: Any) -> None:
        print(f"{setting}, seed {seed}: " + ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()), flush=True)

    table = run_ablation(settings, args.seeds, command=command, on_row=on_row)
    stem = args.out or Path(f"data/results/ablate_{name}")
    table.write(stem)
    print(f"\n{table.markdown()}\n-> {stem}.md, {stem}.csv")
    return 0


def _evaluate(argv: list[str]) -> int:
    from .cli_runs import evaluate

    return evaluate(argv)


def _export(argv: list[str]) -> int:
    from .cli_runs import export

    return export(argv)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "doctor": _doctor,
    "data": _data,
    "lessons": _lessons,
    "progress": _progress,
    "train": _train,
    "sample": _sample,
    "evaluate": _evaluate,
    "export": _export,
    "grade": _grade,
    "ablate": _ablate,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; bad input prints one line and returns 2.

    Args:
        argv: the words after `ebmlearn`; None takes them from the command line.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if words else 2
    if words[0] == "--version":
        from . import __version__

        print(f"ebmlearn {__version__}")
        return 0
    if words[0] not in COMMANDS:
        print(f"ebmlearn: unknown command {words[0]!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        return COMMANDS[words[0]](words[1:])
    except KeyboardInterrupt:
        print("\nebmlearn: stopped; continue a training run with --resume", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if not _is_input_error(error):
            raise
        print(f"ebmlearn: {' '.join(str(error).split())}", file=sys.stderr)
        return 1 if type(error).__name__ == "Diverged" else 2


def _is_input_error(error: Exception) -> bool:
    """Errors whose message is meant for the user: our own, and a value or a file that was named."""
    own = {"Problem", "DataError", "Diverged", "CheckpointError", "WeightsError", "OutOfMemory"}
    return bool(own & {c.__name__ for c in type(error).__mro__}) or isinstance(
        error, (ValueError, FileNotFoundError, PermissionError, FloatingPointError)
    )
