"""Pages: their links, snippets and place on the site."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from markdown import Markdown
from markdown_it import MarkdownIt

from deploy.docs.__main__ import PAGES as TOP_PAGES
from marketplace.config.navigation import SECTIONS
from tests.architecture import pages
from tests.architecture.pages import DOCS, ROOT, Snippet


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in pages.links(page):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_relative_to(ROOT), f"{target} leaves the repository"
        assert linked.exists(), f"{target} is not there"
        assert not anchor or anchor in pages.anchors(linked), f"{target} has no such heading"


@pytest.mark.parametrize("snippet", pages.snippets(), ids=str)
def test_a_snippet_is_well_formed(snippet: Snippet) -> None:
    if snippet.language == "python":
        compile(snippet.text, str(snippet.page), "exec")
    elif snippet.language == "json":
        json.loads(snippet.text)
    elif snippet.language == "sh":
        subprocess.run(["bash", "-n"], input=snippet.text.encode(), check=True, timeout=300)
    elif snippet.language == "yaml":
        assert yaml.safe_load(snippet.text)
    else:
        assert snippet.language in {"js", "mermaid", "sql", "text"}, "say what the snippet is"


SAME_ON_THE_SITE = ("li", "ol", "ul", "pre", "table", "tr", "strong", "em")


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_reads_the_same_on_the_site_as_in_the_repository(page: Path) -> None:
    """The site's Markdown wants a blank line before a list, and four spaces inside one."""
    text = page.read_text()
    repository = MarkdownIt("commonmark").enable("table").render(text)
    site = Markdown(extensions=["tables", "pymdownx.superfences"]).convert(text)
    for tag in SAME_ON_THE_SITE:
        here, there = (len(re.findall(rf"<{tag}[ >]", html)) for html in (repository, site))
        assert here == there, f"<{tag}>"


def test_the_site_has_every_page_once() -> None:
    def leaves(entries: object) -> Iterator[str]:
        if isinstance(entries, str):
            yield entries
        elif isinstance(entries, list | dict):
            for entry in entries.values() if isinstance(entries, dict) else entries:
                yield from leaves(entry)

    site = tomllib.loads((ROOT / "deploy" / "docs" / "zensical.toml").read_text())
    expected = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} | set(TOP_PAGES)
    # The index of decisions leads to them.
    expected -= {name for name in expected if re.match(r"adr/\d", name)}
    assert sorted(leaves(site["project"]["nav"])) == sorted(expected)


def test_a_page_of_the_product_leads_to_its_page_here() -> None:
    guides = {entry.guide for section in SECTIONS for entry in section.entries if entry.guide}
    assert guides
    for guide in guides:
        path, _, anchor = guide.partition("/#")
        page = DOCS / f"{path.rstrip('/')}.md"
        assert page.exists(), guide
        assert not anchor or anchor in pages.anchors(page), guide


def test_decisions_are_numbered_listed_and_complete() -> None:
    decisions = sorted((DOCS / "adr").glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in decisions] == list(range(1, len(decisions) + 1))
    assert set(pages.links(DOCS / "adr" / "README.md")) == {page.name for page in decisions}
    for page in decisions:
        assert {"context", "decision", "consequences"} <= pages.anchors(page), page.name


def test_every_page_is_reached_from_the_index() -> None:
    reached: set[Path] = set()
    front = {ROOT / "README.md"}
    while front:
        reached |= front
        linked = {
            (page.parent / target.partition("#")[0]).resolve()
            for page in front
            for target in pages.links(page)
        }
        front = {page for page in linked if page.suffix == ".md" and page.exists()} - reached
    assert set(pages.pages()) <= reached
