"""An answer as a table of text."""

from collections.abc import Iterator

from marketplace.planning.whatif.answer import Answer
from marketplace.planning.whatif.runs import Side
from router.domain.money import NANO_PER_USD


def report(answer: Answer) -> str:
    """For a terminal: three columns, the difference with its interval, pools, calibration."""
    return "\n".join(_lines(answer))


def _lines(answer: Answer) -> Iterator[str]:
    label = "EMULATED hardware" if answer.emulated else "measured hardware"
    yield (
        f"{answer.calls:,} of {answer.total:,} calls, {answer.seeds} seeds, {label};"
        f" objective {answer.slo_ms:.0f} ms"
    )
    yield f"{'':24s} {'really':>12s} {'now':>12s} {'then':>12s}   difference, 95 % interval"
    for one in answer.differences:
        really = getattr(answer.really, one.metric)
        values = (_value(one.metric, value) for value in (really, one.now, one.then))
        spans = (_value(one.metric, value, sign=True) for value in (one.low, one.high))
        head = f"{_name(one.metric):24s} " + " ".join(f"{value:>12s}" for value in values)
        yield f"{head}   {' … '.join(spans)}  {one.verdict}"
    hourly = [
        cost.hardware_nano_per_hour / NANO_PER_USD for cost in (answer.cost_now, answer.cost_then)
    ]
    yield f"{'hardware, USD an hour':24s} {'':>12s} {hourly[0]:12.4f} {hourly[1]:12.4f}"
    errors = (answer.really.errors, answer.now.errors, answer.then.errors)
    yield f"{'not answered':24s} " + " ".join(f"{count:12,d}" for count in errors)
    names = sorted(
        {p.pool for side in (answer.really, answer.now, answer.then) for p in side.pools}
    )
    for name in names:
        shares = [_share(side, name) for side in (answer.really, answer.now, answer.then)]
        yield f"{'share of ' + name:24s} " + " ".join(f"{share:12.1%}" for share in shares)
    found = answer.calibration
    verdict = "trusted" if answer.trusted else "NOT TO BE TRUSTED"
    yield (
        f"calibration, replay of now against what happened: mean {found.mean:+.1%}"
        f" (±{found.mean_max:.0%}), p99 {found.p99:+.1%} (±{found.p99_max:.0%}), good"
        f" {found.good:+.1%} (±{found.good_max:.0%}), other pool {found.shares:.1%}"
        f" (at most {found.shares_max:.0%}): {verdict}"
    )


def _share(side: Side, pool: str) -> float:
    return next((part.share for part in side.pools if part.pool == pool), 0.0)


def _name(metric: str) -> str:
    if metric == "charge_nano_per_1000":
        return "charged, USD/1000 calls"
    if metric == "good":
        return "within the objective"
    return f"{metric.removesuffix('_ms')}, ms"


def _value(metric: str, value: float, *, sign: bool = False) -> str:
    plus = "+" if sign else ""
    if metric == "charge_nano_per_1000":
        return f"{value / NANO_PER_USD:{plus}.6f}"
    return f"{value:{plus}.2%}" if metric == "good" else f"{value:{plus}.1f}"
