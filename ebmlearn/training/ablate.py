"""Ablations: settings x seeds -> one table with means, standard errors and the command that made it."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Run = Callable[[int], Mapping[str, float]]


@dataclass(frozen=True)
class Table:
    """Results of an ablation: one row for each (setting, seed), and how to print their means.

    Args:
        rows: `(setting, seed, metrics)`; a run that diverged carries the metric "diverged" = 1 and no other.
        command: the command that makes this table again.
    """

    rows: tuple[tuple[str, int, dict[str, float]], ...]
    command: str

    def metrics(self) -> list[str]:
        """Names of the metrics, in the order in which they first appear."""
        return list(dict.fromkeys(k for _, _, m in self.rows for k in m))

    def values(self, setting: str, metric: str) -> list[float]:
        """One value for each seed of a setting."""
        return [m[metric] for s, _, m in self.rows if s == setting and metric in m]

    def mean_and_error(self, setting: str, metric: str) -> tuple[float, float]:
        """Mean over seeds and its standard error (NaN with a single seed)."""
        v = self.values(setting, metric)
        if not v:
            return math.nan, math.nan
        mean = sum(v) / len(v)
        if len(v) == 1:
            return mean, math.nan
        if len(set(v)) == 1:  # not the rounding error of the mean
            return v[0], 0.0
        return mean, math.sqrt(sum((a - mean) ** 2 for a in v) / (len(v) - 1) / len(v))

    def markdown(self, *, digits: int = 3) -> str:
        """The table in Markdown: mean ± standard error, the number of seeds, and the command below."""
        names = self.metrics()
        lines = ["| setting | seeds | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 2)]
        for setting in dict.fromkeys(s for s, _, _ in self.rows):
            cells = []
            for name in names:
                mean, error = self.mean_and_error(setting, name)
                cells.append(
                    "-" if math.isnan(mean) else f"{mean:.{digits}g}" if math.isnan(error) else f"{mean:.{digits}g} ± {error:.2g}"
                )
            seeds = len({seed for s, seed, _ in self.rows if s == setting})
            lines.append(f"| {setting} | {seeds} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + f"\n\nMean ± standard error over seeds. Command: `{self.command}`\n"

    def write(self, stem: Path, *, digits: int = 3) -> None:
        """Write `<stem>.md` (means) and `<stem>.csv` (every run)."""
        stem = Path(stem)
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".md").write_text(self.markdown(digits=digits))
        names = self.metrics()
        with open(stem.with_suffix(".csv"), "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["setting", "seed", *names])
            for setting, seed, m in self.rows:
                writer.writerow([setting, seed, *(m.get(k, "") for k in names)])

    @classmethod
    def read(cls, *paths: Path, command: str) -> Table:
        """Gather tables written by several processes (one setting or seed each) into one."""
        rows: list[tuple[str, int, dict[str, float]]] = []
        for path in paths:
            with open(path, newline="") as file:
                for r in csv.DictReader(file):
                    setting, seed = r.pop("setting"), int(r.pop("seed"))
                    rows.append((setting, seed, {k: float(v) for k, v in r.items() if v != ""}))
        return cls(tuple(rows), command)


def run_ablation(
    settings: Mapping[str, Run],
    seeds: Sequence[int],
    *,
    command: str,
    on_row: Callable[[str, int, Mapping[str, float]], None] | None = None,
) -> Table:
    """Run every setting with every seed.

    A run that diverges (`Diverged`, FloatingPointError) is a result, not an accident: its row says so.

    Args:
        settings: name -> function of the seed that trains, measures and returns numbers.
        seeds: at least one; three or more for a standard error worth printing.
        command: printed with the table.
        on_row: called after each run, e.g. to print progress.

    Example:
        >>> table = run_ablation({"a": lambda seed: {"x": seed}, "b": lambda seed: {"x": 2.0}}, seeds=[0, 1, 2], command="demo")
        >>> table.mean_and_error("a", "x")[0]
        1.0
    """
    from .state import Diverged

    if not settings or not seeds:
        raise ValueError(f"expected at least one setting and one seed; got {len(settings)} and {len(seeds)}")
    rows = []
    for name, fn in settings.items():
        for seed in seeds:
            try:
                metrics = {k: float(v) for k, v in fn(seed).items()}
            except (Diverged, FloatingPointError):
                metrics = {"diverged": 1.0}
            rows.append((name, seed, metrics))
            if on_row is not None:
                on_row(name, seed, metrics)
    return Table(tuple(rows), command)
