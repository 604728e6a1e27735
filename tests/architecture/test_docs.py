"""What the documentation says is what the code does."""

import ast
import json
import re
import shlex
import subprocess
import tomllib
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand
from markdown import Markdown
from markdown_it import MarkdownIt

from deploy.docs.__main__ import PAGES as TOP_PAGES
from deploy.local.home import secrets
from marketplace.config.navigation import SECTIONS
from marketplace.config.urls import api as urls_api
from marketplace.demo.offering.emulated import EMULATED_MODELS
from marketplace.demo.offering.pools import POOLS
from marketplace.demo.offering.real import REAL_MODELS
from marketplace.demo.services import PIPELINE
from marketplace.routing.models import PolicyKind
from router.contracts.openai_error import TYPES
from router.domain.errors import CallError
from router.domain.outcome import BILLED, Outcome
from router.ingress.faces.table import FACES
from router.scheduling.policies import POLICIES
from router.settings import Limits
from tests.architecture import pages
from tests.architecture.pages import DOCS, REFERENCE, ROOT, Snippet
from workers.agent import settings as agent_settings
from workers.backends.emulator import fleet

ENVIRONMENT_READERS = re.compile(
    r"^(os\.environ|environ|env)\.\w+$|^_(required|number|origin|positive|not_negative|list|networks|hours)$"
)
SETTING_NAME = re.compile(
    r"^(ROUTER|WAYPOST|DJANGO|DATABASE|BROKER|OTEL|STRIPE|EMAIL|MIGRATE)_[A-Z_]+$"
)
NOT_FOR_PEOPLE = {"DJANGO_SETTINGS_MODULE"}
MODEL_NAME = re.compile(
    r"(?<![\w./])(?:hironsan|huggingfacetb|waypost|wordllama|emulated)/[a-z0-9][a-z0-9.-]+"
)
COMMANDS = {
    "audit": "marketplace.audit",
    "benchmark": "marketplace.benchmarks",
    "up": "deploy.local",
    "down": "deploy.local",
    "doctor": "marketplace.operations",
    "backup": "marketplace.operations",
    "restore": "deploy.local",
    "status": "deploy.local",
    "advise": "marketplace.planning",
    "autoscale": "marketplace.planning",
    "invoices": "marketplace.billing",
    "keys": "marketplace.keys",
    "ledger": "marketplace.billing",
    "pipelines": "marketplace.pipelines",
    "secrets": "marketplace.operations",
    "seed_demo": "marketplace.demo",
    "usage": "marketplace.usage",
    "whatif": "marketplace.planning",
    "workers": "marketplace.agents",
}


# --- settings --------------------------------------------------------------------------------


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


# --- errors ----------------------------------------------------------------------------------


def error_classes(base: type[CallError] = CallError) -> Iterator[type[CallError]]:
    """The whole tree below ``CallError``."""
    for error in base.__subclasses__():
        if error.__module__.startswith("router."):
            yield error
            yield from error_classes(error)


def test_every_error_is_documented_with_its_status_code_and_type() -> None:
    documented = {
        (status, *(pages.code(cell)[0] for cell in cells))
        for status, *cells, _ in pages.rows(REFERENCE / "errors.md")
    }
    assert documented == {
        (str(error.status), error.code, TYPES[error.status], error.__name__)
        for error in error_classes()
    }


# --- commands --------------------------------------------------------------------------------


def make_help() -> list[str]:
    """Targets that `make help` lists."""
    run = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return [line.split()[0] for line in run.stdout.splitlines()]


