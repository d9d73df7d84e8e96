"""What a learner has done, in one small file on this machine: exercises passed, time, what comes next. Nothing leaves the machine."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ..checks.base import LISTENERS, Outcome, Problem
from .lessons import Lesson, all_lessons

OFF = ("off", "0", "no")
PAUSE = 3600.0  # seconds: a longer silence between two right answers counts as this much work
VERSION = 1


@dataclass
class Done:
    """What was done in one lesson.

    Args:
        passed: exercise -> when it was first right, ISO 8601 in UTC.
        seconds: from the set-up cell to the last right answer, long pauses cut.
    """

    passed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Progress:
    """All lessons together.

    Args:
        lessons: two digits -> what was done.
        recording: False after `ebmlearn progress --off`.
    """

    lessons: dict[str, Done] = field(default_factory=dict)
    recording: bool = True

    def right(self, lesson: Lesson) -> list[str]:
        """The exercises of a lesson that were right."""
        done = self.lessons.get(lesson.number, Done())
        return [name for name in lesson.exercises if name in done.passed]

    def finished(self, lesson: Lesson) -> bool:
        """Whether every checked exercise of a lesson was right."""
        return len(self.right(lesson)) == len(lesson.exercises)


def default_path() -> Path:
    """`progress.json` in the user's data folder, or the file that EBMLEARN_PROGRESS names."""
    own = os.environ.get("EBMLEARN_PROGRESS", "")
    if own and own.lower() not in OFF:
        return Path(own).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "ebmlearn" / "progress.json"


def _parse(text: str) -> Progress:
    data = json.loads(text)
    if data["version"] != VERSION:
        raise ValueError(f"expected version {VERSION}; got {data['version']}")
    lessons = {}
    for number, done in data["lessons"].items():
        lessons[str(number)] = Done({str(k): str(v) for k, v in done["passed"].items()}, float(done["seconds"]))
    return Progress(lessons, bool(data["recording"]))


def load(path: Path) -> Progress:
    """The progress in a file; empty when there is none.

    A file that cannot be read as progress is renamed (`progress.json.broken-...`), never overwritten, and a line says so.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Progress()
    except UnicodeDecodeError:
        text = ""
    try:
        return _parse(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        backup = path.with_name(f"{path.name}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        os.replace(path, backup)
        print(f"{path} is not a progress file ({type(error).__name__}); it is kept as {backup.name} and a new one begins")
        return Progress()


def as_json(progress: Progress) -> str:
    """The text of the file."""
    lessons = {n: {"passed": d.passed, "seconds": round(d.seconds, 1)} for n, d in sorted(progress.lessons.items())}
    return json.dumps({"version": VERSION, "recording": progress.recording, "lessons": lessons}, indent=1) + "\n"


def save(progress: Progress, path: Path) -> None:
    """Write the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        scratch.write_text(as_json(progress), encoding="utf-8")
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def switched_off() -> bool:
    """Whether this process must not record: EBMLEARN_PROGRESS=off, a test, or the notebook of a solution."""
    if os.environ.get("EBMLEARN_PROGRESS", "").lower() in OFF or "PYTEST_CURRENT_TEST" in os.environ:
        return True
    return "solutions" in Path(os.environ.get("JPY_SESSION_NAME", "")).parts  # set by the Jupyter server


def lesson_of(problem: Problem) -> str | None:
    """Two digits: the lesson whose checks hold the problem; None for one made elsewhere."""
    for name, module in list(sys.modules.items()):
        head, _, number = name.rpartition(".lesson")
        if head == "ebmlearn.checks" and any(value is problem for value in vars(module).values()):
            return number
    return None


