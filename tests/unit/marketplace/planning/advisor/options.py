"""Two options and a question that fleets of them can be asked about."""

from marketplace.planning.advisor.fleets.option import Evidence, Option
from marketplace.planning.advisor.question import Question


def option(name: str = "fast", ms: float = 50.0, slots: int = 2, usd: float = 2.0) -> Option:
    return Option(
        name=name,
        hardware=f"1 × {name}",
        kind="gpu",
        chips=1,
        region="local",
        service_ms=ms,
        slots=slots,
        evidence=Evidence.MEASURED,
        cost_nano=round(usd * 1e9),
        samples=5_000,
    )


FAST, SLOW = option(), option("slow", ms=120.0, slots=2, usd=0.7)
QUESTION = Question(model="author/slug", rate_hz=55, slo_ms=300, share=0.95, size_cv=0.5)
