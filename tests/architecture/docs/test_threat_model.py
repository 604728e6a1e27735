"""Each claim of the threat model names its tests."""

import re

from tests.architecture import pages
from tests.architecture.pages import DOCS, ROOT

THREAT_MODEL = DOCS / "explanation" / "threat-model.md"


def claims() -> list[tuple[str, str]]:
    """Each claim with the test that it names; of the tables whose second column is tests."""
    return [
        (cells[0], pages.code(cells[1])[0] if pages.code(cells[1]) else "")
        for cells in pages.rows(THREAT_MODEL)
        if len(cells) == 2
    ]


def test_each_claim_of_the_threat_model_names_a_test_that_is_there() -> None:
    assert len(claims()) > 30
    for claim, test in claims():
        path, _, name = test.partition("::")
        source = ROOT / path
        assert source.is_file(), claim
        assert re.search(rf"^(async )?def {name}\(", source.read_text(), re.MULTILINE), claim
