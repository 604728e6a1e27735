"""Words with their meaning a click away."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.template import Context, Template

from marketplace.catalog.templatetags.glossary import MEANINGS


def test_a_word_opens_its_meaning_without_scripts() -> None:
    page = Template(
        '{% load glossary %}{% explained "p50" %}Whole call, <b>p50</b>{% endexplained %}'
    )
    shown = page.render(Context())
    assert 'popovertarget="term-p50">Whole call, <b>p50</b></button>' in shown
    assert f'id="term-p50" popover>{MEANINGS["p50"]}</span>' in shown


def test_the_glossary_of_the_documentation_has_every_word() -> None:
    glossary = (Path(settings.BASE_DIR) / "docs" / "glossary.md").read_text().casefold()
    missing = [word for word in MEANINGS if f"| {word.replace('-', ' ')} |" not in glossary]
    assert missing == []
