"""Glossary, course map and links of the lessons: every word is used where the glossary says, every lesson is reached."""

import json
import re
from pathlib import Path

import pytest

from ebmlearn.course.lessons import all_lessons, sources
from tools.course_map import out_of_step

ROOT = Path(__file__).resolve().parents[1]
LESSONS = all_lessons(ROOT / "lessons")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ENTRY = re.compile(r"^- \*\*(?P<term>[^*]+)\*\*(?: \((?P<alias>[^)]+)\))?: (?P<says>.+)$", re.M)
ENTRIES = {m["term"]: m for m in ENTRY.finditer(GLOSSARY)}


def words_of(path):
    """The prose of a notebook, lower case, white space as one blank."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return " ".join(" ".join(sources(c) for c in cells if c["cell_type"] == "markdown").lower().replace("*", "").split())


def test_the_glossary_is_a_sorted_list_of_sentences():
    assert len(ENTRIES) >= 50 and len(ENTRIES) == GLOSSARY.count("\n- ")
    names = [re.sub(r"[^a-z]", "", name.lower()) for name in ENTRIES]
    assert names == sorted(names)


@pytest.mark.parametrize("term", ENTRIES)
def test_every_word_is_used_in_the_lesson_that_it_links(term):
    entry = ENTRIES[term]
    linked = re.findall(r"\]\(\.\./lessons/(\S+?)\)", entry["says"])
    assert linked, f"{term} links no lesson"
    words = words_of(ROOT / "lessons" / linked[-1])
    names = [term, *([entry["alias"]] if entry["alias"] else [])]
    assert any(name.lower() in words for name in names), f"{linked[-1]} never says {names}"


def test_every_lesson_has_a_word_in_the_glossary():
    without = [n for n, lesson in LESSONS.items() if f"../lessons/{lesson.path.name}" not in GLOSSARY]
    assert not without, f"no word of lessons {without}"


@pytest.mark.parametrize("number", LESSONS)
def test_every_lesson_links_letters_words_and_map(number):
    student = LESSONS[number].path
    for path, up in ((student, "../"), (student.parent / "solutions" / student.name, "../../")):
        text = "\n".join(sources(c) for c in json.loads(path.read_text(encoding="utf-8"))["cells"])
        for page in ("notation.md", "glossary.md", "course_map.md"):
            assert f"]({up}docs/{page})" in text, f"{path.name} does not link {page}"


def test_the_course_map_shows_these_lessons():
    assert out_of_step(LESSONS, ROOT / "docs") == [], "run python -m tools.course_map"


def test_an_old_course_map_is_seen(tmp_path):
    for name in ("course_map.md", "course_map.png"):
        (tmp_path / name).write_bytes((ROOT / "docs" / name).read_bytes())
    assert out_of_step(LESSONS, tmp_path) == []
    fewer = {n: lesson for n, lesson in LESSONS.items() if n != "01"}
    assert out_of_step(fewer, tmp_path) == ["course_map.md", "course_map.png"]
