"""Which model a call's name for it means."""

import pytest
from msgspec import structs

from router.domain.errors import ModelUnknown, NotAllowed, RequestInvalid
from router.domain.money import Purse
from router.pipeline.plans.naming import CANDIDATES_SHOWN, find_route
from router.pipeline.plans.routing_table import Grant, build_table
from tests.unit.router.pipeline.line import chat, snapshot

MADE = snapshot()
AUTHORS = ("a", "b", "c", "d", "e", "f")
TABLE = build_table(
    structs.replace(
        MADE,
        models=(
            *MADE.models,
            *(structs.replace(MADE.models[0], name=f"{author}/both") for author in AUTHORS),
        ),
    )
)
ANYONE = Grant(1, Purse(7))


async def found(name: str, grant: Grant = ANYONE) -> str:
    request, route = find_route(TABLE, grant, chat(model=name))
    assert route.model.name == request.model
    return request.model


async def test_an_author_may_be_left_out_where_there_is_one() -> None:
    assert await found("m") == await found("a/m") == "a/m"
    for name in (":", ":floor", "/m", "b/m", "m:slow", "m:"):
        with pytest.raises(ModelUnknown):
            await found(name)


async def test_where_there_are_several_authors_they_are_told() -> None:
    with pytest.raises(RequestInvalid, match=r"'both' is ambiguous.*: a/both, b/both") as refused:
        await found("both:fastest")
    assert refused.value.param == "model"
    assert refused.value.message.count("/both") == CANDIDATES_SHOWN


async def test_a_key_hears_of_no_model_that_it_may_not_use() -> None:
    one = Grant(1, Purse(7), models=("b/both",))
    assert await found("both", one) == "b/both"
    with pytest.raises(ModelUnknown):
        await found("m", one)
    with pytest.raises(NotAllowed):
        await found("a/m", one)
