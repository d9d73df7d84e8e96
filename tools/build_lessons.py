"""Build the notebooks from `lessons/source/NN_name.py`: `python -m tools.build_lessons [NN ...] [--all] [--restyle] [--check]`.

Homework is built from `lessons/source/homework/NAME.py`, in three versions; it is named in full: `homework_a`.
Without names: what is out of step with its source. `--check` compares and executes nothing.
"""

from __future__ import annotations

import argparse
import ast
import base64
import difflib
import gc
import io
import os
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from PIL import Image

from .homework_format import convert_homework
from .kernel_probe import probed, records
from .lesson_format import MADE, FormatError, convert

ROOT = Path(__file__).resolve().parents[1]
WIDGET = "application/vnd.jupyter.widget-view+json"
RUN_ME = "Run this cell for the live widget; the figure above shows what it draws."
ANSWER_HERE = "Run this cell to answer with buttons; the questions are those above."


class BuildError(RuntimeError):
    """A notebook did not come out as a lesson must; the message names the cell."""


def is_homework(source: Path) -> bool:
    return source.parent.name == "homework"


def converted(source: Path) -> dict[str, nbformat.NotebookNode]:
    """The notebooks of a source, without outputs."""
    return convert_homework(source) if is_homework(source) else convert(source, repository=repository())


def sources_of(lessons: Path) -> list[Path]:
    """Every source: lessons by number, then homework."""
    folder = lessons / "source"
    return [*sorted(folder.glob("[0-9][0-9]_*.py")), *sorted((folder / "homework").glob("[a-z]*.py"))]


def short(source: Path) -> str:
    """What a source is called on the command line: the number of a lesson, the name of a homework."""
    return source.stem if is_homework(source) else source.stem[:2]


def targets(source: Path, lessons: Path) -> dict[str, Path]:
    """Where the notebooks of a source stand: two of a lesson, three of a homework."""
    if is_homework(source):
        folders = {"student": "", "solution": "solutions", "instructor": "instructor"}
        return {kind: lessons / "homework" / folder / f"{source.stem}.ipynb" for kind, folder in folders.items()}
    return {"student": lessons / f"{source.stem}.ipynb", "solution": lessons / "solutions" / f"{source.stem}.ipynb"}


def children_seconds() -> float:
    """CPU seconds of the processes that this one has started and waited for."""
    times = os.times()
    return times.children_user + times.children_system


def repository(root: Path = ROOT) -> str | None:
    """The address of the repository, `Repository` under `[project.urls]` in pyproject.toml; None while it has none."""
    path = root / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"] if path.exists() else {}
    return project.get("urls", {}).get("Repository")


def execute(nb: nbformat.NotebookNode, folder: Path) -> tuple[float, float]:
    """Run all cells at full size, in place; return the seconds of wall time and of CPU time, kernel start included.

    The largest memory goes into the notebook's metadata as `peak_mb`.
    """
    lesson = nb.metadata["ebmlearn"]["lesson"]
    with tempfile.TemporaryDirectory() as scratch:
        # the quiz is read from the notebook that is being made, not from the one before it
        nbformat.write(nb, Path(scratch) / f"{lesson}.ipynb")
        seconds = _execute(nb, folder, {"EBMLEARN_LESSONS": scratch} | probed(Path(scratch) / "probe"))
        notes = records(Path(scratch) / "probe")
    nb.metadata["ebmlearn"]["peak_mb"] = max((note["peak_mb"] for note in notes), default=0)
    for figure in (figure for note in notes for figure in note["figures"]):
        print(f"{lesson}, cell {figure['cell']}, to mend before nbval passes: {figure['problem']}", file=sys.stderr)
    return seconds


