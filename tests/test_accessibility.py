"""Every notebook, page and drawing call passes the lint; the lint sees planted faults; the palette is safe."""

import base64
import io
import itertools
import json

import numpy as np
import pytest
from matplotlib import colors
from PIL import Image

from ebmlearn import viz
from tools.accessibility import (
    ROOT,
    colour_problems,
    dark_page_problems,
    everything,
    heading_problems,
    headings,
    link_problems,
    main,
    notebook_problems,
    page_problems,
    picture_problems,
    problems,
    slug,
)

FILES = everything()


@pytest.mark.parametrize("kind", [".ipynb", ".md", ".py"])
def test_the_course_passes(kind):
    chosen = [path for path in FILES if path.suffix == kind]
    bad = [f"{path.relative_to(ROOT)}: {line}" for path in chosen for line in problems(path)]
    assert len(chosen) >= 10 and not bad, "\n".join(bad)


def png(colour, mode="RGB"):
    out = io.BytesIO()
    Image.new(mode, (4, 4), colour).save(out, format="png")
    return base64.b64encode(out.getvalue()).decode()


def cell(kind, source, *tags, outputs=()):
    made = {"cell_type": kind, "source": source, "metadata": {"tags": list(tags)}}
    return made | ({"outputs": list(outputs)} if kind == "code" else {})


def shown(data, **metadata):
    return {"output_type": "display_data", "data": data, "metadata": metadata}


WORDS = {"image/png": {"alt": "A line that rises from left to right."}}
FIGURE = cell("code", "draw()", "figure", outputs=[shown({"image/png": png("white")}, **WORDS)])
WIDGET = cell("code", "Explorer()", "widget", outputs=[shown({"text/plain": "Run this cell"})])
TITLE = cell("markdown", "# 98 · Title")


def notebook(tmp_path, *cells, **metadata):
    path = tmp_path / "98_x.ipynb"
    path.write_text(json.dumps({"cells": [TITLE, *cells], "metadata": metadata}))
    return notebook_problems(path)


@pytest.mark.parametrize(
    "cells, fault",
    [
        ([FIGURE, WIDGET], None),
        ([WIDGET], "without a figure"),
        ([FIGURE, WIDGET, WIDGET], "without a figure"),
        ([cell("code", "draw()", "figure", outputs=[shown({"image/png": png("white")})])], "picture without words"),
        (
            [cell("code", "draw()", outputs=[shown({"image/png": png("white")}, **{"image/png": {"alt": "figure"}})])],
            "picture without words",
        ),
        ([cell("code", "d()", outputs=[shown({"image/png": png((0, 0, 0, 0), "RGBA")}, **WORDS)])], "not light and opaque"),
        ([cell("code", "d()", outputs=[shown({"image/svg+xml": "<svg/>"})])], "expected a PNG"),
        ([cell("code", "d()", outputs=[shown({"text/html": "<img src='a.png'>"})])], "without words"),
        ([cell("code", "d()", outputs=[shown({"application/vnd.jupyter.widget-view+json": {}})])], "view of a widget"),
        ([cell("markdown", "### Too deep")], "below one of level 1"),
        ([cell("markdown", "# Again")], "second title"),
        ([cell("markdown", "[a](nowhere.md)")], "no such file"),
    ],
)
def test_notebooks(tmp_path, cells, fault):
    found = notebook(tmp_path, *cells)
    assert (len(found) == 1 and fault in found[0]) if fault else found == [], found


def test_widget_state(tmp_path):
    assert notebook(tmp_path, widgets={"state": {}}) == ["stores the state of widgets"]


def test_headings():
    assert headings("# A\n```\n# comment\n```\n## B `c`\n") == [(1, "A"), (2, "B `c`")]
    assert heading_problems([(1, "a"), (2, "b"), (3, "c"), (2, "d")]) == []
    assert len(heading_problems([(2, "a")])) == 1 and len(heading_problems([])) == 1
    assert slug("3 · OR is a log-sum, and `needs` log Z") == "3--or-is-a-log-sum-and-needs-log-z"


@pytest.mark.parametrize(
    "text, fault",
    [
        ("[a](https://arxiv.org/abs/1)", None),
        ("[a](page.md#b-c)", None),
        ("[a](#b-c)", None),
        ("`x[i](j)` and $f[a](b)$", None),
        ("[a](http://arxiv.org/abs/1)", "expected https"),
        ("[a](https://nowhere)", "expected https"),
        ("[a](other.md)", "no such file"),
        ("[a](page.md#c)", "no heading"),
        ("[a](#c)", "no heading"),
    ],
)
def test_links(tmp_path, text, fault):
    page = tmp_path / "page.md"
    page.write_text("# A\n\n## B c\n")
    found = link_problems(text, page)
    assert (len(found) == 1 and fault in found[0]) if fault else found == [], found


def test_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    assert picture_problems("![Two wells and the chains in them](a.png)", tmp_path) == []
    assert "has no words" in picture_problems("![](a.png)", tmp_path)[0]
    assert "has no words" in picture_problems('<img src="a.png">', tmp_path)[0]
    assert "is not there" in picture_problems("![Two wells and the chains in them](b.png)", tmp_path)[0]
    (tmp_path / "p.md").write_text("Words.\n\n![](a.png)")
    assert len(page_problems(tmp_path / "p.md")) == 2


def test_dark_page():
    assert (
        dark_page_problems(png("white")) == []
        and dark_page_problems(png("black"))
        and dark_page_problems(png((255, 255, 255, 0), "RGBA"))
    )


@pytest.mark.parametrize(
    "code, faults",
    [
        ("ax.plot(x, y, 'r--')", 1),
        ("ax.plot(x, y, color='red'); ax.scatter(x, y, c='g')", 2),
        ("ax.imshow(z, cmap='jet')", 1),
        ("ax.bar(x, y, color=['tab:green' if a else BLUE for a in b])", 1),
        ("ax.plot(x, y, color=BLUE); ax.plot(x, y, '--', color='C0'); ax.imshow(z, cmap='viridis'); f('red')", 0),
    ],
)
def test_colours_in_code(code, faults):
    assert len(colour_problems(code)) == faults


def test_the_command(tmp_path, capsys):
    (tmp_path / "p.md").write_text("Words.\n")
    assert main([str(tmp_path / "p.md")]) == 1 and "does not begin with a title" in capsys.readouterr().out
    (tmp_path / "p.md").write_text("# Words\n")
    assert main([str(tmp_path / "p.md")]) == 0


# Linear RGB as protanopes and deuteranopes see it: Digital video colourmaps for checking the legibility of displays by dichromats
# (Viénot, Brettel, Mollon, 1999)
SEEN_BY = {
    "all": np.eye(3),
    "protanopes": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "deuteranopes": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
}


def lab(colour, matrix):
    """CIE L*a*b* of a colour as somebody sees it."""
    c = np.array(colors.to_rgb(colour))
    linear = np.clip(matrix @ np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def nearest(palette, matrix):
    return min(np.linalg.norm(lab(a, matrix) - lab(b, matrix)) for a, b in itertools.combinations(palette, 2))


@pytest.mark.parametrize("who", SEEN_BY)
def test_the_first_colours_differ_for_everybody(who):
    assert nearest([viz.BLUE, viz.ORANGE, viz.GREEN, viz.RED], SEEN_BY[who]) > 12  # about 2 is just noticeable


def test_the_plain_red_and_green_of_matplotlib_do_not():
    assert (
        nearest(["tab:red", "tab:green"], SEEN_BY["all"]) > 100 > 12 > nearest(["tab:red", "tab:green"], SEEN_BY["deuteranopes"])
    )
