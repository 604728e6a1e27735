"""``auto``: the model is chosen for the call, by what it needs, costs and takes.

A model fits if it takes what the call holds, if its context is long enough, and if a provider that
the caller allows acts on the fields that the call cannot do without. Of those that fit, the one
with the lowest price and time is called, real ones before emulated ones; the next ones are its
fallbacks.
"""

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from router.domain.catalog import Endpoint
from router.domain.errors import CallError, NothingEligible
from router.domain.money import NANO_PER_USD
from router.domain.pricing import Usage, charge_nano
from router.domain.protocols import TASK_KINDS
from router.domain.request import AUTO, InferenceRequest, Kind, Sort
from router.domain.verdict import Verdict
from router.pipeline.plans.eligibility import eligibility, required_parameters
from router.pipeline.plans.fit import check_fit
from router.pipeline.plans.naming import SUFFIXES, whole_name
from router.pipeline.plans.routing_table import Grant, Route, RoutingTable

NAMES = frozenset({AUTO, *(f"{AUTO}:{suffix}" for suffix in SUFFIXES)})
"""What a call may name instead of a model. Nothing else is, as the name is told and recorded."""

NEEDED = frozenset({"audio", "reasoning", "response_format", "tools"})
"""Fields without which an answer is another one: a provider must act on them."""

SECONDS_PER_USD = 1_000.0
"""How a price and a time are weighed: a tenth of a cent is worth a second."""

UNMEASURED_S = 10.0
"""What a model counts with that nobody has called or benchmarked here."""

FALLBACKS = 2

Seconds = Callable[[str], float | None]
"""The measured seconds of a mean call on an endpoint, by its id; None if there are none."""

Tokens = Callable[[str], float]
"""The expected tokens of the answer of a model, by its name."""


class Fitting(Struct, frozen=True, gc=False):
    """A model that fits, at its best endpoint. ``cost_nano`` is in USD."""

    model: str
    emulated: bool
    cost_nano: float
    seconds: float


def is_auto(request: InferenceRequest) -> bool:
    """Whether the call leaves the choice of its model to the router."""
    return request.kind is not Kind.INFER and request.model in NAMES


def choose(
    table: RoutingTable,
    grant: Grant,
    request: InferenceRequest,
    *,
    seconds: Seconds,
    answer_tokens: Tokens,
) -> InferenceRequest:
    """The call of the model that suits it best, with others to fall back to, and why.

    Its ``models`` are those to choose from, all if it names none. Raises ``NothingEligible`` that
    says what each model lacks.
    """
    sort = request.wishes.sort or SUFFIXES.get(request.model.partition(":")[2])
    unfit: Counter[str] = Counter()
    fitting: list[Fitting] = []
    for route in _routes(table, grant, request):
        found = _lacks(route, request) or _fitting(route, request, seconds, answer_tokens)
        if isinstance(found, str):
            unfit[found] += 1
        else:
            fitting.append(found)
    if not fitting:
        raise NothingEligible(
            f"no model fits this call; left out: {_counted(unfit) or 'none may be called'}",
            param="model",
        )
    best, *others = sorted(fitting, key=lambda found: _rank(found, sort))
    return msgspec.structs.replace(
        request,
        model=best.model,
        fallbacks=tuple(other.model for other in others[:FALLBACKS]),
        wishes=msgspec.structs.replace(request.wishes, sort=sort),
        needs=NEEDED.intersection(request.fields),
        asked=request.asked or request.model,
        why=_why(best, len(fitting), sort, unfit),
    )


def _routes(table: RoutingTable, grant: Grant, request: InferenceRequest) -> Iterable[Route]:
    """What may be called this way."""
    named = [whole_name(table, grant, name) for name in request.fallbacks]
    for name in named or table.routes:
        route = table.route_for(grant, name)
        if route is None or not grant.sees(route):
            continue
        if request.kind in TASK_KINDS[route.model.task]:
            yield route


def _lacks(route: Route, request: InferenceRequest) -> str:
    """Why the model itself does not fit; "" if it does."""
    model = route.model
    if request.modalities and not request.modalities.issubset(model.takes or ()):
        return f"takes no {', '.join(sorted(request.modalities.difference(model.takes or ())))}"
    tokens = request.prompt_tokens + request.completion_tokens_asked
    if model.context_tokens_max and tokens > model.context_tokens_max:
        return "context too short"
    try:
        check_fit(model, request)
    except CallError:
        return "context too short"
    return ""


def _fitting(
    route: Route, request: InferenceRequest, seconds: Seconds, answer_tokens: Tokens
) -> Fitting | str:
    """The model at the endpoint where price and time are lowest, or why it has none."""
    needed = NEEDED.intersection(request.fields) | required_parameters(request)
    found = eligibility(route.endpoints, request.kind, request.wishes, needed)
    if not found.endpoints:
        verdicts = {candidate.verdict for candidate in found.filtered}
        if Verdict.TOO_DEAR in verdicts:
            return "too dear"
        if Verdict.PARAMETERS in verdicts:
            return f"no {' or '.join(sorted(needed))}"
        return "no provider now"
    usage = Usage(
        prompt_tokens=request.prompt_tokens,
        completion_tokens=int(answer_tokens(route.model.name)),
        rows=request.bound.rows,
        images=request.bound.images,
    )
    places = [(_cost_nano(place, usage), _seconds(place, seconds)) for place in found.endpoints]
    best = min(places, key=lambda place: _weighed(*place))
    return Fitting(route.model.name, route.model.emulated, *best)


def _cost_nano(endpoint: Endpoint, usage: Usage) -> float:
    deployment = endpoint.deployment
    timed_nano = deployment.price.second_nano * deployment.service_prior_ms / 1e3
    return charge_nano(deployment.price, usage) + timed_nano


def _seconds(endpoint: Endpoint, seconds: Seconds) -> float:
    prior_s = endpoint.deployment.service_prior_ms / 1e3
    return seconds(endpoint.id) or prior_s or UNMEASURED_S


def _weighed(cost_nano: float, seconds: float) -> float:
    return cost_nano / NANO_PER_USD * SECONDS_PER_USD + seconds


def _rank(found: Fitting, sort: Sort | None) -> tuple[bool, float, float, str]:
    cost, weighed = found.cost_nano, _weighed(found.cost_nano, found.seconds)
    first = {Sort.PRICE: cost, None: weighed}.get(sort, found.seconds)
    return found.emulated, first, weighed, found.model


def _why(best: Fitting, count: int, sort: Sort | None, unfit: Counter[str]) -> str:
    by = {Sort.PRICE: "cheapest", None: "best by price and time"}.get(sort, "fastest")
    said = (
        f"{by} of {count} that fit, about ${best.cost_nano / NANO_PER_USD:.6f} "
        f"and {best.seconds:.1f} s"
    )
    return f"{said}; left out: {_counted(unfit)}" if unfit else said


def _counted(unfit: Counter[str]) -> str:
    return ", ".join(f"{n} ({reason})" for reason, n in sorted(unfit.items()))
