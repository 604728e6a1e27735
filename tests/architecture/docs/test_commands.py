"""Every command is documented, and those of the pages can be run."""

import re
import shlex
import subprocess
from argparse import ArgumentParser
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from tests.architecture import pages
from tests.architecture.pages import REFERENCE, ROOT, Snippet
from workers.agent import settings as agent_settings

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
