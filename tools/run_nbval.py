"""Run the notebooks at smoke size with nbval: `python -m tools.run_nbval [NOTEBOOK ...] [--write-budgets]`; default all of them.

nbval passes a marked cell without stored output, whatever it prints; so stored outputs are looked at first, and afterwards the cells
that ran are counted. A run that checked nothing fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from .budgets import OVER, over_budget, write_budgets
from .build_lessons import ROOT, inspect_outputs
from .kernel_probe import probed, records

ENVIRONMENT = {
    "EBMLEARN_SMOKE": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "TQDM_DISABLE": "1",
    "EBMLEARN_PROGRESS": "off",
}


def notebooks(lessons: Path = ROOT / "lessons") -> list[Path]:
    """Every student and every solution notebook."""
    return sorted([*lessons.glob("[0-9][0-9]_*.ipynb"), *(lessons / "solutions").glob("[0-9][0-9]_*.ipynb")])


def guard(path: Path) -> tuple[list[str], int]:
    """(what is wrong with the stored outputs, number of code cells that nbval must run)."""
    nb = nbformat.read(path, as_version=4)
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    bad = inspect_outputs(nb, str(path))
    if sum("nbval-check-output" in cell.metadata.get("tags", []) for cell in code) < 3:
        bad.append(f"{path}: fewer than 3 cells whose output is compared")
    if any("nbval-skip" in cell.metadata.get("tags", []) for cell in code):
        bad.append(f"{path}: a skipped cell is never checked")
    return bad, len(code)


REDRAW = 100  # milliseconds that a control may take which answers while it is dragged


def judge(measured: Mapping[str, dict[str, Any]]) -> list[str]:
    """What is wrong with figures and widgets, one line each."""
    bad = []
    for name, note in measured.items():
        bad += [f"{name}, cell {figure['cell']}: {figure['problem']}" for figure in note["figures"]]
        for widget in note["widgets"]:
            at = f"{name}, cell {widget['cell']}, {widget['class']}"
            for control in widget["controls"]:
                label = control["label"]
                if "error" in control:
                    bad.append(f"{at}: moving {label!r} raises {control['error']}")
                if not label.strip():
                    bad.append(f"{at}: a control without a label")
                if not control["throttled"] and control.get("ms", 0) > REDRAW:
                    bad.append(f"{at}: {label!r} redraws in {control['ms']} ms while it is dragged: continuous_update=False")
            if widget["controls"] and not any(control.get("changed", True) for control in widget["controls"]):
                bad.append(f"{at}: no control changes what is seen")
            if widget["pure"] is False:
                bad.append(f"{at}: the same state draws another picture a second time")
            if widget["loops"] and not {"Start", "Stop"} & set(widget["buttons"]):
                bad.append(f"{at}: it moves by itself and has no Stop button")
    return bad


def run(paths: Sequence[Path], *, measured: dict[str, dict[str, Any]] | None = None) -> list[str]:
    """Problems, one line each; empty when every cell of every notebook ran and every marked output agreed.

    The same kernels report what their figures and widgets are like, and how long they took (see `budgets`).

    Args:
        measured: receives "<lesson>/<kind>" -> what its kernel noted.
    """
    if not paths:
        return ["no notebooks to run"]
    problems: list[str] = []
    cells = 0
    environment = {**os.environ, **ENVIRONMENT}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )  # this checkout's ebmlearn
    measured = {} if measured is None else measured
    sources: dict[str, list[str]] = {}
    for path in paths:
        bad, n = guard(path)
        problems += bad
        cells += n
        nb = nbformat.read(path, as_version=4)
        name = f"{path.stem}/{nb.metadata.get('ebmlearn', {}).get('kind')}"
        sources[name] = [cell.source for cell in nb.cells if cell.cell_type == "code"]
    if problems:
        return problems
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        environment |= probed(Path(folder) / "probe", sources)
        command = [sys.executable, "-m", "pytest", "-q", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=120"]
        command += [
            "--nbval-kernel-startup-timeout=120",
            f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval.cfg'}",
            f"--junitxml={report}",
        ]
        command += [
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            "-p",
            "no:xdist",
            "-c",
            os.devnull,
            f"--rootdir={os.path.commonpath([p.parent for p in paths])}",
        ]
        done = subprocess.run(
            [*command, *map(str, paths)], env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
        if not report.exists():
            return [f"nbval did not run (exit status {done.returncode}): {done.stdout[-2000:]}{done.stderr[-2000:]}"]
        measured |= {note["notebook"]: note for note in records(Path(folder) / "probe") if note["notebook"]}
        suite = next(iter(ElementTree.parse(report).getroot().iter("testsuite")))
    ran = {word: int(suite.get(word, 0)) for word in ("tests", "failures", "errors", "skipped")}
    if done.returncode != 0 or ran["failures"] + ran["errors"] + ran["skipped"]:
        problems.append(f"nbval exit status {done.returncode}, {ran}:\n{done.stdout[-6000:]}{done.stderr[-2000:]}")
    if ran["tests"] != cells:
        problems.append(f"nbval ran {ran['tests']} cells; the notebooks have {cells}")
    if problems:
        return problems
    missing = set(sources) - set(measured)
    return [f"{name}: the kernel reported nothing" for name in sorted(missing)] + judge(measured) + over_budget(measured)


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    given = [Path(a).resolve() for a in words if a != "--write-budgets"]
    paths = given or notebooks()
    measured: dict[str, dict[str, Any]] = {}
    problems = run(paths, measured=measured)
    if "--write-budgets" in words:
        write_budgets(measured)
        problems = [line for line in problems if OVER not in line]
    print("\n".join(problems) or f"{len(paths)} notebooks pass", file=sys.stderr if problems else sys.stdout)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
