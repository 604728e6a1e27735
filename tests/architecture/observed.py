"""The rules and dashboards of ``deploy/``, and the metrics that they ask for."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
METRIC = re.compile(r"(?<![\w:\"])(?:waypost_\w+|process_\w+|(?:slo|model):[\w:]+)")


def rules_of(path: Path) -> Iterator[dict[str, Any]]:
    """Each rule of a file of rules."""
    for group in yaml.safe_load(path.read_text())["groups"]:
        yield from group["rules"]


def alerts_of(path: Path) -> dict[str, dict[str, Any]]:
    """The alerts of a file of rules, by name."""
    return {rule["alert"]: rule for rule in rules_of(path) if "alert" in rule}


def expressions_of(path: Path) -> list[str]:
    """What is asked of Prometheus by a file of rules or a dashboard."""
    if path.suffix == ".yml":
        return [rule["expr"] for rule in rules_of(path)]
    dashboard = json.loads(path.read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def metrics_of(path: Path) -> set[str]:
    """The metrics and recorded series that its expressions name."""
    return {name for text in expressions_of(path) for name in METRIC.findall(text)}


def metrics_used() -> set[str]:
    """The same of all rules and dashboards."""
    return set().union(*(metrics_of(path) for path in (*RULES, *DASHBOARDS)))
