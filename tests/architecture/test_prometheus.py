"""The rules, the dashboards and the page on metrics speak of metrics that exist, and rules work."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana import dashboards
from deploy.programs import PROMTOOL
from router.ports.upstream import Answer
from tests.architecture import observed, pages
from tests.architecture.observed import DASHBOARDS, PROMETHEUS, ROOT, RULES
from tests.architecture.pages import REFERENCE
from tests.unit.router.ingress.serving import ADMIN_TOKEN, calling
from tests.unit.router.pipeline.line import FakeUpstream, Line

PREFIX = "waypost_router_"
CONTROL_PLANE = (
    "waypost_ledger_",
    "waypost_profile_",
    "waypost_benchmarks",
    "waypost_tuning_",
    "waypost_pool_",
    "waypost_jobs",
)
RUNBOOKS = ROOT / "docs" / "how-to" / "runbooks"
PARTS = ("For customers", "Look", "Do", "Over")
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
PROMTOOL_TIMEOUT_S = 300


async def types() -> dict[str, str]:
    """What a router shows, by name: `counter`, `gauge` or `histogram`."""
    line = Line(FakeUpstream(lambda _: Answer(b"{}", "application/json", None)))
    async with calling(line) as client:
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        text = (await client.get("/metrics", headers=headers)).text
    return dict(re.findall(r"^# TYPE (\S+) (\S+)", text, re.MULTILINE))


async def exposed() -> set[str]:
    found = await types()
    histograms = {name for name, kind in found.items() if kind == "histogram"}
    ends = ("bucket", "count", "sum")
    return set(found) | {f"{name}_{end}" for name in histograms for end in ends}


@pytest.mark.parametrize("path", [*RULES, *DASHBOARDS], ids=lambda path: path.stem)
async def test_every_metric_of_rules_and_dashboards_exists(path: Path) -> None:
    """Those of the marketplace are in tests/integration/marketplace/config/test_metrics.py."""
    used = observed.metrics_of(path)
    assert used
    recorded = {
        rule["record"] for file in RULES for rule in observed.rules_of(file) if "record" in rule
    }
    ours = {name for name in used if not name.startswith(CONTROL_PLANE)}
    assert ours <= await exposed() | recorded


async def test_the_page_on_metrics_has_every_one_with_its_type() -> None:
    """Those of the marketplace are in tests/integration/marketplace/config/test_metrics.py."""
    routers = [row for row in pages.rows(REFERENCE / "metrics.md") if len(row) == 4]
    assert {name: kind for names, kind, *_ in routers for name in pages.code(names)} == {
        name.removeprefix(PREFIX): kind
        for name, kind in (await types()).items()
        if name.startswith(PREFIX)
    }


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_alert_says_what_to_do(path: Path) -> None:
    for name, alert in observed.alerts_of(path).items():
        notes = alert["annotations"]
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert notes["summary"]
        assert notes["description"].endswith(".")
        page = RUNBOOKS.relative_to(ROOT) / f"{path.stem}.md"
        assert notes["runbook_url"] == f"{page}#{name.lower()}"


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_alert_has_a_runbook_and_every_runbook_an_alert(path: Path) -> None:
    _head, *sections = re.split(
        r"^## ", (RUNBOOKS / f"{path.stem}.md").read_text(), flags=re.MULTILINE
    )
    assert [section.split("\n")[0] for section in sections] == list(observed.alerts_of(path))
    for section in sections:
        assert re.findall(r"^\*\*(.+?)\.\*\* \S", section, re.MULTILINE) == list(PARTS), section


def test_each_file_of_rules_has_runbooks_and_tests() -> None:
    stems = [path.stem for path in RULES]
    assert stems == [path.stem for path in RULE_TESTS]
    assert set(stems) == {path.stem for path in RUNBOOKS.glob("*.md")}


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_alert_is_seen_to_fire_and_to_be_silent(path: Path) -> None:
    """That the expectations hold is for promtool to say."""
    checks = [
        check
        for test in yaml.safe_load((PROMETHEUS / "tests" / path.name).read_text())["tests"]
        for check in test["promql_expr_test"]
        if 'ALERTS{alertstate="firing"' in check["expr"]
    ]
    fire = {
        re.sub(r'.*alertname="(\w+)".*', r"\1", sample["labels"])
        for check in checks
        for sample in check["exp_samples"]
    }
    assert fire == set(observed.alerts_of(path))
    assert any(not check["exp_samples"] for check in checks)


@pytest.fixture(scope="module")
def promtool() -> str:
    found = PROMTOOL.find(ROOT / ".tools")
    if found is None:
        pytest.fail("no promtool: `python3 deploy/bootstrap.py test-programs` brings one")
    return found


def ask(promtool: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [promtool, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=PROMTOOL_TIMEOUT_S,
        check=False,
    )


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_rules_fire_when_they_should(promtool: str, path: Path) -> None:
    result = ask(promtool, "test", "rules", path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_rule_that_does_not_fire_is_noticed(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "tests").mkdir()
    rules = (PROMETHEUS / "rules/router.yml").read_text()
    (tmp_path / "rules/router.yml").write_text(
        rules.replace("waiting_calls > 100", "waiting_calls > 999")
    )
    (tmp_path / "tests/router.yml").write_text((PROMETHEUS / "tests/router.yml").read_text())
    result = ask(promtool, "test", "rules", tmp_path / "tests/router.yml")
    assert result.returncode != 0
    assert "QueueGrows" in result.stderr


def test_prometheus_takes_the_configuration_with_its_rules(promtool: str) -> None:
    """But for the files of tokens, which are not here."""
    result = ask(promtool, "check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")
    assert result.returncode == 0, result.stderr
    named: list[Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["rule_files"]
    assert [path for name in named for path in sorted(PROMETHEUS.glob(name))] == RULES


def test_prometheus_can_read_what_dashboards_ask(promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"asked:{path.stem.replace('-', '_')}:{number}", "expr": ready(text)}
        for path in DASHBOARDS
        for number, text in enumerate(observed.expressions_of(path))
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": rules}]}))
    result = ask(promtool, "check", "rules", tmp_path / "rules.yml")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_dashboards_are_those_of_their_descriptions() -> None:
    """Otherwise run ``python -m deploy.grafana.dashboards``."""
    written = {path.stem: path.read_text() for path in DASHBOARDS}
    assert written == {one.name: dashboards.as_json(one) for one in dashboards.DASHBOARDS}


def ready(expression: str) -> str:
    """An expression with Grafana's variables filled in."""
    return expression.replace("$__rate_interval", "5m").replace("$__range", "1h")