class Recorder:
    """A listener of checks: writes right answers to the file; says once if it cannot, and rests."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.resting = False

    def __call__(self, problem: Problem, outcome: Outcome) -> None:
        if self.resting or not outcome or switched_off():
            return
        number = lesson_of(problem)
        if number is None:
            return
        now = time.monotonic()
        spent, self.since = min(now - self.since, PAUSE), now
        try:
            path = default_path()
            progress = load(path)  # again each time: another notebook may have written
            if not progress.recording:
                return
            done = progress.lessons.setdefault(number, Done())
            done.passed.setdefault(problem.name, datetime.now(UTC).isoformat(timespec="seconds"))
            done.seconds += spent
            save(progress, path)
        except OSError as error:
            self.resting = True
            print(f"progress is not recorded ({error}); EBMLEARN_PROGRESS may name another file, or be off")


def listen() -> None:
    """Record from now on, with the clock at zero; what the set-up cell of a lesson does."""
    LISTENERS[:] = [f for f in LISTENERS if not isinstance(f, Recorder)]
    if not switched_off():
        LISTENERS.append(Recorder())


def next_lesson(lessons: Mapping[str, Lesson], progress: Progress) -> Lesson | None:
    """Where to go on: a lesson that was begun, else the first whose prerequisites are finished; None when all is done.

    A prerequisite that is not in `lessons` counts as finished.
    """
    left = [lesson for _, lesson in sorted(lessons.items()) if not progress.finished(lesson)]
    begun = [lesson for lesson in left if progress.right(lesson)]
    ready = [lesson for lesson in left if all(n not in lessons or progress.finished(lessons[n]) for n in lesson.needs)]
    return next(iter([*begun, *ready, *left]), None)


def report(lessons: Mapping[str, Lesson], progress: Progress) -> str:
    """A table for people: exercises passed and minutes for each lesson, and the next step."""
    lines = []
    for number, lesson in sorted(lessons.items()):
        right, total = len(progress.right(lesson)), len(lesson.exercises)
        minutes = round(progress.lessons.get(number, Done()).seconds / 60)
        state = "done" if right == total else "begun" if right else ""
        spent = f"{minutes:4d} min" if right else " " * 8
        lines.append(f"{number}  {lesson.title[:64]:64s}  {right} of {total}  {spent}  {state}".rstrip())
    following = next_lesson(lessons, progress)
    if following is None:
        lines.append("\nEvery checked exercise was right. The open ones are left, and your own energies.")
    else:
        todo = next(name for name in following.exercises if name not in progress.right(following))
        lines.append(f"\nNext: {following.path.name}, exercise {todo} (q.{todo}.check).")
        missing = [n for n in following.needs if n in lessons and not progress.finished(lessons[n])]
        if missing:
            lines.append(f"It builds on {', '.join(missing)}, not finished yet.")
    return "\n".join(lines)


@dataclass
class Options:
    """Exercises passed, time, and the next step, from one file on this machine; nothing leaves it.

    EBMLEARN_PROGRESS names another file, or is off. Delete the file to begin anew.

    Args:
        json: print the file's contents instead of the table.
        map: also draw the course map with what is done, to this .png.
        off: stop recording.
        on: record again.
    """

    json: bool = False
    map: Path | None = None
    off: bool = False
    on: bool = False


def progress_command(argv: Sequence[str]) -> int:
    """What `ebmlearn progress` does.

    Raises:
        ValueError: --on together with --off.
    """
    import tyro

    from .map import write_map

    args: Options = tyro.cli(tyro.conf.FlagCreatePairsOff[Options], args=list(argv), prog="ebmlearn progress")
    if args.on and args.off:
        raise ValueError("expected --on or --off, got both")
    path = default_path()
    now = load(path)
    if args.on or args.off:
        now.recording = args.on
        save(now, path)
        print(f"right answers are {'' if args.on else 'not '}recorded from now on ({path})")
        return 0
    lessons = all_lessons()
    if args.map is not None:
        following = next_lesson(lessons, now)
        done = {n for n, lesson in lessons.items() if now.finished(lesson)}
        write_map(args.map, lessons, done=done, following=following.number if following else None)
    if args.json:
        print(as_json(now), end="")
        return 0
    print(report(lessons, now))
    state = "" if now.recording else " Recording is off; --on starts it again."
    print(f"\nKept in {path}; nothing leaves this machine.{state}" + (f" Map: {args.map}" if args.map else ""))
    return 0
