"""Reading the documentation: its pages, tables, links and snippets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A fenced block of a page, without its indentation."""

    page: Path
    language: str
    text: str

    def __str__(self) -> str:
        first_line = self.text.strip().splitlines()[0]
        return f"{self.page.relative_to(ROOT)}: {self.language}: {first_line}"


def pages() -> list[Path]:
    """Every Markdown page that is for people."""
    return [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]


def snippets() -> list[Snippet]:
    """Every fenced block of every page."""
    return [
        Snippet(page, match["language"], _dedent(match["text"], len(match["indent"])))
        for page in pages()
        for match in _FENCE.finditer(page.read_text())
    ]


def links(page: Path) -> list[str]:
    """Targets of a page's links and images, but for those of other sites."""
    targets = [match["target"] for match in _LINK.finditer(prose(page))]
    return [target for target in targets if not target.startswith(("http://", "https://"))]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = [match["title"] for match in _HEADING.finditer(prose(page))]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def rows(page: Path) -> Iterator[list[str]]:
    """The cells of every table row of a page, headings and rules left out."""
    lines = prose(page).splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("|") and not line.startswith("|-") and not following.startswith("|-"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def code(text: str) -> list[str]:
    """What stands between backticks."""
    return _CODE.findall(text)


def _dedent(text: str, width: int) -> str:
    return "".join(line[width:] for line in text.splitlines(keepends=True))
