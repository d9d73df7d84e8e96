"""The course map: lessons as boxes, an arrow from each to those that build on it."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..viz import BLUE, GREY
from .lessons import Lesson

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def arrows(lessons: Mapping[str, Lesson]) -> list[tuple[str, str]]:
    """(prerequisite, lesson) pairs without those that follow from others: 00 -> 02 is left out beside 00 -> 01 -> 02.

    Raises:
        ValueError: lessons that need each other in a circle.
    """
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(sorted(lessons))
    graph.add_edges_from((need, n) for n, lesson in lessons.items() for need in lesson.needs if need in lessons)
    if not nx.is_directed_acyclic_graph(graph):
        raise ValueError(f"expected prerequisites without a circle; got {nx.find_cycle(graph)}")
    return sorted(nx.transitive_reduction(graph).edges)


def columns(lessons: Mapping[str, Lesson]) -> list[list[str]]:
    """The lessons by the length of the longest way to them; inside a column near what they build on."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(sorted(lessons))
    graph.add_edges_from(arrows(lessons))
    place: dict[str, float] = {}
    out = []
    for generation in nx.topological_generations(graph):
        above = {n: [place[m] for m in graph.predecessors(n)] for n in generation}
        column = sorted(generation, key=lambda n: (sum(above[n]) / max(1, len(above[n])), n))
        place |= {n: i - (len(column) - 1) / 2 for i, n in enumerate(column)}
        out.append(column)
    return out


def words(lessons: Mapping[str, Lesson]) -> str:
    """The map as one sentence a lesson; the text of the picture for those who do not see it."""
    lines = []
    for number, lesson in sorted(lessons.items()):
        needs = [n for n in lesson.needs if n in lessons]
        lines.append(f"{number} {lesson.title}" + (f", after {', '.join(needs)}." if needs else ", the beginning."))
    return " ".join(lines)


def course_map(
    lessons: Mapping[str, Lesson], ax: Axes, *, done: Collection[str] = (), following: str | None = None, width: int = 20
) -> Axes:
    """Draw the map; finished lessons carry a tick and a dark box, the next one a thick frame.

    Args:
        lessons: by number, see `all_lessons`.
        ax: where to draw; give it about 2.4 inches a column and 0.9 a row, see `columns`.
        done: numbers of finished lessons.
        following: number of the lesson to take next.
        width: letters in a line of a box.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from ebmlearn.course.lessons import all_lessons
        >>> ax = course_map(all_lessons(), Figure().subplots(), done={"00"}, following="01")
        >>> [t.get_text().replace("\\n", " ") for t in ax.texts if t.get_text().startswith("00")]
        ['00 ✓ Set-up and tour']
    """
    layout = columns(lessons)
    place = {n: (float(i), (len(column) - 1) / 2 - j) for i, column in enumerate(layout) for j, n in enumerate(column)}
    boxes = {}
    for number, (x, y) in place.items():
        title = lessons[number].title.split(":")[0].strip()
        lines = "\n".join(textwrap.wrap(title, width))
        ticked = number in done
        frame = {
            "boxstyle": "round,pad=0.35",
            "facecolor": BLUE if ticked else "white",
            "edgecolor": "black",
            "linewidth": 3.0 if number == following else 0.8,
        }
        text = f"{number}{' ✓' if ticked else ''}\n{lines}"
        boxes[number] = ax.text(
            x, y, text, ha="center", va="center", fontsize=8, color="white" if ticked else "black", bbox=frame, zorder=3
        )
    for need, number in arrows(lessons):
        ax.annotate(
            "",
            xy=place[number],
            xytext=place[need],
            arrowprops={
                "arrowstyle": "-|>",
                "color": GREY,
                "patchA": boxes[need].get_bbox_patch(),
                "patchB": boxes[number].get_bbox_patch(),
                "shrinkA": 1,
                "shrinkB": 1,
                "connectionstyle": f"arc3,rad={0.0 if place[number][0] - place[need][0] < 1.5 else 0.18}",
            },
        )
    tallest = max(len(column) for column in layout)
    ax.set(xlim=(-0.6, len(layout) - 0.4), ylim=(-tallest / 2, tallest / 2))
    ax.set_axis_off()
    return ax


def map_size(lessons: Mapping[str, Lesson]) -> tuple[float, float]:
    """Inches that the map needs."""
    layout = columns(lessons)
    return 1.9 * len(layout), 0.95 * max(len(column) for column in layout)


def write_map(path: Path, lessons: Mapping[str, Lesson], *, done: Collection[str] = (), following: str | None = None) -> None:
    """Write the map as a PNG whose "Description" says the same in words."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=map_size(lessons), layout="constrained")
    FigureCanvasAgg(figure)
    course_map(lessons, figure.subplots(), done=done, following=following)
    figure.savefig(path, dpi=150, facecolor="white", metadata={"Description": words(lessons), "Software": None})
