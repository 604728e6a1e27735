"""What no template may have, and what each must."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings as django_settings

pytestmark = pytest.mark.usefixtures("kept_shop")
TEMPLATES = Path(django_settings.BASE_DIR) / "frontend" / "templates"


def test_no_template_has_a_script_or_a_style_of_its_own() -> None:
    inline = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=\"|javascript:")
    found = [
        f"{path.relative_to(TEMPLATES)}: {match[0]}"
        for path in TEMPLATES.rglob("*.html")
        for match in inline.finditer(path.read_text())
    ]
    assert found == []


def test_counts_are_written_with_their_thousands_apart() -> None:
    counts = (
        "accounts|calls|completed|context_tokens_max|failed|faults|images|leases|rows|samples"
        "|tokens|tokens_in|tokens_out|tokens_total|transfers"
    )
    bare = re.compile(rf">\{{\{{ [a-z_.]+\.(?:{counts}) \}}\}}")
    found = [
        f"{path.relative_to(TEMPLATES)}: {match[0]}"
        for path in TEMPLATES.rglob("*.html")
        for match in bare.finditer(path.read_text())
    ]
    assert found == []


def test_each_value_of_a_stacked_row_has_its_columns_name() -> None:
    """On a phone, where no head says it."""
    nameless = []
    for path in TEMPLATES.rglob("*.html"):
        for table in re.findall(r'<table class="stacked">.*?</table>', path.read_text(), re.DOTALL):
            for row in re.findall(r"<tr.*?</tr>", table.split("</thead>")[1], re.DOTALL):
                cells = re.findall(r"<t[dh]\b(?:\s(?:[^>{]|\{%.*?%\})*)?>", row)[1:]
                nameless += [(path.name, cell) for cell in cells if "data-label" not in cell]
    assert nameless == []


def test_every_table_names_its_columns_or_its_rows() -> None:
    """A screen reader says a cell's header with it, and knows by its scope which cells it is of."""
    wrong = []
    tables = 0
    for path in TEMPLATES.rglob("*.html"):
        for table in re.findall(r"<table\b.*?</table>", path.read_text(), re.DOTALL):
            tables += 1
            heads = re.findall(r"<th\b[^>]*>", table)
            if not heads or not all('scope="' in head for head in heads):
                wrong.append((path.name, table[:100]))
            # A corner above the rows' names is the only cell of a head that names nothing.
            if table.partition("</thead>")[0].count("<td") > 1:
                wrong.append((path.name, table[:100]))
    assert wrong == []
    assert tables > 100