def test_make_help_lists_every_target() -> None:
    phony = re.findall(r"^\.PHONY:(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(make_help()) == sorted(" ".join(phony).split())


def test_the_commands_page_has_every_make_target() -> None:
    documented = {
        words[1]
        for command, *_ in pages.rows(REFERENCE / "commands.md")
        for words in map(str.split, pages.code(command))
        if words[0] == "make" and len(words) > 1
    }
    assert documented == set(make_help())


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_make_targets_that_exist(page: Path) -> None:
    spans = [*pages.code(pages.prose(page)), *snippet_lines(page)]
    named = {span.split()[1] for span in spans if re.match(r"make [a-z]", span)}
    assert named <= set(make_help())


def snippet_lines(page: Path) -> list[str]:
    """Lines of a page's shell snippets."""
    shell = [s for s in pages.snippets() if s.page == page and s.language == "sh"]
    return [line for snippet in shell for line in snippet.text.splitlines()]


def options_of(parser: ArgumentParser) -> set[str]:
    """Long options of a parser and of its verbs, without those that Django gives to all."""
    options = set()
    for action in parser._actions:
        options |= {option for option in action.option_strings if option.startswith("--")}
        if isinstance(action.choices, dict):
            for verb in action.choices.values():
                options |= options_of(verb)
    return options


def test_the_commands_page_has_every_command_and_option() -> None:
    text = (REFERENCE / "commands.md").read_text()
    inherited = options_of(BaseCommand().create_parser("manage.py", "any"))
    expected = set()
    for command, app in COMMANDS.items():
        parser = load_command_class(app, command).create_parser("manage.py", command)
        expected |= {command} | (options_of(parser) - inherited)
    missing = {word for word in expected if not re.search(rf"`{word}\b", text)}
    assert not missing


WORDS = r"""(?:"[^"]*"|'[^']*'|[^|&;>#()"'])*"""
"""As far as the shell takes them for one command."""
MANAGE = re.compile(rf"manage\.py (?P<command>\w+)(?P<words>{WORDS})")


def calls_of_manage(snippet: Snippet) -> list[tuple[str, list[str]]]:
    """The commands of a snippet with their words; what the shell does with them is left out."""
    text = snippet.text.replace("\\\n", " ")
    found = [match for line in text.splitlines() for match in MANAGE.finditer(line)]
    return [(match["command"], shlex.split(match["words"])) for match in found]


@pytest.mark.parametrize(
    "snippet", [one for one in pages.snippets() if calls_of_manage(one)], ids=str
)
def test_a_command_of_a_page_is_one_that_its_parser_takes(snippet: Snippet) -> None:
    for command, words in calls_of_manage(snippet):
        if command in COMMANDS:
            load_command_class(COMMANDS[command], command).create_parser(
                "manage.py", command
            ).parse_args(words)
        else:
            assert command in get_commands(), command


AGENT = re.compile(rf"-m workers\.agent(?P<words>{WORDS})")


def calls_of_agent(snippet: Snippet) -> list[list[str]]:
    """The words of each worker agent of a snippet that needs no shell to know them."""
    text = snippet.text.replace("\\\n", " ")
    found = [match["words"] for line in text.splitlines() for match in AGENT.finditer(line)]
    return [shlex.split(words) for words in found if "$" not in words]


@pytest.mark.parametrize(
    "snippet",
    [one for one in pages.snippets() if one.language == "sh" and calls_of_agent(one)],
    ids=str,
)
def test_an_agent_of_a_page_can_be_started_so(snippet: Snippet) -> None:
    for words in calls_of_agent(snippet):
        assert agent_settings.settings_read(words).engine.command


def test_every_command_of_ours_is_known_here() -> None:
    found = {
        source.stem
        for folder in ("deploy", "marketplace")
        for source in (ROOT / folder).rglob("management/commands/[a-z]*.py")
    }
    assert found == set(COMMANDS)


# --- APIs, models, policies, outcomes ----------------------------------------------------------


def test_every_face_is_documented() -> None:
    text = (REFERENCE / "http-api.md").read_text()
    assert {path for path in FACES if f"`POST {path}`" in text} == set(FACES)


def test_every_management_resource_is_documented_and_no_other() -> None:
    resources = {prefix for prefix, _, _ in urls_api.router.registry} | {"session-token"}
    documented = {
        name for cell, _ in pages.rows(REFERENCE / "management-api.md") for name in pages.code(cell)
    }
    assert documented == resources


def test_every_policy_is_documented_and_can_be_chosen() -> None:
    documented = {pages.code(name)[0] for name, _ in pages.rows(REFERENCE / "policies.md")}
    assert documented == set(POLICIES) == set(PolicyKind.values)


def test_the_billing_rule_of_every_outcome_is_published() -> None:
    published = {
        Outcome(pages.code(outcome)[0]): billed
        for outcome, _, billed in pages.rows(DOCS / "explanation" / "billing.md")
    }
    assert set(published) == set(Outcome)
    assert {outcome for outcome in Outcome if published[outcome] != "Not billed."} == BILLED


def test_the_docs_name_only_models_that_the_demo_has() -> None:
    known = {model.name for model in (*REAL_MODELS, *EMULATED_MODELS)}
    known.add(json.loads(PIPELINE.read_text())["name"])
    named = {name for page in pages.pages() for name in MODEL_NAME.findall(page.read_text())}
    assert named <= known
    assert {model.name for model in REAL_MODELS} <= named


def test_the_emulated_fleet_is_described_as_it_is() -> None:
    described = {
        (pages.code(pool)[0], hardware, int(chips), int(sequences), int(slots))
        for pool, hardware, chips, sequences, slots in (
            row for row in pages.rows(DOCS / "explanation" / "emulation.md") if len(row) == 5
        )
    }
    emulated = {(p.name, p.hardware.name, p.chips, p.sequences, p.slots) for p in fleet.POOLS}
    assert described == emulated
    assert {name for name, *_ in emulated} == {pool.name for pool in POOLS if pool.emulated}


# --- links, snippets, decisions ----------------------------------------------------------------


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


# --- the threat model -------------------------------------------------------------------------

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
