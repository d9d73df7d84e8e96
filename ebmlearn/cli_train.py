"""What trains: `ebmlearn train`, with the list of recipes, and `ebmlearn ablate`, with the list of ablations."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple


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
    "rbm": Recipe("rbm", "rbm_config:RBMConfig", "rbm_config:rbm_preset", "Gaussian-Bernoulli restricted Boltzmann machine"),
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
        raise ValueError(f"ebmlearn train {name} knows the precisions {', '.join(values)}; got {precision!r}")
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


def train(argv: list[str]) -> int:
    """`ebmlearn train`."""
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
        raise ValueError(f"unknown recipe {name!r}; this version has: {', '.join(known)}")
    import tyro

    recipe = known[name]
    config_class, preset = _get(recipe.config), _get(recipe.preset)
    default = config_class()
    data = _value_of(rest, "--data") or default.data
    variant, rest = _without(rest, "--preset")
    if variant is None:
        default = preset(data)  # the settings to start from depend on the data
    elif len(inspect.signature(preset).parameters) < 2:
        raise ValueError(f"ebmlearn train {name} has one set of settings for each data set; leave --preset out")
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
    args: Any = tyro.cli(whole, args=rest, prog=f"ebmlearn train {name}")
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


def ablate(argv: list[str]) -> int:
    """`ebmlearn ablate`."""
    known = ablations()
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: ebmlearn ablate NAME [--seeds 0 1 2] [--out STEM] [--steps N]\n")
        print("\n".join(f"  {name:10s} {about}" for name, about in known.items()))
        return 0 if argv else 2
    name = argv[0]
    if name not in known:
        raise ValueError(f"unknown ablation {name!r}; this version has: {', '.join(known)}")
    import tyro

    args: Ablate = tyro.cli(Ablate, args=argv[1:], prog=f"ebmlearn ablate {name}")
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
