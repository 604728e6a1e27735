"""What burns the budget of an objective, by what a router counts and the rules that read it."""

import subprocess
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.programs import PROMTOOL
from router.contracts.record import UsageRecord
from router.pipeline.recorders.meters import BUCKETS_MS, Meters
from tests.architecture.observed import PROMETHEUS, ROOT
from tests.unit.router.pipeline.recorders.test_meters import ANSWERED, Kept
from tests.unit.router.records import changed

STEPS = 90
STEP = "5m"
OFTEN = 20
"""Calls of a step, in which each kind of call is as frequent as the other."""
PROMTOOL_TIMEOUT_S = 120
FAST = changed(ANSWERED, streamed=True, ttft_ms=300.0)
SLOW = changed(ANSWERED, streamed=True, ttft_ms=40_000.0)
SLOW_WHOLE = changed(SLOW, streamed=False)
SLOW_BATCH = changed(SLOW, priority="batch")


def counted(records: Sequence[UsageRecord]) -> list[dict[str, str]]:
    """The series of a router that gets these records every five minutes."""
    meters = Meters(Kept())
    for record in [*records] * OFTEN:
        meters.append(record)
    model = meters.models["m"]
    bounds = [*(str(bound / 1e3) for bound in BUCKETS_MS), "+Inf"]
    name = "waypost_router_ttft_seconds"
    totals = {
        f'{name}_bucket{{model="m",le="{bound}"}}': count
        for bound, count in zip(bounds, accumulate(model.ttft.counts), strict=True)
    }
    totals[f'{name}_count{{model="m"}}'] = sum(model.ttft.counts)
    totals['waypost_router_calls_total{model="m",outcome="completed"}'] = len(records) * OFTEN
    return [{"series": name, "values": f"0+{n}x{STEPS}"} for name, n in totals.items()]


def burns(folder: Path, *records: UsageRecord) -> bool:
    """Whether the alerts on latency fire after seven hours of them. Anything else fails."""
    found = PROMTOOL.find(ROOT / ".tools")
    if found is None:
        pytest.fail("no promtool: `python3 deploy/bootstrap.py test-programs` brings one")

    def expected(*alerts: str) -> bool:
        test: dict[str, Any] = {
            "interval": STEP,
            "input_series": counted(records),
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "7h",
                    "exp_samples": [
                        {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts
                    ],
                }
            ],
        }
        whole = {
            "rule_files": [str(PROMETHEUS / "rules" / "slo.yml")],
            "evaluation_interval": STEP,
            "group_eval_order": ["waypost-slo-records", "waypost-slo"],
            "tests": [test],
        }
        (folder / "test.yml").write_text(yaml.safe_dump(whole))
        words = [found, "test", "rules", str(folder / "test.yml")]
        result = subprocess.run(
            words, capture_output=True, text=True, timeout=PROMTOOL_TIMEOUT_S, check=False
        )
        said = result.stdout + result.stderr
        assert result.returncode == 0 or "exp" in said, said
        return result.returncode == 0

    is_burning = expected("LatencyBurnsFast", "LatencyBurnsSlowly")
    assert is_burning is not expected()
    return is_burning


def test_streams_that_begin_late_burn_the_budget(tmp_path: Path) -> None:
    assert burns(tmp_path, FAST, SLOW)


def test_neither_whole_answers_nor_batches_burn_it(tmp_path: Path) -> None:
    assert not burns(tmp_path, FAST, SLOW_WHOLE, SLOW_BATCH)
