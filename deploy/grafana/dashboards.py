"""Grafana's dashboards, from short descriptions: ``python -m deploy.grafana.dashboards``.

It writes them beside this file. Grafana wants five hundred lines of JSON for fifty of these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
DATASOURCE = {"type": "prometheus", "uid": "${prometheus}"}
COLUMNS = 24
HEIGHT = 8
MODEL = 'model=~"$model"'
SPAN = "[$__rate_interval]"
R = "waypost_router_"


@dataclass(frozen=True, slots=True)
class Panel:
    """``asked`` are PromQL by legend. ``unit`` is Grafana's. A ``line`` is drawn at a bound."""

    title: str
    asked: Mapping[str, str]
    unit: str = "short"
    stacked: bool = False
    about: str = ""
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Panels, two in a row. With ``by_model`` a model can be chosen."""

    name: str
    title: str
    panels: Sequence[Panel]
    by_model: bool = False


def quantiles(span: str) -> dict[str, str]:
    """Three percentiles of a span of calls."""
    buckets = f"sum by (le) (rate({R}{span}_seconds_bucket{{{MODEL}}}{SPAN}))"
    return {f"p{share}": f"histogram_quantile(0.{share}, {buckets})" for share in (50, 90, 99)}


def quantile_90(span: str) -> str:
    """The 90th percentile of a span of calls."""
    return quantiles(span)["p90"]


ROUTER = Dashboard(
    "waypost-router",
    "Waypost routers",
    by_model=True,
    panels=(
        Panel(
            "Calls by outcome",
            {"{{outcome}}": f"sum by (outcome) (rate({R}calls_total{{{MODEL}}}{SPAN}))"},
            "reqps",
            stacked=True,
        ),
        Panel(
            "Errors told to clients",
            {"{{code}}": f"sum by (code) (rate({R}errors_total{SPAN}))"},
            "reqps",
            stacked=True,
        ),
        Panel(
            "Time to the first byte",
            quantiles("ttft"),
            "s",
            about="Of streams, without those of the priority batch.",
        ),
        Panel("Whole call", quantiles("total"), "s"),
        Panel(
            "Where the time goes (p90)",
            {"queue": quantile_90("queue"), "worker": quantile_90("upstream")},
            "s",
        ),
        Panel(
            "Tokens",
            {"{{class}}": f"sum by (class) (rate({R}tokens_total{{{MODEL}}}{SPAN}))"},
            stacked=True,
        ),
        Panel(
            "Calls at the routers",
            {"run, {{instance}}": f"{R}running_calls", "wait, {{instance}}": f"{R}waiting_calls"},
        ),
        Panel(
            "Age of the catalog",
            {"{{instance}}": f"{R}snapshot_age_seconds"},
            "s",
            about="At ROUTER_SNAPSHOT_AGE_MAX_S (300 s) keys are refused.",
            bound=60,
        ),
        Panel("Version of the catalog", {"{{instance}}": f"{R}snapshot_version"}),
        Panel(
            "Memory",
            {"{{instance}}": 'process_resident_memory_bytes{job="waypost-router"}'},
            "bytes",
        ),
        Panel(
            "Processor",
            {"{{instance}}": f'rate(process_cpu_seconds_total{{job="waypost-router"}}{SPAN})'},
            "percentunit",
        ),
        Panel("Open files", {"{{instance}}": 'process_open_fds{job="waypost-router"}'}),
    ),
)
POOLS = Dashboard(
    "waypost-pools",
    "Waypost pools",
    by_model=True,
    panels=(
        Panel(
            "Workers of pools",
            {"{{pool}}": "waypost_pool_workers", "{{pool}} wanted": "waypost_pool_desired_workers"},
        ),
        Panel(
            "Attempts by pool and outcome",
            {"{{pool}} {{outcome}}": f"sum by (pool, outcome) (rate({R}attempts_total{SPAN}))"},
            "reqps",
            stacked=True,
        ),
        Panel(
            "Slots in use",
            {
                "{{worker}}": f"sum by (worker) ({R}worker_in_flight) "
                f"/ sum by (worker) ({R}worker_limit)"
            },
            "percentunit",
        ),
        Panel(
            "Taken out of use",
            {"{{worker}}": f"max by (worker) ({R}worker_ejected)"},
            about="1 while a router avoids the worker.",
        ),
        Panel(
            "Learned service time",
            {"{{model}} {{worker}}": f"max by (model, worker) ({R}service_seconds{{{MODEL}}})"},
            "s",
        ),
        Panel(
            "Workers that stray",
            {"{{worker}}": "waypost_tuning_straggler_ratio"},
            about="Service time as a multiple of the peers'.",
            bound=1.5,
        ),
        Panel(
            "What routers decide",
            {
                "hedges": f"sum(rate({R}hedges_total{SPAN}))",
                "stopped": f"sum(rate({R}stops_total{SPAN}))",
                "probes": f"sum(rate({R}probes_total{SPAN}))",
                "taken out": f"sum(rate({R}ejections_total{SPAN}))",
            },
            "ops",
        ),
        Panel(
            "Error of predicted sizes",
            {"{{model}}": f"max by (model) ({R}size_log_error{{{MODEL}}})"},
            about="0.7 is a factor of two.",
        ),
        Panel(
            "Age of profiles",
            {"{{model}} {{pool}}": "max by (model, pool) (waypost_profile_age_seconds)"},
            "s",
        ),
        Panel(
            "Usage that is not believed",
            {"{{worker}}": f"sum by (worker) (increase({R}overcounted_total[1h]))"},
            bound=10,
        ),
    ),
)
MONEY = Dashboard(
    "waypost-money",
    "Waypost money",
    panels=(
        Panel("Gaps in the books", {"gaps": "waypost_ledger_gaps"}, bound=1),
        Panel(
            "Age of the last proof", {"age": "waypost_ledger_report_age_seconds"}, "s", bound=900
        ),
        Panel("Finished calls that wait for the ledger", {"{{instance}}": f"{R}unsettled_calls"}),
        Panel(
            "Leases that failed",
            {"{{instance}}": f"increase({R}lease_failures_total[5m])"},
            bound=10,
        ),
        Panel(
            "Leased credit",
            {
                "open": "waypost_ledger_open_leases_usd",
                "expired": "waypost_ledger_expired_leases_usd",
            },
            "currencyUSD",
        ),
        Panel(
            "Leases",
            {"open": "waypost_ledger_open_leases", "expired": "waypost_ledger_expired_leases"},
        ),
        Panel(
            "Set aside and damaged",
            {
                "bytes set aside, {{instance}}": f"{R}set_aside_bytes",
                "refused since the start, {{instance}}": f"{R}refused_records_total",
                "damaged segments, {{instance}}": f"{R}damaged_segments",
                "journal broken, {{instance}}": f"{R}journal_broken",
            },
        ),
        Panel(
            "Billed to nobody",
            {"{{model}}": f"sum by (model) (increase({R}unpaid_nano_usd_total[1h])) / 1e9"},
            "currencyUSD",
            about="What calls cost in an hour beyond what was held for them.",
            bound=1,
        ),
    ),
)
JOBS = Dashboard(
    "waypost-jobs",
    "Waypost jobs",
    panels=(
        Panel(
            "Since each queue was last worked on",
            {"{{queue}}": "waypost_jobs_heartbeat_age_seconds"},
            "s",
            bound=180,
        ),
        Panel("Queued", {"{{kind}}": 'waypost_jobs{state="queued"}'}),
        Panel("Running", {"{{kind}}": 'waypost_jobs{state="running"}'}),
        Panel("The oldest that never began", {"{{kind}}": "waypost_jobs_waiting_seconds"}, "s"),
        Panel("Lost their process", {"{{kind}}": "waypost_jobs_lost"}),
        Panel("Dead letters of a day", {"letters": "waypost_jobs_dead_letters"}, bound=1),
        Panel("Webhooks that are due", {"due": "waypost_jobs_webhooks_due"}),
        Panel(
            "The oldest webhook that is due", {"late": "waypost_jobs_webhooks_late_seconds"}, "s"
        ),
        Panel("Benchmarks", {"{{state}}": "waypost_benchmarks"}),
        Panel(
            "Policies on trial",
            {"on trial": "waypost_tuning_trials", "proposed": "waypost_tuning_proposals"},
        ),
    ),
)
SLO = Dashboard(
    "waypost-slo",
    "Waypost objectives",
    panels=(
        Panel(
            "Calls that fail by our fault",
            {"an hour": "slo:errors:ratio_rate1h", "six hours": "slo:errors:ratio_rate6h"},
            "percentunit",
            about="The objective leaves 0.1 %.",
            bound=0.001,
        ),
        Panel(
            "Streams that begin late",
            {"an hour": "slo:slow:ratio_rate1h", "six hours": "slo:slow:ratio_rate6h"},
            "percentunit",
            about="Later than 2.5 s, without the priority batch. The objective leaves 1 %.",
            bound=0.01,
        ),
        Panel(
            "Burn rate of the error budget",
            {
                "an hour": "slo:errors:ratio_rate1h / 0.001",
                "six hours": "slo:errors:ratio_rate6h / 0.001",
                "a day": "slo:errors:ratio_rate1d / 0.001",
                "three days": "slo:errors:ratio_rate3d / 0.001",
            },
            about="1 uses it up in 30 days. It pages from 14.4 in an hour or 6 in six hours.",
            bound=1,
        ),
        Panel(
            "Burn rate of the latency budget",
            {
                "an hour": "slo:slow:ratio_rate1h / 0.01",
                "six hours": "slo:slow:ratio_rate6h / 0.01",
                "a day": "slo:slow:ratio_rate1d / 0.01",
                "three days": "slo:slow:ratio_rate3d / 0.01",
            },
            about="1 uses it up in 30 days.",
            bound=1,
        ),
        Panel(
            "Errors by code",
            {"{{code}}": f"sum by (code) (rate({R}errors_total[5m]))"},
            "reqps",
            stacked=True,
        ),
        Panel(
            "First byte by model (p99)",
            {"{{model}}": "model:waypost_router_ttft_seconds:p99_5m"},
            "s",
            bound=10,
        ),
    ),
)
DASHBOARDS = (ROUTER, POOLS, MONEY, JOBS, SLO)


def as_json(dashboard: Dashboard) -> str:
    """What Grafana imports."""
    whole = {
        "title": dashboard.title,
        "uid": dashboard.name,
        "schemaVersion": 39,
        "version": 2,
        "editable": True,
        "tags": ["waypost"],
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_prometheus(), *([_model()] if dashboard.by_model else [])]},
        "panels": [_panel(number, panel) for number, panel in enumerate(dashboard.panels)],
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _prometheus() -> dict[str, Any]:
    return {
        "name": "prometheus",
        "type": "datasource",
        "query": "prometheus",
        "label": "Prometheus",
    }


def _model() -> dict[str, Any]:
    return {
        "name": "model",
        "type": "query",
        "label": "Model",
        "datasource": DATASOURCE,
        "query": f"label_values({R}calls_total, model)",
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    width = COLUMNS // 2
    custom: dict[str, Any] = {
        "fillOpacity": 10,
        "stacking": {"mode": "normal" if panel.stacked else "none"},
    }
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "custom": custom}
    if panel.bound is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.bound}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return {
        "id": number + 1,
        "title": panel.title,
        "description": panel.about,
        "type": "timeseries",
        "datasource": DATASOURCE,
        "gridPos": {
            "h": HEIGHT,
            "w": width,
            "x": number % 2 * width,
            "y": number // 2 * HEIGHT,
        },
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "expr": expression,
                "legendFormat": legend,
                "datasource": DATASOURCE,
            }
            for place, (legend, expression) in enumerate(panel.asked.items())
        ],
    }


def main() -> None:
    """Write each beside this file."""
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(as_json(dashboard))


if __name__ == "__main__":
    main()
