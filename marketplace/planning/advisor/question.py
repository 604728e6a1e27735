"""What the advisor is asked. Pure."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct

from marketplace.planning.asking import QuestionInvalid, question_read

Kind = Literal["gpu", "tpu", "cpu", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)
RATE_HZ_MIN, RATE_HZ_MAX = 0.001, 1e6
PEAK_FACTOR_MAX = 100.0
TOKENS_MAX = 131_072
ROWS_MAX = 65_536
SIZE_CV_MAX = 4.0
SLO_MS_MIN, SLO_MS_MAX = 0.1, 3_600_000.0
SHARE_MIN, SHARE_MAX = 0.5, 0.999
BUDGET_USD_MAX = 1e6
PRICE_USD_MIN = 0.0001
UTILISATION_MIN, UTILISATION_MAX = 0.1, 0.99
PRICES_MAX = 100
REGIONS_MAX = 20

Tokens = Annotated[float, Meta(ge=1, le=TOKENS_MAX)]
Price = Annotated[float, Meta(ge=PRICE_USD_MIN, le=BUDGET_USD_MAX)]
_SLO = re.compile(r"^p(\d{2}(?:\.\d+)?)=(\d+(?:\.\d+)?)(ms|s)?$")


class Question(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A workload, what it must meet, and what may be used for it.

    ``rate_hz`` is the mean of the busy hours in calls a second. The fleet is made for
    ``peak_factor`` times that. Sizes are lognormal with coefficient of variation ``size_cv`` around
    the mean tokens or rows. ``share`` of the calls must end within ``slo_ms``, end to end (0.99 is
    a p99). ``budget_usd`` an hour and ``regions`` bound nothing when 0 and empty. With
    ``spare`` the SLO holds with any one instance gone. ``prices`` gives USD an hour for options
    that have none of their own, by name.
    """

    model: Annotated[str, Meta(min_length=1, max_length=120)]
    rate_hz: Annotated[float, Meta(ge=RATE_HZ_MIN, le=RATE_HZ_MAX)]
    slo_ms: Annotated[float, Meta(ge=SLO_MS_MIN, le=SLO_MS_MAX)]
    share: Annotated[float, Meta(ge=SHARE_MIN, le=SHARE_MAX)] = 0.99
    peak_factor: Annotated[float, Meta(ge=1, le=PEAK_FACTOR_MAX)] = 1.0
    prompt_tokens: Tokens = 64.0
    completion_tokens: Tokens = 64.0
    rows: Annotated[float, Meta(ge=1, le=ROWS_MAX)] = 1.0
    size_cv: Annotated[float, Meta(ge=0, le=SIZE_CV_MAX)] = 1.0
    budget_usd: Annotated[float, Meta(ge=0, le=BUDGET_USD_MAX)] = 0.0
    regions: Annotated[tuple[str, ...], Meta(max_length=REGIONS_MAX)] = ()
    kinds: Annotated[tuple[Kind, ...], Meta(min_length=1)] = KINDS
    published: bool = True
    utilisation_max: Annotated[float, Meta(ge=UTILISATION_MIN, le=UTILISATION_MAX)] = 0.9
    spare: bool = False
    prices: Annotated[dict[str, Price], Meta(max_length=PRICES_MAX)] = {}

    @property
    def percentile(self) -> float:
        return 100 * self.share

    @property
    def peak_hz(self) -> float:
        """The rate that the fleet is made for."""
        return self.rate_hz * self.peak_factor


def question_of(fields: Mapping[str, Any]) -> Question:
    """A question out of JSON's values. Raises :class:`QuestionInvalid`."""
    return question_read(Question, fields)


def slo_parse(text: str) -> tuple[float, float]:
    """``p99=800`` or ``p99.5=2s`` as (share, ms). Raises :class:`QuestionInvalid`."""
    found = _SLO.match(text.strip())
    if found is None:
        raise QuestionInvalid("slo", f"slo must look like p99=800 or p95=2s, got {text!r}")
    return float(found[1]) / 100, float(found[2]) * (1000.0 if found[3] == "s" else 1.0)
