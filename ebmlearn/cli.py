"""The command line: `ebmlearn doctor | data | lessons | progress | train | sample | evaluate | export | grade | ablate`. Each command imports only what it needs.

`train` and `ablate` are in `cli_train`; `sample`, `evaluate` and `export` in `cli_runs`; the rest is here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

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
    print("Your own: --data PATH, an .npy or .npz file, a saved tensor (.pt) or a folder of images.")
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
        raise ValueError(f"expected one folder; got {' '.join(places)}. Flags with values are written --flag=value")
    target = Path(places[0] if places else "ebmlearn-lessons").expanduser()
    from .course.lessons import copy_course
    from .resources import resource

    if target.is_file():
        raise ValueError(f"{target} is a file; name a folder")
    new = copy_course(resource("lessons"), resource("docs"), target)
    print(f"{new} new files in {target}; files that were there are kept")
    first = min(target.glob("[0-9][0-9]_*.ipynb"), default=None)
    if first is None:
        raise ValueError(f"no lesson in {target}; reinstall ebmlearn")
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
    args: Grade = tyro.cli(Grade, args=argv, prog="ebmlearn grade")
    from .course.grading import Limits, as_csv, grade, notebooks, table

    limits = Limits(seconds=args.timeout, memory=args.memory)
    paths = notebooks(args.notebook)
    if not paths:
        raise ValueError(f"no notebook in {args.notebook}")
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
        rows = table(reports, [b["notebook"] for b in bad])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        print("\n" + "\n".join("  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() for row in rows))
    if args.json is not None:
        args.json.write_text(json.dumps([*(r.as_dict() for r in reports), *bad], indent=1) + "\n")
    if args.csv is not None:
        args.csv.write_text(as_csv(reports, [b["notebook"] for b in bad]))
    return 1 if bad else 0


def _train(argv: list[str]) -> int:
    from .cli_train import train

    return train(argv)


def _ablate(argv: list[str]) -> int:
    from .cli_train import ablate

    return ablate(argv)


def _sample(argv: list[str]) -> int:
    from .cli_runs import sample

    return sample(argv)


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
    own = {"DataError", "Diverged", "CheckpointError", "WeightsError", "OutOfMemory"}
    return bool(own & {c.__name__ for c in type(error).__mro__}) or isinstance(
        error, (ValueError, FileNotFoundError, PermissionError, FloatingPointError)
    )
