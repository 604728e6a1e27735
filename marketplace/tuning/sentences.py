"""Turns evidence into sentences in the reader's language."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.catalog.models import Deployment
from marketplace.routing.models import Policy
from marketplace.routing.trials.aim import Aim
from marketplace.routing.trials.evidence import (
    Benchmarked,
    ByHand,
    Calibrated,
    Evidence,
    Gain,
    Replayed,
)
from marketplace.tuning.proofs.proof import Apart, Lack, Proof, Says, Trust, may_begin
from marketplace.tuning.trials.trial import BUDGET_SHARE_MAX

ENDINGS: dict[str, object] = {
    "better": gettext_lazy("It clearly improved its goal and harmed nothing beyond the margins."),
    "misses": gettext_lazy("Its calls clearly missed more often."),
    "slower": gettext_lazy("Its calls were clearly slower."),
    "budget": gettext_lazy("It used up the trial's share of the day's error budget."),
    "time": gettext_lazy("Its time ran out without a clear result."),
    "person": gettext_lazy("A person ended it."),
    "calibration": gettext_lazy("Call times differ from what the router expected."),
    "replay": gettext_lazy("Recorded arrivals did better with it."),
    "benchmark": gettext_lazy("A benchmark differs from what the router expects."),
    "by_hand": gettext_lazy("A person wrote it."),
    "demo": gettext_lazy("Automatic is the demo's default."),
    "superseded": gettext_lazy("Another version was published."),
    "stale": gettext_lazy("Nobody decided within a day, so its evidence is out of date."),
    "replay_worse": gettext_lazy("Its replay of recorded calls was worse."),
}
"""Why a trial was proposed or ended, by reason."""
FIGURES: dict[str, object] = {
    "mean_ms": gettext_lazy("mean latency"),
    "p99_ms": gettext_lazy("99th percentile"),
    "good": gettext_lazy("answered within the objective"),
}
FIELDS: dict[str, object] = {
    "kind": gettext_lazy("Kind"),
    "wait_weight": gettext_lazy("Wait weight"),
    "usd_weight_s": gettext_lazy("Seconds of latency per dollar"),
    "hedge_share": gettext_lazy("Share that may be hedged"),
    "shared": gettext_lazy("Placed by every router"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """A field that differs between two versions: its name, label and both values as text."""

    field: str
    label: str
    before: str
    after: str


def why(kept: Mapping[str, Any]) -> list[str]:
    """Why a policy was proposed: a sentence for each fact in its evidence."""
    evidence: Evidence = msgspec.convert(kept, Evidence)
    match evidence:
        case Calibrated():
            return _calibration(evidence)
        case Replayed():
            return [_replay(evidence.replay)]
        case Benchmarked():
            return [_benchmark(evidence)]
        case ByHand():
            return [ending("by_hand")]


def ending(because: str) -> str:
    """A sentence about why a trial ended."""
    return str(ENDINGS.get(because, because))


def differences(before: Policy, after: Policy) -> list[tuple[str, str, str]]:
    """The differences between two versions: label and both values."""
    return [(change.label, change.before, change.after) for change in changes(before, after)]


def changes(before: Policy, after: Policy) -> list[Change]:
    """The differences between two versions by field; a deployment without a weight has 1."""
    rows = [
        Change(name, str(label), _shown(before, name), _shown(after, name))
        for name, label in FIELDS.items()
        if getattr(before, name) != getattr(after, name)
    ]
    keys = sorted(before.weights.keys() | after.weights.keys(), key=int)
    names = _names(keys)
    for key in keys:
        old, new = before.weights.get(key, 1.0), after.weights.get(key, 1.0)
        if old != new:
            label = _("weight of %s") % names[key]
            rows.append(Change(f"weights.{key}", label, _number(old), _number(new)))
    return rows


def _shown(policy: Policy, name: str) -> str:
    value = getattr(policy, name)
    if name == "kind":
        return str(policy.get_kind_display())
    if name == "shared":
        return _("yes") if value else _("no")
    if name == "hedge_share":
        return f"{_number(100 * value)} %"
    return _number(value)


def standing(reading: Mapping[str, Any], calls: int) -> list[str]:
    """Sentences about the sequential test so far, after ``calls`` under trial."""
    if not calls:
        # Without calls the ratio is the test's prior.
        return [_("No call in the trial has ended yet.")]
    return [
        _("Geometric mean latency of its calls, relative to the others: %(ratio)s.")
        % {"ratio": _interval(reading["ratio"], reading["ratio_low"], reading["ratio_high"])},
        _(
            "Misses beyond those of the policy in force: %(excess)s, or %(spent)s %% of the "
            "day's error budget. The trial stops at %(most)s %%."
        )
        % {
            "excess": _number(max(reading["excess"], 0.0)),
            "spent": _number(100 * reading["budget_spent"], 4),
            "most": _number(100 * BUDGET_SHARE_MAX),
        },
    ]


TRUST: dict[str, object] = {
    Trust.TRUSTED: gettext_lazy("Reliable"),
    Trust.UNTRUSTED: gettext_lazy("Not reliable"),
    Trust.UNKNOWN: gettext_lazy("Unknown"),
}
SAYS: dict[str, object] = {
    Says.BETTER: gettext_lazy("With the proposal, the same calls would have been served better."),
    Says.WORSE: gettext_lazy("With the proposal, the same calls would have been served worse."),
    Says.UNCLEAR: gettext_lazy("With the proposal, there is no clear difference."),
}
LACKS: dict[str, object] = {
    Lack.FLEET: gettext_lazy("The speed of its workers is unknown."),
    Lack.SLOW: gettext_lazy("The replay took too long: the fleet cannot keep up with the calls."),
}
HELD: dict[str, object] = {
    "mean": gettext_lazy("Replayed mean latency is %(apart)s away from the recorded one"),
    "p99": gettext_lazy("Replayed 99th percentile is %(apart)s away from the recorded one"),
    "good": gettext_lazy("Replayed share within the objective is %(apart)s away"),
    "shares": gettext_lazy(
        "%(apart)s of the calls were answered by another pool than in the recording"
    ),
}


def verdict(proof: Proof, trial_aim: Aim) -> list[str]:
    """Sentences about a proposal's replay and whether to trust it."""
    if proof.trust is Trust.UNKNOWN:
        return [_lacking(proof), _("No trial starts automatically before there is a replay.")]
    return [
        _(
            "%(calls)s recorded calls placed by the version in force alone, replayed with "
            "%(seeds)s seeds."
        )
        % {"calls": number_format(proof.calls), "seeds": proof.seeds},
        *(_held(apart) for apart in proof.held),
        str(SAYS[proof.says]),
        _("This replay allows a trial to start automatically.")
        if may_begin(proof, trial_aim)
        else _(
            "This replay does not allow a trial to start automatically. A person may start one."
        ),
    ]


