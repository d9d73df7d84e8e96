"""Run every experiment, or those named: `python -m experiments [NAME ...]`; `--list` says what there is.

Run together, those that need arguments of their own (image sets, a GPU) are named and left out.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time
from pathlib import Path


def names() -> list[str]:
    return sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if not m.name.startswith("_"))


def main() -> int:
    every = not sys.argv[1:]
    wanted = [a for a in sys.argv[1:] if not a.startswith("-")] or names()
    unknown = sorted(set(wanted) - set(names()))
    if unknown:
        print(f"no experiment named {', '.join(unknown)}; there are: {', '.join(names())}")
        return 2
    sys.argv = sys.argv[:1] + [a for a in sys.argv[1:] if a.startswith("-")]
    for name in wanted:
        module = importlib.import_module(f"experiments.{name}")
        about = (module.__doc__ or "").strip().splitlines()[0]
        print(f"{name}: {about}", flush=True)
        begin = time.monotonic()
        try:
            module.main()
        except SystemExit as stop:  # argparse leaves with 2 when an argument is missing
            if not every or stop.code != 2:
                raise
            print(f"{name}: needs arguments, see python -m experiments.{name} --help; left out")
            continue
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    if "--list" in sys.argv:
        for name in names():
            module = importlib.import_module(f"experiments.{name}")
            print(f"{name}: {(module.__doc__ or '').strip().splitlines()[0]}")
        sys.exit(0)
    sys.exit(main())
