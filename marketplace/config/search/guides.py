"""The sections of the documentation, out of the index that its site is built with."""

import html
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
from django.utils.html import strip_tags


class _Item(msgspec.Struct):
    location: str
    title: str
    text: str = ""
    path: list[str] = []


class _Index(msgspec.Struct):
    items: list[_Item]


HISTORY = ("adr/", "CHANGELOG/")
"""Where pages say what was decided and changed: seldom what somebody looks for."""


@dataclass(frozen=True, slots=True)
class Guide:
    """A section; ``page`` is the title of the page that it is on, ``text`` is in lower case."""

    title: str
    page: str
    url: str
    text: str


@cache
def guides(site: Path) -> tuple[Guide, ...]:
    """The sections of a built site, in its order, `HISTORY` last; none where it is not built."""
    index = site / "docs" / "search.json"
    if not index.exists():
        return ()
    items = msgspec.json.decode(index.read_bytes(), type=_Index).items
    items.sort(key=lambda item: item.location.startswith(HISTORY))
    return tuple(
        Guide(
            title=_plain(item.title),
            page=_plain(item.path[-1]) if item.path else "",
            url=f"/docs/{item.location}",
            text=_plain(item.text).casefold(),
        )
        for item in items
    )


def guides_found(site: Path, words: list[str], most: int) -> list[Guide]:
    """The first sections that have all words: in their title, on their page's, in their text."""
    ranked: list[list[Guide]] = [[], [], []]
    for guide in guides(site):
        title = guide.title.casefold()
        headings = f"{title} {guide.page.casefold()}"
        for rank, where in enumerate((title, headings, f"{headings} {guide.text}")):
            if all(word in where for word in words):
                ranked[rank].append(guide)
                break
    return [guide for rank in ranked for guide in rank][:most]


def _plain(marked_up: str) -> str:
    return html.unescape(strip_tags(marked_up))
