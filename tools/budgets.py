"""What each lesson may cost at smoke size, in `budgets.json`; measured while nbval runs, compared with a fixed loop, never in seconds.

`python -m tools.run_nbval --write-budgets` measures and writes. A lesson that needs more than one and a half times its budget fails;
EBMLEARN_BUDGETS=off turns that off, e.g. on a machine whose load changes while it runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

FILE = Path(__file__).with_name("budgets.json")
SLACK = 1.5
OVER = "over its budget"


def loops(note: Mapping[str, Any]) -> float:
    """The cost of a notebook in calibration loops that ran in the same kernel."""
    return note["cpu_seconds"] / mean(note["calibration"])


def read_budgets(file: Path = FILE) -> dict[str, dict[str, float]]:
    """Each notebook's loops by "<lesson>/<kind>", and the CPU seconds and megabytes of the machine that measured them."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def over_budget(measured: Mapping[str, Mapping[str, Any]], file: Path = FILE) -> list[str]:
    """Notebooks that cost more than one and a half times their budget; one that has none yet passes."""
    if os.environ.get("EBMLEARN_BUDGETS", "").lower() in ("off", "0", "no"):
        return []
    budgets, bad = read_budgets(file), []
    for name, note in measured.items():
        if name in budgets and loops(note) > SLACK * budgets[name]["loops"]:
            bad.append(
                f"{name} is {OVER}: {loops(note):.0f} calibration loops ({note['cpu_seconds']} s of CPU here); its budget is "
                f"{budgets[name]['loops']:.0f}. Make it smaller, or measure again with python -m tools.run_nbval --write-budgets"
            )
    return bad


def write_budgets(measured: Mapping[str, Mapping[str, Any]], file: Path = FILE) -> None:
    """Take what was measured as the budget of these notebooks; the others keep theirs."""
    budgets = read_budgets(file)
    for name, note in measured.items():
        budgets[name] = {"loops": round(loops(note)), "cpu_seconds": note["cpu_seconds"], "peak_mb": note["peak_mb"]}
    file.write_text(json.dumps(dict(sorted(budgets.items())), indent=1) + "\n", encoding="utf-8")
