"""The syllabus: its links lead somewhere, and the number that answers a question is on the untouched page."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

import pytest

from agents.cli.course.marking import load
from tests.tutorials.notebooks import NOTEBOOKS, TUTORIALS, shown

SYLLABUS = (TUTORIALS / "README.md").read_text()
ROW = re.compile(r"^\| (\d+) \| (.+?) \| \[(\d+)\]\((\S+)\) \| ([\d, ]+) \| (.+?) \| (.+?) \|$", re.MULTILINE)
NUMBER = re.compile(r"(?<![\w.])-?[\d,]*\.?\d+(?:e-?\d+)?(?!\w)")


class Question(NamedTuple):
    """A row of the table."""

    n: str
    question: str
    page: str
    file: str
    section: str
    number: str
    change: str


QUESTIONS = [Question(*row) for row in ROW.findall(SYLLABUS)]


@cache
def text(name: str) -> str:
    return shown(load(TUTORIALS / name))[0]


def test_the_24_questions() -> None:
    assert [int(question.n) for question in QUESTIONS] == list(range(1, 25))


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.n)
def test_the_number_is_on_the_page(question: Question) -> None:
    assert f"{int(question.page):02}" == question.file[:2]
    numbers = [x for x in NUMBER.findall(question.number) if len(x) > 1]
    assert numbers, question.number
    assert [x for x in numbers if x not in text(question.file)] == []
    for section in question.section.split(","):
        assert re.search(rf"## {section.strip()}\. ", (TUTORIALS / question.file).read_text())


def test_links() -> None:
    for document in ("README.md", "TEACHING.md"):
        for link in re.findall(r"\]\(([^)]+)\)", (TUTORIALS / document).read_text()):
            if not link.startswith("http"):
                assert (TUTORIALS / link).exists(), link
    assert all(f"]({path.name})" in SYLLABUS for path in NOTEBOOKS)
