"""The documentation as the search finds it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from marketplace.config.search.guides import guides_found


def section(location: str, title: str, page: str, text: str = "") -> dict[str, object]:
    return {"location": location, "title": title, "path": ["Guides", page], "text": text}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    sections = [
        section("adr/1/", "Leases", "Decisions"),
        section("", "Budgets", "Home", "<p>Caps &amp; windows; see leases.</p>"),
        section("leases/#how", "How it works", "Leases"),
        section("cli/#w", "<code>waypost lease</code>", "Commands"),
    ]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "search.json").write_text(json.dumps({"items": sections}))
    return tmp_path


def test_titles_come_before_pages_and_those_before_texts(site: Path) -> None:
    found = guides_found(site, ["lease"], 9)
    assert [(guide.title, guide.url) for guide in found] == [
        ("waypost lease", "/docs/cli/#w"),
        ("Leases", "/docs/adr/1/"),
        ("How it works", "/docs/leases/#how"),
        ("Budgets", "/docs/"),
    ]
    assert len(guides_found(site, ["lease"], 2)) == 2


def test_every_word_must_be_there(site: Path) -> None:
    assert [guide.title for guide in guides_found(site, ["caps", "&"], 9)] == ["Budgets"]
    assert guides_found(site, ["caps", "nowhere"], 9) == []


def test_without_a_site_nothing_is_found(tmp_path: Path) -> None:
    assert guides_found(tmp_path, ["lease"], 9) == []
