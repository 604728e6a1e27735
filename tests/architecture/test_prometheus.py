"""The alerts, the dashboard and the page on metrics speak of metrics that exist."""

import re
from pathlib import Path

import pytest

from router.ports.upstream import Answer
from tests.unit.router.ingress.serving import ADMIN_TOKEN, calling
from tests.unit.router.pipeline.line import FakeUpstream, Line

ROOT = Path(__file__).parents[2]
PREFIX = "waypost_router_"
CONTROL_PLANE = (
    "waypost_ledger_",
    "waypost_profile_",
    "waypost_benchmarks",
    "waypost_tuning_",
    "waypost_pool_",
)


async def exposed() -> set[str]:
    line = Line(FakeUpstream(lambda _: Answer(b"{}", "application/json", None)))
    async with calling(line) as client:
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        text = (await client.get("/metrics", headers=headers)).text
    types = re.findall(rf"^# TYPE {PREFIX}(\S+) (\S+)", text, re.MULTILINE)
    names = {name for name, _ in types}
    return names | {f"{name}_bucket" for name, kind in types if kind == "histogram"}


@pytest.mark.parametrize("path", ["prometheus/alerts.yml", "grafana/waypost-router.json"])
async def test_every_metric_of_alerts_and_dashboard_exists(path: str) -> None:
    used = set(re.findall(PREFIX + r"(\w+)", (ROOT / "deploy" / path).read_text()))
    assert used
    assert used <= await exposed()


async def test_the_page_on_metrics_has_every_one() -> None:
    page = (ROOT / "docs/how-to/observe.md").read_text()
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    documented -= {name for name in documented if name.startswith(CONTROL_PLANE)}
    assert documented == {name for name in await exposed() if not name.endswith("_bucket")}