def _execute(nb: nbformat.NotebookNode, folder: Path, more: dict[str, str]) -> tuple[float, float]:
    env = {k: v for k, v in os.environ.items() if k not in ("EBMLEARN_SMOKE", "MPLBACKEND")} | more
    env["EBMLEARN_PROGRESS"] = "off"
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])  # this checkout's ebmlearn
    name = f"{nb.metadata['ebmlearn']['lesson']} ({nb.metadata['ebmlearn']['kind']})"
    for attempt in (1, 2):  # a kernel's answer can get lost between processes; then both wait for ever
        client = NotebookClient(
            nb,
            timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
        )
        began, used = time.perf_counter(), children_seconds()
        try:
            client.execute(env=env)
            break
        except CellExecutionError as error:
            raise BuildError(f"{name}: {error}") from None
        except CellTimeoutError as error:
            if attempt == 2:
                raise BuildError(f"{name}: {error}") from None
            print(f"{name}: no answer for ten minutes, once more", file=sys.stderr)
    del client
    gc.collect()  # here, not in the middle of something else: a collected client runs its event loop
    return time.perf_counter() - began, children_seconds() - used


def small_png(data: str) -> str:
    """A stored picture with at most 256 colours, base64 in and out: a fraction of the bytes, the same to the eye."""
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        few = picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    out = io.BytesIO()
    few.save(out, format="png", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def tidy(nb: nbformat.NotebookNode) -> None:
    """Make outputs the same everywhere: no widget views, alt text on pictures, streams joined, no trace of the machine."""
    nb.metadata.pop("widgets", None)
    info = nb.metadata.get("language_info", {})
    nb.metadata["language_info"] = {
        k: v for k, v in info.items() if k in ("name", "file_extension", "mimetype", "pygments_lexer")
    }
    for cell in nb.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        kept = []
        for out in cell.outputs:
            if out.output_type in ("display_data", "execute_result"):
                if WIDGET in out.data:
                    says = ANSWER_HERE if "quiz-widget" in cell.metadata.get("tags", []) else RUN_ME
                    out = nbformat.v4.new_output("display_data", {"text/plain": says})
                elif "image/png" in out.data:
                    out.data["image/png"] = small_png(out.data["image/png"])
                    out.data["text/plain"] = "<Figure>"
                    if cell.metadata.get("alt"):
                        out.metadata["image/png"] = {"alt": cell.metadata["alt"]}
            if out.output_type == "stream" and kept and kept[-1].output_type == "stream" and kept[-1].name == out.name:
                kept[-1].text += out.text
            else:
                kept.append(out)
        cell.outputs = kept


def inspect_outputs(nb: nbformat.NotebookNode, where: str) -> list[str]:
    """What is wrong with an executed notebook, one line each."""
    kind = nb.metadata["ebmlearn"]["kind"]
    bad = []
    for i, cell in enumerate(nb.cells):
        if cell.cell_type != "code":
            continue
        tags = cell.metadata.get("tags", [])
        at = f"{where}: cell {i} ({cell.source.strip().splitlines()[0][:50]})"
        if cell.execution_count is None:
            bad.append(f"{at} is not executed")
        if "nbval-check-output" in tags and not cell.outputs:
            bad.append(f"{at} is marked nbval-check-output and has no stored output")
        for out in cell.outputs:
            if out.output_type == "error":
                bad.append(f"{at} raised {out.ename}: {out.evalue}")
            if out.output_type == "stream" and out.name == "stderr":
                bad.append(f"{at} wrote to stderr: {out.text.strip()[:200]}")
            if out.output_type == "execute_result" and "image/png" in out.data:
                bad.append(f"{at} ends with a figure, which shows it twice: write 'fig = ...' or tag it 'figure'")
            if "image/png" in out.get("data", {}) and not {"figure", "widget", "exercise"} & set(tags):
                bad.append(f"{at} draws, and has no words for it: tag it 'figure' and say in alt=\"...\" what is seen")
            if " at 0x" in out.get("text", "") + out.get("data", {}).get("text/plain", ""):
                bad.append(f"{at} prints the address of an object, which is another on every machine")
            if WIDGET in out.get("data", {}):
                bad.append(f"{at} stores the view of a widget")
        if "figure" in tags and not any("image/png" in out.get("data", {}) for out in cell.outputs):
            bad.append(f"{at} is tagged 'figure' and shows no picture")
        if "check" in tags:
            said = "".join(out.get("text", "") + out.get("data", {}).get("text/plain", "") for out in cell.outputs)
            word = "not attempted" if kind == "student" else "right"
            if f": {word}" not in said or ": wrong" in said:
                bad.append(f"{at} should say '{word}'; it says {said.strip()!r}")
    return bad


def skeleton(nb: nbformat.NotebookNode) -> list[str]:
    """The part of a notebook that comes from the source, as lines."""
    lines = []
    for cell in nb.cells:
        tags = " ".join(cell.metadata.get("tags", []))
        lines.append(f"--- {cell.id} {cell.cell_type} tags=[{tags}] alt={cell.metadata.get('alt', '')!r}")
        lines += cell.source.splitlines()
    return lines


def out_of_step(source: Path, lessons: Path) -> list[str]:
    """Why the notebooks of a source are not what a build would write (outputs aside); empty when they are in step."""
    bad: list[str] = []
    wanted = converted(source)
    for kind, path in targets(source, lessons).items():
        if not path.exists():
            bad.append(f"{path} is missing")
            continue
        nb = nbformat.read(path, as_version=4)
        diff = list(difflib.unified_diff(skeleton(nb), skeleton(wanted[kind]), str(path), str(source), lineterm="", n=1))
        if diff:
            bad.append("\n".join([f"{path} is out of step with {source}:", *diff[:12]]))
            continue
        if nb.metadata.get("ebmlearn", {}).get("kind") != kind or "seconds" not in nb.metadata["ebmlearn"]:
            bad.append(f"{path} has no measured seconds in its metadata: it was not made by the build")
            continue
        if "widgets" in nb.metadata:
            bad.append(f"{path} stores the state of widgets")
        bad += inspect_outputs(nb, str(path))
    return bad


def strays(lessons: Path) -> list[str]:
    """Notebooks without a source."""
    known = {path for source in sources_of(lessons) for path in targets(source, lessons).values()}
    found = [
        *lessons.glob("[0-9][0-9]_*.ipynb"),
        *(lessons / "solutions").glob("*.ipynb"),
        *(lessons / "homework").rglob("*.ipynb"),
    ]
    return [f"{p} has no source" for p in sorted(found) if p not in known and ".ipynb_checkpoints" not in p.parts]


def build(source: Path, lessons: Path) -> dict[str, float]:
    """Convert, execute, tidy, inspect and write the notebooks of a source; nothing is written when one is bad.

    Returns:
        CPU seconds of "student", "solution" and, of a homework, "instructor".
    """
    done = {}
    for kind, nb in converted(source).items():
        path = targets(source, lessons)[kind]
        path.parent.mkdir(parents=True, exist_ok=True)
        seconds, cpu_seconds = execute(nb, path.parent)
        tidy(nb)
        bad = inspect_outputs(nb, f"{source.name} ({kind})")
        if bad:
            raise BuildError("\n".join(bad))
        nb.metadata["ebmlearn"].update(seconds=round(seconds, 1), cpu_seconds=round(cpu_seconds, 1))
        nbformat.validate(nb)
        done[kind] = nb
    write(done, source, lessons)
    return {kind: nb.metadata["ebmlearn"]["cpu_seconds"] for kind, nb in done.items()}


def write(done: dict[str, nbformat.NotebookNode], source: Path, lessons: Path) -> None:
    """Put the notebooks of a source in their places, each whole or not at all."""
    for kind, nb in done.items():
        path = targets(source, lessons)[kind]
        scratch = path.with_suffix(".part")
        nbformat.write(nb, scratch)
        os.replace(scratch, path)


def program(code: str) -> str:
    """What a cell runs, without its comments and layout; text that is no Python as it stands."""
    try:
        return ast.dump(ast.parse(code))
    except SyntaxError:
        return code


def restyle(source: Path, lessons: Path) -> None:
    """Bring words, comments, tags and the cells that the build adds up to date without running anything: outputs are kept.

    Raises:
        BuildError: code of the lesson changed (or was never executed), so that kept outputs would be another program's.
    """
    done = {}
    for kind, nb in converted(source).items():
        path = targets(source, lessons)[kind]
        if not path.exists():
            raise BuildError(f"{path} was never built; build it")
        old = nbformat.read(path, as_version=4)
        ran = [cell for cell in old.cells if cell.cell_type == "code" and not MADE & set(cell.metadata.get("tags", []))]
        code = [cell for cell in nb.cells if cell.cell_type == "code" and not MADE & set(cell.metadata.get("tags", []))]
        before, after = [program(cell.source) for cell in ran], [program(cell.source) for cell in code]
        if before != after:
            pairs = zip(before, after, code, strict=False)
            changed = next((cell.source for was, new, cell in pairs if was != new), "the number of cells")
            raise BuildError(f"{path}: code changed, so it must be built: {changed.strip().splitlines()[0][:80]}")
        for cell, executed in zip(code, ran, strict=True):
            cell.outputs = executed.outputs
            for out in cell.outputs:
                if "image/png" in out.get("data", {}) and cell.metadata.get("alt"):
                    out.metadata["image/png"] = {"alt": cell.metadata["alt"]}
        for n, cell in enumerate((cell for cell in nb.cells if cell.cell_type == "code"), start=1):
            cell.execution_count = n
            if "quiz-widget" in cell.metadata.get("tags", []):
                cell.outputs = [nbformat.v4.new_output("display_data", {"text/plain": ANSWER_HERE})]
        kept = {k: v for k, v in old.metadata["ebmlearn"].items() if k not in nb.metadata["ebmlearn"]}
        nb.metadata["ebmlearn"].update(kept)
        nb.metadata["language_info"] = old.metadata["language_info"]
        bad = inspect_outputs(nb, f"{source.name} ({kind})")
        if bad:
            raise BuildError("\n".join(bad))
        nbformat.validate(nb)
        done[kind] = nb
    write(done, source, lessons)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.build_lessons", description=__doc__)
    parser.add_argument("numbers", nargs="*", help="what to build, e.g. 00 04 homework_a; default: those out of step")
    parser.add_argument("--all", action="store_true", help="build all lessons, in step or not")
    parser.add_argument(
        "--restyle", action="store_true", help="words, comments, tags, links, quiz: update and keep the outputs; run nothing"
    )
    parser.add_argument("--check", action="store_true", help="compare notebooks with sources; execute nothing")
    parser.add_argument("--lessons", type=Path, default=ROOT / "lessons", help="folder with source/ in it")
    args = parser.parse_args(argv)
    sources = sources_of(args.lessons)
    unknown = [n for n in args.numbers if not any(short(s) == n for s in sources)]
    if unknown or not sources:
        print(
            f"no lesson {', '.join(unknown)} in {args.lessons / 'source'}; there are {[s.stem for s in sources]}", file=sys.stderr
        )
        return 2
    chosen = [s for s in sources if not args.numbers or short(s) in args.numbers]
    try:
        if args.check:
            bad = [line for s in chosen for line in out_of_step(s, args.lessons)] + ([] if args.numbers else strays(args.lessons))
            if bad:
                bad.append("If only words changed, --restyle brings the notebooks up to date and runs nothing.")
            print("\n".join(bad) or f"{len(chosen)} lessons in step")
            return 1 if bad else 0
        for s in chosen if args.restyle else []:
            restyle(s, args.lessons)
            print(f"{s.stem}: restyled", flush=True)
        for s in [] if args.restyle else chosen:
            if args.all or args.numbers or out_of_step(s, args.lessons):
                seconds = build(s, args.lessons)
                print(f"{s.stem}: {', '.join(f'{kind} {t} s' for kind, t in seconds.items())} of CPU", flush=True)
            else:
                print(f"{s.stem}: in step", flush=True)
    except (FormatError, BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
