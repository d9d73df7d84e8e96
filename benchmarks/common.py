"""What every benchmark shares: interleaved timing, the machine in words, measured ceilings, one table."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def interleaved(ways: dict[str, Callable[[], object]], *, repeats: int = 5) -> dict[str, float]:
    """Median wall seconds of each way; one warm-up each, then the ways in turn, so that a drifting machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for fn in ways.values():
        fn()
    for _ in range(repeats):
        for name, fn in ways.items():
            synchronise()
            begin = time.perf_counter()
            fn()
            synchronise()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(v) for name, v in times.items()}


def machine() -> str:
    """Processor, threads, versions, and the accelerator if there is one."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    text = f"{cpu}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}"
    if torch.cuda.is_available():
        text += f", {torch.cuda.get_device_name()}"
    return text


def matmul_ceiling(device: str = "cpu", dtype: torch.dtype = torch.float32, n: int = 1024, *, repeats: int = 10) -> float:
    """Measured FLOP/s of an n x n matrix product on random data."""
    a, b = torch.randn(n, n, device=device, dtype=dtype), torch.randn(n, n, device=device, dtype=dtype)
    seconds = interleaved({"matmul": lambda: a @ b}, repeats=repeats)["matmul"]
    return 2 * n**3 / seconds


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(r) + " |" for r in rows])


def write(name: str, title: str, body: str, command: str) -> None:
    """Print a result and keep it in benchmarks/<name>.md with the machine and the command."""
    text = f"# {title}\n\nMachine: {machine()}. Command: `{command}`\n\n{body}\n"
    (ROOT / "benchmarks" / f"{name}.md").write_text(text)
    print(text)
