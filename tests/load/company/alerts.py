"""Which alerts begin, by the product's own rules: promtool runs them over what was scraped."""

import re
import subprocess
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.bootstrap import TOOLS
from deploy.programs import PROMTOOL
from tests.architecture.observed import RULES, metrics_of

SCRAPE_S = 5
SCRAPE_TIMEOUT_S = 4.0
PROMTOOL_TIMEOUT_S = 300
WITHIN_S = 120
BEGUN = (
    f"max_over_time(ALERTS[{WITHIN_S}s]) unless ignoring (alertstate) (ALERTS offset {WITHIN_S}s)"
)
"""What a fault brought about: an alert that was there before it, if only pending, is another's."""
_SERIES = re.compile(r"\{([^{}]*alertname=[^{}]*)\}")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
NO_SUBJECT = {"alertname", "alertstate", "severity", "instance", "job"}


@dataclass(frozen=True, slots=True, order=True)
class Alert:
    """``subject`` are the labels that say what it is about; a pending one has not lasted yet."""

    name: str
    subject: str
    is_firing: bool

    def __str__(self) -> str:
        about = ", ".join(filter(None, [self.subject, "" if self.is_firing else "pending"]))
        return f"{self.name} ({about})" if about else self.name


def alerts_said(text: str) -> set[Alert]:
    """The alerts that promtool names. One that fires is not told as pending too."""
    found = set()
    for series in _SERIES.findall(text):
        labels = dict(_LABEL.findall(series))
        subject = " ".join(v for k, v in sorted(labels.items()) if k not in NO_SUBJECT)
        found.add(Alert(labels["alertname"], subject, labels["alertstate"] == "firing"))
    return {
        one for one in found if one.is_firing or Alert(one.name, one.subject, True) not in found
    }


@dataclass(frozen=True, slots=True)
class Target:
    """A page of metrics."""

    job: str
    url: str
    token: str


@dataclass
class Scrapes:
    """Samples of the metrics that rules use, one column a scrape. ``at_s`` is the first one's."""

    at_s: float
    targets: Sequence[Target]
    series: dict[str, list[float | None]] = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        self._used = {name for path in RULES for name in metrics_of(path)}

    def scrape(self) -> None:
        """Ask all pages once; one that does not answer is down."""
        for target in self.targets:
            labels = f'job="{target.job}",instance="{target.url}"'
            try:
                text = _fetched(target)
            except OSError:
                self._add(f"up{{{labels}}}", 0.0)
                continue
            self._add(f"up{{{labels}}}", 1.0)
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name in self._used:
                        own = "".join(f',{k}="{v}"' for k, v in sorted(sample.labels.items()))
                        self._add(f"{sample.name}{{{labels}{own}}}", sample.value)
        self.count += 1
        for values in self.series.values():
            values.extend([None] * (self.count - len(values)))

    def _add(self, name: str, value: float) -> None:
        values = self.series.setdefault(name, [])
        values.extend([None] * (self.count - len(values)))
        values.append(value)

    def begun(self, moments_s: Mapping[str, float]) -> dict[str, set[Alert]]:
        """Alerts that began within two minutes of each moment (Unix seconds), by its name."""
        return {name: self._begun(at_s) for name, at_s in moments_s.items()}

    def _begun(self, at_s: float) -> set[Alert]:
        promtool = PROMTOOL.find(TOOLS)
        if promtool is None:
            raise OSError("there is no promtool: python deploy/bootstrap.py test-programs")
        test = {
            "rule_files": [str(path) for path in RULES],
            "evaluation_interval": f"{SCRAPE_S}s",
            "tests": [
                {
                    "interval": f"{SCRAPE_S}s",
                    "input_series": [
                        {
                            "series": name,
                            "values": " ".join("_" if v is None else f"{v:g}" for v in values),
                        }
                        for name, values in self.series.items()
                    ],
                    # It is told to expect nothing, and says what it got.
                    "promql_expr_test": [
                        {
                            "expr": BEGUN,
                            "eval_time": f"{max(0, round(at_s - self.at_s)) + WITHIN_S}s",
                            "exp_samples": [],
                        }
                    ],
                }
            ],
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "day.yml"
            path.write_text(yaml.safe_dump(test))
            done = subprocess.run(
                [promtool, "test", "rules", str(path)],
                capture_output=True,
                text=True,
                timeout=PROMTOOL_TIMEOUT_S,
                check=False,
            )
        return alerts_said(done.stdout + done.stderr)


def _fetched(target: Target) -> str:
    request = urllib.request.Request(
        f"{target.url}/metrics", headers={"authorization": f"Bearer {target.token}"}
    )
    with urllib.request.urlopen(request, timeout=SCRAPE_TIMEOUT_S) as answer:
        return str(answer.read().decode())
