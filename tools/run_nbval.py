"""Run the notebooks at smoke size with nbval: `python -m tools.run_nbval [NOTEBOOK ...]`; default all lessons and solutions.

nbval passes a marked cell without stored output, whatever it prints; so stored outputs are looked at first, and afterwards the cells
that ran are counted. A run that checked nothing fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import nbformat

from .build_lessons import ROOT, inspect_outputs

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


def run(paths: Sequence[Path]) -> list[str]:
    """Problems, one line each; empty when every cell of every notebook ran and every marked output agreed."""
    if not paths:
        return ["no notebooks to run"]
    problems: list[str] = []
    cells = 0
    environment = {**os.environ, **ENVIRONMENT}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )  # this checkout's ebmlearn
    for path in paths:
        bad, n = guard(path)
        problems += bad
        cells += n
    if problems:
        return problems
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
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
        suite = next(iter(ElementTree.parse(report).getroot().iter("testsuite")))
    ran = {word: int(suite.get(word, 0)) for word in ("tests", "failures", "errors", "skipped")}
    if done.returncode != 0 or ran["failures"] + ran["errors"] + ran["skipped"]:
        problems.append(f"nbval exit status {done.returncode}, {ran}:\n{done.stdout[-6000:]}{done.stderr[-2000:]}")
    if ran["tests"] != cells:
        problems.append(f"nbval ran {ran['tests']} cells; the notebooks have {cells}")
    return problems


def main(argv: Sequence[str] | None = None) -> int:
    given = [Path(a).resolve() for a in (sys.argv[1:] if argv is None else argv)]
    paths = given or notebooks()
    problems = run(paths)
    print("\n".join(problems) or f"{len(paths)} notebooks pass", file=sys.stderr if problems else sys.stdout)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
