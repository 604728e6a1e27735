"""What the how-to says that an operator has to make."""

from functools import cache

from tests.architecture import pages
from tests.architecture.pages import DOCS

HOW_TO = DOCS / "how-to" / "run-in-a-cluster.md"


@cache
def documented(kind: str) -> frozenset[str]:
    """Of the how-to's tables: `secret` or `claim` names the first column."""
    rows = pages.rows(HOW_TO)
    if kind == "claim":
        return frozenset(pages.code(row[0])[0] for row in rows if row[1] == "claim")
    return frozenset(
        f"{pages.code(row[0])[0]}/{key}"
        for row in rows
        if row[0].startswith("`") and row[1] != "claim"
        for key in pages.code(row[1])
    )
