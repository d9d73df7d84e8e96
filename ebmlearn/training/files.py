"""Files of a run that are whole at every moment: written beside and renamed, or grown by one row in one write; and who made them."""

from __future__ import annotations

import csv
import io
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write; `path` has the new content once the block ends without an error, and the old one until then.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with atomic(path) as file:
        ...     _ = file.write(b"whole")
        >>> path.read_text(), [p.name for p in path.parent.iterdir()]
        ('whole', ['a.txt'])
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(scratch, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_atomic(path: Path, body: bytes | str) -> None:
    """Write a whole file at once."""
    with atomic(path) as file:
        file.write(body.encode() if isinstance(body, str) else body)


def remove_scratch(folder: Path) -> None:
    """Delete what a killed process had begun to write and never renamed."""
    for scratch in Path(folder).glob(".*.part"):
        scratch.unlink(missing_ok=True)


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Append one row to a CSV file, with a header when it is new."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(row))
    if not path.exists():
        writer.writeheader()
        write_atomic(path, text.getvalue())
        text.seek(0)
        text.truncate()
    writer.writerow(row)
    with open(path, "ab", buffering=0) as file:
        file.write(text.getvalue().encode())


def drop_rows_after(path: Path, step: int) -> None:
    """Remove the rows past `step` (those after the checkpoint that a killed run left), atomically."""
    if not path.exists():
        return
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    text = io.StringIO()
    csv.writer(text).writerows(rows[:1] + [r for r in rows[1:] if len(r) == len(rows[0]) and int(r[0]) <= step])
    write_atomic(path, text.getvalue())


def scalar_writer(folder: Path, step: int) -> Any:
    """A TensorBoard writer into `folder`; what an earlier run logged past `step` is hidden.

    Raises:
        ValueError: the package tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError("--tensorboard needs the package tensorboard: pip install tensorboard, or leave the flag out") from error
    return SummaryWriter(str(folder), purge_step=step + 1)  # type: ignore[no-untyped-call]


def commit() -> str:
    """The commit of the checkout that this package runs from, with "-dirty" where files differ; the version where there is none."""
    from .. import __version__

    root = Path(__file__).parents[2]
    if (root / ".git").exists():
        words = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
    return f"ebmlearn {__version__}"


def session(device: torch.device, *, processes: int, command: str, step: int) -> dict[str, str | int | float]:
    """Who trains: command, commit, device, number of processes, versions, first step; `state.run` keeps last step and seconds in it."""
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})"
    return {
        "command": command,
        "commit": commit(),
        "device": place,
        "processes": processes,
        "torch": str(torch.__version__),
        "first_step": step,
        "last_step": step,
        "seconds": 0.0,
    }
