"""The process that runs a submission: `python -P grading_child.py READ_FD WRITE_FD`. It answers questions and knows no marks.

Confines itself before PyTorch starts its threads, then reads one JSON message a line and writes one answer a line.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import sys
import warnings
from typing import Any

# Landlock (Linux): rights of a process over files, TCP and signals, which it gives up for itself and its children.
_READ_FILE = 1 << 2
_WRITES = (1 << 1) | sum(1 << i for i in range(4, 15))  # write, remove, make, rename across folders, truncate
_TCP = 0b11  # bind, connect
_SCOPES = 0b11  # abstract sockets, signals


def _no_new_privileges() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(1, 9, 0, 0, 0)  # killed when the grader ends
    libc.prctl(38, 1, 0, 0, 0)
    return libc


def confine(readable: list[str], writable: str) -> str:
    """Give up every file outside of two lists, TCP, and signals to processes outside; say how much of it this kernel can do."""
    if not sys.platform.startswith("linux"):
        return "none: not Linux"
    libc = _no_new_privileges()
    abi = libc.syscall(444, None, 0, 1)
    if abi < 1:
        return "none: this kernel has no Landlock"
    writes = _WRITES & ~(1 << 13 if abi < 2 else 0) & ~(1 << 14 if abi < 3 else 0)
    handled = [ctypes.c_uint64(_READ_FILE | writes), ctypes.c_uint64(_TCP), ctypes.c_uint64(_SCOPES)]
    n = 1 + (abi >= 4) + (abi >= 6)
    attributes = (ctypes.c_uint64 * n)(*[v.value for v in handled[:n]])
    ruleset = libc.syscall(444, attributes, ctypes.c_size_t(8 * n), 0)
    if ruleset < 0:
        return "none: Landlock refused"
    for path, rights in [(p, _READ_FILE) for p in readable] + [(writable, _READ_FILE | writes), ("/dev/null", _READ_FILE | 2)]:
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            if not os.path.isdir(path):
                rights &= _READ_FILE | 2
            rule = rights.to_bytes(8, sys.byteorder) + fd.to_bytes(4, sys.byteorder)
            libc.syscall(445, ruleset, 1, rule, 0)
            os.close(fd)
    done = libc.syscall(446, ruleset, 0)
    os.close(ruleset)
    if done != 0:
        return "none: Landlock refused"
    return "Landlock: files" + (", TCP" if n > 1 else "") + (", signals" if n > 2 else "")


def limits() -> None:
    """No core dumps, no file above 64 MiB."""
    for kind, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 64 << 20)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def said(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}{': ' + lines[0][:200] if lines else ''}"


def run_cells(cells: list[str], namespace: dict[str, Any]) -> list[list[Any]]:
    """Run the code in order; a cell that raises is noted and the next one runs, as in a notebook."""
    bad = []
    for i, source in enumerate(cells):
        lines = [line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))]
        try:
            exec(compile("\n".join(lines), f"<cell {i}>", "exec"), namespace)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            bad.append([i, said(error)])
    return bad


def answer(message: dict[str, Any], namespace: dict[str, Any]) -> dict[str, Any]:
    from ebmlearn.course.wire import decode, encode

    if message["op"] == "run":
        return {"errors": run_cells(message["cells"], namespace)}
    f = namespace.get(message["name"])
    if f is None or f is Ellipsis:
        return {"value": {"missing": True}}
    try:
        return {"value": encode(f(*decode(message["args"], energies=True), **message["kwargs"]))}
    except NotImplementedError:
        return {"value": {"missing": True}}
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return {"error": said(error)}


def main() -> None:
    reader, writer = os.fdopen(int(sys.argv[1]), "rb"), os.fdopen(int(sys.argv[2]), "wb")

    def send(message: dict[str, Any]) -> None:
        writer.write(json.dumps(message).encode() + b"\n")
        writer.flush()

    first = json.loads(reader.readline())
    limits()
    confinement = confine(first["readable"], first["writable"])
    import torch

    import ebmlearn.course.wire  # noqa: F401  before the clock of the submission starts

    torch.manual_seed(first["seed"])
    warnings.simplefilter("ignore")
    namespace: dict[str, Any] = {"__name__": "__main__", "display": lambda *values, **options: None}
    send({"id": first["id"], "confinement": confinement})
    for line in reader:
        message = json.loads(line)
        send({"id": message["id"], **answer(message, namespace)})


if __name__ == "__main__":
    main()
