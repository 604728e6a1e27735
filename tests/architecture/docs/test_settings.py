"""Every setting that is read is documented, with its default."""

import ast
import re

import pytest

from deploy.local.home import secrets
from router.settings import Limits
from tests.architecture import pages
from tests.architecture.pages import REFERENCE, ROOT

ENVIRONMENT_READERS = re.compile(
    r"^(os\.environ|environ|env)\.\w+$|^_(required|number|origin|positive|not_negative|list|networks|hours)$"
)
SETTING_NAME = re.compile(
    r"^(ROUTER|WAYPOST|DJANGO|DATABASE|BROKER|OTEL|STRIPE|EMAIL|MIGRATE)_[A-Z_]+$"
)
NOT_FOR_PEOPLE = {"DJANGO_SETTINGS_MODULE"}


def settings_documented() -> dict[str, str]:
    """Default by name, of the reference."""
    return {
        pages.code(name)[0]: "".join(pages.code(default)) or default
        for name, default, _ in pages.rows(REFERENCE / "settings.md")
    }


def settings_read() -> set[str]:
    """Names that the sources read from the environment, but for the router's limits."""
    names = set()
    for folder in ("router", "marketplace", "workers", "deploy"):
        for source in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(source.read_text())):
                if isinstance(node, ast.Call) and ENVIRONMENT_READERS.match(ast.unparse(node.func)):
                    names |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    found = {name for name in names if isinstance(name, str) and SETTING_NAME.match(name)}
    return found | set(secrets.NAMES)


def limit_names() -> dict[str, int | float]:
    """Default by environment variable."""
    defaults = Limits()
    return {f"ROUTER_{name.upper()}": getattr(defaults, name) for name in Limits.__struct_fields__}


def test_every_setting_that_is_read_is_documented_and_no_other() -> None:
    expected = (settings_read() | set(limit_names())) - NOT_FOR_PEOPLE
    assert set(settings_documented()) == expected


@pytest.mark.parametrize(("name", "default"), limit_names().items())
def test_a_limit_has_its_documented_default(name: str, default: float) -> None:
    assert float(settings_documented()[name]) == default
