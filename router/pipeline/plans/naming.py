"""The name that a call gives to its model, and the route that is meant by it.

A name may lack its author where only one has such a model, and may end in a suffix that is a wish.
"""

import msgspec

from router.domain.catalog import OWN
from router.domain.errors import ModelUnknown, NotAllowed, RequestInvalid
from router.domain.request import InferenceRequest, Sort, tighter
from router.pipeline.plans.eligibility import leaves_out
from router.pipeline.plans.routing_table import Grant, Route, RoutingTable

SUFFIXES = {
    "cheapest": Sort.PRICE,
    "fastest": Sort.THROUGHPUT,
    "floor": Sort.PRICE,
    "nitro": Sort.THROUGHPUT,
}
CANDIDATES_SHOWN = 5
"""Of the models that an ambiguous name may mean."""


def find_route(
    table: RoutingTable, grant: Grant, request: InferenceRequest
) -> tuple[InferenceRequest, Route]:
    """The request by its model's whole name, and the route.

    Raises ``ModelUnknown``, ``NotAllowed``, or ``RequestInvalid`` for an ambiguous name.
    """
    route = table.route_for(grant, request.model)
    if route is None:
        request = named(table, grant, request)
        route = table.route_for(grant, request.model)
    if route is None:
        raise ModelUnknown(
            f"model {request.model!r} does not exist; GET /v1/models lists those that do. "
            "A pipeline is run by POST /v1/predictions",
            param="model",
        )
    check_permitted(grant, route)
    return request, route


def named(table: RoutingTable, grant: Grant, request: InferenceRequest) -> InferenceRequest:
    """The request by its model's whole name, with the wish of its suffix.

    A name that no model has is kept. Raises ``RequestInvalid`` for an ambiguous one.
    """
    if table.route_for(grant, request.model) is not None:
        return request
    name, _, suffix = request.model.rpartition(":")
    sort = SUFFIXES.get(suffix)
    if sort is None:
        name, wishes = request.model, request.wishes
    else:
        wishes = msgspec.structs.replace(request.wishes, sort=request.wishes.sort or sort)
    whole = whole_name(table, grant, name)
    if table.route_for(grant, whole) is None:
        return request
    return msgspec.structs.replace(request, model=whole, wishes=wishes)


def whole_name(table: RoutingTable, grant: Grant, name: str) -> str:
    """``author/slug`` for a slug that one author has, among the models that the grant may use.

    Every other name stays as it is. Raises ``RequestInvalid`` for a slug of several authors.
    """
    names = [whole for whole in table.by_slug.get(name, ()) if grant.may_use(whole)]
    if len(names) > 1:
        more = ", \N{HORIZONTAL ELLIPSIS}" if len(names) > CANDIDATES_SHOWN else ""
        raise RequestInvalid(
            f"model {name!r} is ambiguous; name its author, too: "
            f"{', '.join(names[:CANDIDATES_SHOWN])}{more}",
            param="model",
        )
    return names[0] if names else name


def check_permitted(grant: Grant, route: Route) -> None:
    """Raises ``NotAllowed`` unless its key lets a caller use the route that was found for it."""
    if grant.models and not grant.sees(route):
        raise NotAllowed(f"this API key may not use model {route.model.name!r}", param="model")


def own_first(table: RoutingTable, grant: Grant, request: InferenceRequest) -> InferenceRequest:
    """The call of the model that the caller's organisation has put before this one, if any.

    It falls back to this one if the organisation says so, at its price at most. Wishes that leave
    out the organisation's own endpoints leave the call as it is. Raises ``RequestInvalid`` for an
    ambiguous name.
    """
    stand_ins = table.stand_ins.get(grant.organisation_id)
    if stand_ins is None:
        return request
    wanted = named(table, grant, request)
    model = stand_ins.get(wanted.model)
    if model is None or model.own is None or leaves_out(wanted.wishes, OWN):
        return request
    wishes = wanted.wishes
    fallbacks = (wanted.model, *wanted.fallbacks) if model.own.spills else wanted.fallbacks
    if model.own.market_max is not None:
        most = tighter(wishes.max_fallback_price, model.own.market_max)
        wishes = msgspec.structs.replace(wishes, max_fallback_price=most)
    return msgspec.structs.replace(wanted, model=model.name, fallbacks=fallbacks, wishes=wishes)
