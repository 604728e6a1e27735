"""Pages speak Portuguese, and no string is left out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.utils.translation.template import templatize

from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")

TEMPLATES = Path(django_settings.BASE_DIR) / "frontend" / "templates"


def test_pages_speak_portuguese(shop: Shop, member: Client) -> None:
    page = Client().get("/models", headers={"Accept-Language": "pt-BR"}).content.decode()
    assert '<html lang="pt-br">' in page
    assert "Modelos, no hardware que responde primeiro" in page
    member.post("/i18n/setlang/", {"language": "pt-br", "next": "/usage"})
    assert "Nenhuma chamada aqui" in member.get("/usage").content.decode()


def translated() -> set[str]:
    """The messages that there is Portuguese for."""
    source = (Path(django_settings.LOCALE_PATHS[0]) / "pt_BR/LC_MESSAGES/django.po").read_text()
    joined = re.sub(r'"\n"', "", source)
    assert not re.findall(r'^msgstr ""\n\n', joined, re.MULTILINE), "an empty translation"
    found = re.findall(r'^msgid(?:_plural)? "(.*)"$', joined, re.MULTILINE)
    return {raw.replace('\\"', '"').replace("\\n", "\n") for raw in found}


def test_every_string_of_the_templates_is_translated() -> None:
    known = translated()
    missing = [
        (template.name, string)
        for template in TEMPLATES.rglob("*.html")
        for _, string in re.findall(
            r"""gettext\(u?(['"])((?:(?!\1).)*)\1""", templatize(template.read_text())
        )
        if string.replace("\\'", "'") not in known
    ]
    assert missing == []


def test_every_string_of_the_code_is_translated() -> None:
    known = translated()
    missing = [
        (path.name, argument.value)
        for path in (Path(django_settings.BASE_DIR) / "marketplace").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
        for argument in node.args[: 2 if node.func.id.startswith("ngettext") else 1]
        if isinstance(argument, ast.Constant) and argument.value not in known
    ]
    assert missing == []


def test_no_translation_is_of_a_text_that_is_gone() -> None:
    base = Path(django_settings.BASE_DIR)
    said = {
        node.value
        for folder in ("marketplace", "router", "workers")
        for path in (base / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    said |= {
        string.replace("\\'", "'").replace("\\n", "\n").replace('\\"', '"')
        for template in TEMPLATES.rglob("*.*")
        for _, string in re.findall(
            r"""u?(['"])((?:(?!\1)(?:\\.|.))*)\1""", templatize(template.read_text())
        )
    }
    assert sorted(translated() - said - {""}) == []
