"""What is done with a run of `ebmlearn train`: `ebmlearn sample`, `ebmlearn evaluate` and `ebmlearn export`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

FEATURES = {"digits": "digits-classifier", "fashion_mnist": "fashion-mnist-classifier", "cifar10": "cifar10-classifier"}
LIMITS = {
    "clel": "chains do not reach equilibrium; energies are no calibrated densities; distances compare within one feature network only",
    "gcd": "with gamma > 0 the energy is a critic, not a density; distances compare within one feature network only",
    "rbm": "samples are those of short chains from noise; log-likelihoods need annealed importance sampling",
}


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


@dataclass
class Evaluate:
    """Judge a checkpoint: samples beside held-out data and noise, out-of-distribution detection, a grid; never touches the training.

    Args:
        source: the run's folder (its last.ckpt) or a checkpoint.
        n: samples, and held-out points; a Frechet distance depends on it.
        features: a shipped classifier or its folder; default the one of the data set; "none" compares pixels.
        outside: further data sets for detection.
        real: training points to compare with; default all.
        watch: judge every new checkpoint until the run is complete, beside a run that goes on.
        max_minutes: of watching.
        out: folder of the results; default evaluation in the run's folder.
        seed: of the samples.
        accelerator: "cpu" or "cuda".
        batch: samples at a time.
    """

    source: Annotated[Path, "from"]
    n: int = 5000
    features: str | None = None
    outside: tuple[str, ...] = ()
    real: int | None = None
    watch: bool = False
    max_minutes: float | None = None
    out: Path | None = None
    seed: int = 0
    accelerator: str = "cpu"
    batch: int = 500


@dataclass
class Export:
    """Make slim weights and a model card from a run, as `load_pretrained` reads them.

    Args:
        source: the run's folder (its last.ckpt) or a checkpoint.
        name: of the model, e.g. clel-cifar10-base.
        out: folder; default data/checkpoints/NAME.
        about: the card's first sentence.
        data: what it was trained on; default what the registry says of the data set.
        licence: of the weights.
        limits: what the model is not good for; default what holds of its kind.
    """

    source: Annotated[Path, "from"]
    name: str
    out: Path | None = None
    about: str | None = None
    data: str | None = None
    licence: str = "MIT"
    limits: str | None = None


def _parse(target: Any, argv: Sequence[str], prog: str) -> Any:
    import tyro

    target.__annotations__["source"] = Annotated[Path, tyro.conf.arg(name="from")]
    return tyro.cli(target, args=list(argv), prog=prog)


def feature_network(name: str | None, data: str, event_shape: Sequence[int], device: Any) -> tuple[Any, Any, str]:
    """(features, logits, their name) of images; (None, None, ...) for points and where "none" is asked for."""
    if name == "none" or len(event_shape) != 3:
        return None, None, "pixels" if len(event_shape) == 3 else "points"
    chosen = name or FEATURES.get(data)
    if chosen is None:
        raise ValueError(
            f"no feature network is shipped for {data!r}; name one with --features (python -m experiments.image_classifier makes one), "
            "or compare pixels with --features none"
        )
    from .pretrained import load_pretrained

    net: Any = load_pretrained(chosen).to(device)
    return lambda x: net.features(x.to(device)).float().cpu(), lambda x: net(x.to(device)).float().cpu(), chosen


def sample(argv: list[str]) -> int:
    """`ebmlearn sample`."""
    args: Sample = _parse(Sample, argv, "ebmlearn sample")
    if args.n < 1:
        raise ValueError(f"expected --n >= 1; got {args.n}")
    if args.out.suffix not in (".npz", ".pt", ".png"):
        raise ValueError(f"expected --out to end in .npz, .pt or .png; got {args.out}")
    path = args.source / "last.ckpt" if args.source.is_dir() else args.source
    import numpy as np
    import torch

    from .training.samples import samples_from_checkpoint

    x = samples_from_checkpoint(path, args.n, seed=args.seed).cpu()
    if args.out.suffix == ".png" and x.ndim != 4:
        raise ValueError(f"only images make a .png; these samples have the shape {tuple(x.shape)}. Use .npz")
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


def evaluate(argv: list[str]) -> int:
    """`ebmlearn evaluate`."""
    args: Evaluate = _parse(Evaluate, argv, "ebmlearn evaluate")
    import torch

    from .training.engine import prepare_device
    from .training.evaluate import Judge, checkpoints, real, write_evaluation
    from .training.evaluate import evaluate as measure

    device = torch.device(args.accelerator)
    prepare_device(device)
    folder = args.out or (args.source if args.source.is_dir() or args.watch else args.source.parent) / "evaluation"
    judge: Judge | None = None
    outside: dict[str, Any] = {}
    label = ""
    for trained in checkpoints(args.source, device=device, watch=args.watch, minutes=args.max_minutes):
        if judge is None:
            shape = trained.draw(1, torch.Generator(device).manual_seed(0)).shape[1:]
            features, logits, label = feature_network(args.features, trained.config.data, shape, device)
            judge = Judge(trained.config.data, features=features, logits=logits, n=args.n, limit=args.real)
            outside = {name: real(name, "test", limit=2000, seed=7)[0] for name in args.outside}
        result, x = measure(trained, judge, outside=outside, seed=args.seed, device=device, batch=args.batch)
        path = write_evaluation(folder, {"recipe": trained.recipe, "features": label, **result}, x)
        for k, v in result.items():
            if not k.endswith("_error"):
                print(f"{k:36s} {v:.5g}")
        print(f"features {label}; floor: {result['n']} held-out points -> {path}", flush=True)
    return 0


def export(argv: list[str]) -> int:
    """`ebmlearn export`."""
    args: Export = _parse(Export, argv, "ebmlearn export")
    from .training.samples import load_trained

    source = args.source / "last.ckpt" if args.source.is_dir() else args.source
    trained = load_trained(source)
    if trained.recipe not in LIMITS:
        raise ValueError(f"weights are shipped of {', '.join(LIMITS)}; {source} is a checkpoint of {trained.recipe}")
    folder = args.out or Path("data/checkpoints") / args.name
    if (folder / "card.json").exists():
        raise ValueError(f"{folder} holds a model already; choose another --out")
    card = card_of(trained, args, latest_evaluation(source.parent / "evaluation", trained.step))
    if trained.recipe == "clel":
        from .training.clel_model import export_clel

        export_clel(trained.model, folder, card=card)
    elif trained.recipe == "gcd":
        from .training.gcd_weights import export_gcd

        model = trained.model
        export_gcd(folder, {"sampler": model.sampler, "energy": model.energy}, model.config, model.event_shape, card)
    else:
        from .training.rbm_weights import export_rbm

        export_rbm(trained.model, folder, card=card)
    from .pretrained import load_pretrained

    load_pretrained(str(folder))  # what was written can be read
    for path in sorted(folder.iterdir()):
        print(f"{path}  {path.stat().st_size / 2**20:.2f} MiB")
    return 0


def latest_evaluation(folder: Path, step: int) -> dict[str, Any]:
    """What `ebmlearn evaluate` wrote of this very step; empty when it was not run."""
    path = folder / f"step{step:08d}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def card_of(trained: Any, args: Export, results: dict[str, Any]) -> dict[str, Any]:
    """The entries of a model card that a run knows of itself."""
    sessions = trained.sessions
    about = args.about or (
        f"A model of the recipe {trained.recipe}: moving averages after {trained.step} of {trained.total} planned updates, seed {trained.config.seed}."
    )
    card: dict[str, Any] = {"name": args.name, "about": about, "data": args.data or _about_data(trained.config.data)}
    if sessions:
        card |= {
            "command": sessions[0]["command"] or "not recorded",
            "commit": " to ".join(dict.fromkeys([sessions[0]["commit"], sessions[-1]["commit"]])),
            "device": ", then ".join(dict.fromkeys(f"{s['processes']} x {s['device']}" for s in sessions)),
            "torch": sessions[-1]["torch"],
            "hours": round(sum(s["seconds"] for s in sessions) / 3600, 4),
            "sessions": list(sessions),
        }
    return card | {
        "steps": trained.step,
        "results": results,
        "licence": args.licence,
        "limits": args.limits or LIMITS[trained.recipe],
    }


def _about_data(name: str) -> str:
    from .datasets import registry

    key = name.strip().lower().replace("-", "_")
    return f"{name}: {registry.REGISTRY[key].about}" if key in registry.REGISTRY else f"own data, {name}"
