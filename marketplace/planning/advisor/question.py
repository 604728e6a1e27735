"""What the advisor is asked. Pure; everything is checked here, once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

KINDS = ("gpu", "tpu", "cpu", "other")
RATE_HZ_MAX = 1e6
PEAK_FACTOR_MAX = 100.0
TOKENS_MAX = 131_072
ROWS_MAX = 65_536
SIZE_CV_MAX = 4.0
SLO_MS_MAX = 3_600_000.0
SHARE_MIN, SHARE_MAX = 0.5, 0.999
BUDGET_USD_MAX = 1e6
PRICES_MAX = 100
REGIONS_MAX = 20

_SLO = re.compile(r"^p(\d{2}(?:\.\d+)?)=(\d+(?:\.\d+)?)(ms|s)?$")


class QuestionInvalid(ValueError):
    """What is wrong with a question, and what would be right. ``field`` names what is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field


class Question(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A workload, what it must meet, and what may be used for it.

    ``rate_hz`` is the mean of the busy hours in calls a second; the fleet is made for
    ``peak_factor`` times that. Sizes are lognormal with coefficient of variation ``size_cv`` around
    the mean tokens or rows. ``share`` of the calls must end within ``slo_ms``, end to end (0.99 is
    a p99). ``budget_usd`` an hour and ``regions`` bound nothing when 0 and empty. With
    ``spare`` the SLO holds with any one instance gone. ``prices`` gives USD an hour for options
    that have none of their own, by name.
    """

    model: str
    rate_hz: float
    slo_ms: float
    share: float = 0.99
    peak_factor: float = 1.0
    prompt_tokens: float = 64.0
    completion_tokens: float = 64.0
    rows: float = 1.0
    size_cv: float = 1.0
    budget_usd: float = 0.0
    regions: tuple[str, ...] = ()
    kinds: tuple[str, ...] = KINDS
    published: bool = True
    utilisation_max: float = 0.9
    spare: bool = False
    prices: dict[str, float] = {}

    def __post_init__(self) -> None:
        if not 1 <= len(self.model) <= 120:
            raise QuestionInvalid("model", "must be a model's name, like author/slug")
        _within("rate_hz", self.rate_hz, 0.001, RATE_HZ_MAX)
        _within("slo_ms", self.slo_ms, 0.1, SLO_MS_MAX)
        _within("share", self.share, SHARE_MIN, SHARE_MAX)
        _within("peak_factor", self.peak_factor, 1.0, PEAK_FACTOR_MAX)
        _within("prompt_tokens", self.prompt_tokens, 1, TOKENS_MAX)
        _within("completion_tokens", self.completion_tokens, 1, TOKENS_MAX)
        _within("rows", self.rows, 1, ROWS_MAX)
        _within("size_cv", self.size_cv, 0.0, SIZE_CV_MAX)
        _within("budget_usd", self.budget_usd, 0.0, BUDGET_USD_MAX)
        _within("utilisation_max", self.utilisation_max, 0.1, 0.99)
        if not self.kinds or set(self.kinds) - set(KINDS):
            raise QuestionInvalid("kinds", f"must be one or more of {', '.join(KINDS)}")
        if len(self.regions) > REGIONS_MAX:
            raise QuestionInvalid("regions", f"must be at most {REGIONS_MAX}")
        if len(self.prices) > PRICES_MAX:
            raise QuestionInvalid("prices", f"must be at most {PRICES_MAX}")
        for name, usd in self.prices.items():
            _within(f"prices[{name}]", usd, 0.0001, BUDGET_USD_MAX)

    @property
    def peak_hz(self) -> float:
        """The rate that the fleet is made for."""
        return self.rate_hz * self.peak_factor


def question_of(fields: Mapping[str, Any]) -> Question:
    """A question out of JSON's types. Raises :class:`QuestionInvalid`."""
    try:
        return msgspec.convert(dict(fields), Question)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, QuestionInvalid):
            raise error.__cause__ from None
        text = str(error)
        named = re.search(r"`\$\.([a-z_]+)|field `([a-z_]+)`", text)
        field = (named[1] or named[2]) if named else "question"
        raise QuestionInvalid(field, f"does not fit: {text}") from None


def slo_parse(text: str) -> tuple[float, float]:
    """``p99=800`` or ``p99.5=2s`` as (share, ms). Raises :class:`QuestionInvalid`."""
    found = _SLO.match(text.strip())
    if found is None:
        raise QuestionInvalid("slo", f"must look like p99=800 or p95=2s, got {text!r}")
    return float(found[1]) / 100, float(found[2]) * (1000.0 if found[3] == "s" else 1.0)


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise QuestionInvalid(name, f"must be from {least:g} to {most:g}, got {value:g}")