def figure(name: str, value: float) -> str:
    """A figure of a replay with its unit."""
    return (
        f"{_number(100 * value, 1)} %" if name in ("good", "share") else f"{_number(value, 1)} ms"
    )


def _lacking(proof: Proof) -> str:
    if proof.lack is Lack.FEW:
        return _(
            "Too few calls to replay: %(calls)s since the version in force places them alone. "
            "%(needed)s are needed."
        ) % {"calls": number_format(proof.calls), "needed": number_format(proof.calls_min)}
    return str(LACKS[proof.lack]) if proof.lack else ""


def _held(held: Apart) -> str:
    sign = "" if held.name == "shares" else "−" if held.apart < 0 else "+"
    apart = f"{sign}{_number(100 * abs(held.apart), 1)} %"
    most = _("at most %(most)s %%") % {"most": _number(100 * held.most, 1)}
    what = str(HELD[held.name]) % {"apart": apart}
    return f"{what} ({most})."


def _calibration(evidence: Calibrated) -> list[str]:
    names = _names([str(bias.deployment_id) for bias in evidence.biases])
    return [
        _(
            "%(deployment)s: %(samples)d calls of %(minutes)d minutes took %(ratio)s times what "
            "the router expected, over the route's own ratio."
        )
        % {
            "deployment": names[str(bias.deployment_id)],
            "samples": bias.samples,
            "minutes": evidence.minutes,
            "ratio": _interval(bias.ratio, bias.low, bias.high),
        }
        for bias in evidence.biases
    ]


def _replay(gain: Gain) -> str:
    return _(
        "%(arrivals)d recorded arrivals, replayed in %(stretches)d time ranges: %(figure)s "
        "%(before)s ms before, %(after)s ms after; %(gain)s %% less, at least %(low)s %%."
    ) % {
        "arrivals": gain.arrivals,
        "stretches": gain.stretches,
        "figure": FIGURES.get(gain.figure, gain.figure),
        "before": _number(gain.before_ms),
        "after": _number(gain.after_ms),
        "gain": _number(100 * gain.gain),
        "low": _number(100 * gain.low),
    }


def _benchmark(evidence: Benchmarked) -> str:
    return _(
        "Benchmark %(number)d measured %(measured)s ms (%(samples)d samples); the router expects "
        "%(expected)s ms of this deployment."
    ) % {
        "number": evidence.benchmark,
        "measured": _number(evidence.measured_ms),
        "samples": evidence.samples,
        "expected": _number(evidence.expected_ms),
    }


def _interval(value: float, low: float | None, high: float | None) -> str:
    if low is None or high is None or low == 0:
        return _number(value)
    return _("%(value)s (%(low)s to %(high)s)") % {
        "value": _number(value),
        "low": _number(low),
        "high": _number(high),
    }


def _names(keys: list[str]) -> dict[str, str]:
    rows = Deployment.objects.filter(pk__in=map(int, keys)).select_related("provider", "pool")
    known = {str(row.pk): f"{row.provider.slug} · {row.pool.name}" for row in rows}
    return {key: known.get(key, f"#{key}") for key in keys}


def _number(value: float, decimals: int = 3) -> str:
    plain = f"{value:.{decimals}f}"
    return str(number_format(plain.rstrip("0").rstrip(".")))
