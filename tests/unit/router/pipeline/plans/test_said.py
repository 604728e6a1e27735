"""Calls that no chat can say go to workers that speak responses, or are refused by their field."""

from typing import Any

import pytest
from msgspec import Raw, structs

from router.contracts.snapshot import Snapshot
from router.domain.catalog import OWN
from router.domain.errors import NothingEligible, RequestInvalid
from router.domain.money import Purse
from router.domain.request import AsResponse, InferenceRequest
from router.pipeline.plans.auto import choose
from router.pipeline.plans.plan import make_plan
from router.pipeline.plans.routing_table import Grant, build_table
from tests.unit.router.pipeline.line import NOTHING_LEARNED, chat, snapshot

WHY = "tools[0] is of type 'web_search'"
UNSAID = AsResponse({"input": Raw(b'"hi"')}, WHY, "tools")
GRANT = Grant(1, Purse(7))


def shop(provider: str = "south", **traits: Any) -> Snapshot:
    """Of two providers, south speaks responses."""
    made = snapshot()
    speaks = {"parameters": ("responses",), "provider": provider, **traits}
    deployments = tuple(
        structs.replace(each, **speaks) if each.provider == "south" else each
        for each in made.deployments
    )
    return structs.replace(made, deployments=deployments)


def unsaid(**fields: Any) -> InferenceRequest:
    return structs.replace(chat(**fields), as_response=UNSAID)


def pools(catalog: Snapshot, request: InferenceRequest) -> set[str]:
    plan = make_plan(
        build_table(catalog), GRANT, request, holding=NOTHING_LEARNED, hardware_max_s=600.0
    )
    return {endpoint.pool.name for endpoint in plan.endpoints}


async def test_only_those_that_speak_it_get_what_no_chat_can_say() -> None:
    said = structs.replace(UNSAID, unsaid="")
    assert pools(shop(), structs.replace(chat(), as_response=said)) == {"one", "two"}
    assert pools(shop(), unsaid()) == {"two"}
    assert pools(shop(OWN), unsaid()) == {"two"}
    with pytest.raises(NothingEligible):
        pools(shop(), unsaid(provider={"ignore": ["south"]}))


@pytest.mark.parametrize("provider", ["south", OWN])
async def test_where_nobody_speaks_it_its_field_is_named(provider: str) -> None:
    mute = shop(provider, parameters=())
    with pytest.raises(RequestInvalid, match="web_search") as refused:
        pools(mute, unsaid())
    assert refused.value.param == "tools"
    with pytest.raises(NothingEligible):  # Another model may be able to.
        pools(mute, structs.replace(unsaid(), fallbacks=("a/other",)))


async def test_a_model_is_chosen_that_can_be_told_so() -> None:
    def chosen(catalog: Snapshot) -> str:
        request = structs.replace(unsaid(), model="auto")
        return choose(
            build_table(catalog),
            GRANT,
            request,
            seconds=lambda _: 1.0,
            answer_tokens=lambda _: 10.0,
        ).model

    assert chosen(shop()) == "a/m"
    with pytest.raises(NothingEligible, match="no responses"):
        chosen(shop(parameters=()))
