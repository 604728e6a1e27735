"""``auto`` chooses a model by what a call needs, costs and takes, and says why."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from router.contracts.snapshot import Snapshot
from router.domain.catalog import Deployment, Model, Pool, Worker
from router.domain.errors import NothingEligible
from router.domain.money import Purse
from router.domain.pricing import Price, Usage
from router.domain.request import (
    InferenceRequest,
    Kind,
    MaxPrice,
    Modality,
    Sort,
    Wishes,
    fallen_back,
)
from router.pipeline.plans.auto import choose, is_auto
from router.pipeline.plans.plan import find_eligible
from router.pipeline.plans.routing_table import Grant, RoutingTable, build_table
from router.ports.upstream import Answer, UpstreamFailed
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import ANSWER, KEY, FakeUpstream, Line, snapshot

AUTH = {"authorization": f"Bearer {KEY}"}
GRANT = Grant(1, Purse(7))
SECONDS = {"cheap": 4.0, "fast": 0.5, "seer": 2.0}
"""Measured, by model; the emulated one was never called."""


def catalog() -> Snapshot:
    """Models of one deployment each: price in dollars per million tokens of the answer."""
    models = (
        Model("a/cheap", "chat", "1", 0, context_tokens_max=1_000, takes=()),
        Model("a/fast", "chat", "1", 0, context_tokens_max=8_000),
        Model("a/seer", "chat", "1", 0, context_tokens_max=8_000, takes=("image",)),
        Model("a/toy", "chat", "1", 0, emulated=True, takes=("image", "audio")),
        Model("a/vector", "embeddings", "1", 0),
    )
    prices = {"a/cheap": 1, "a/fast": 20, "a/seer": 6, "a/toy": 0, "a/vector": 0}
    tools = {"a/fast": ("tools",), "a/seer": ("tools", "response_format", "seed")}
    return msgspec.structs.replace(
        snapshot(),
        models=models,
        pools=tuple(Pool(model.name, "gpu") for model in models),
        workers=tuple(Worker(m.name, m.name, "http://x", "openai", 4) for m in models),
        deployments=tuple(
            Deployment(
                n,
                model.name,
                f"by-{model.name[2:]}",
                21,
                model.name,
                "x",
                Price(n, completion_nano_per_million=prices[model.name] * 10**9),
                parameters=tools.get(model.name, ()),
            )
            for n, model in enumerate(models, start=1)
        ),
    )


TABLE = build_table(catalog())


def call(model: str = "auto", **values: Any) -> InferenceRequest:
    fields = {name: Raw(b"[]") for name in values.pop("needs", ())}
    return InferenceRequest(
        "id", values.pop("kind", Kind.CHAT), model, Usage(), 0.0, 0, fields=fields, **values
    )


def chosen(
    request: InferenceRequest, grant: Grant = GRANT, table: RoutingTable = TABLE
) -> InferenceRequest:
    return choose(
        table,
        grant,
        request,
        seconds=lambda endpoint: SECONDS.get(endpoint.partition("@a/")[2]),
        answer_tokens=lambda _: 500.0,
    )


def models(request: InferenceRequest, grant: Grant = GRANT) -> list[str]:
    found = chosen(request, grant)
    return [found.model, *found.fallbacks]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        # 500 tokens: $0.0005 and 4 s, $0.01 and 0.5 s, $0.003 and 2 s; a dollar is 1000 s.
        (call(), ["a/cheap", "a/seer", "a/fast"]),
        (call("auto:fastest"), ["a/fast", "a/seer", "a/cheap"]),
        (call("auto:floor"), ["a/cheap", "a/seer", "a/fast"]),
        (call(wishes=Wishes(sort=Sort.LATENCY)), ["a/fast", "a/seer", "a/cheap"]),
        (call(prompt_bytes=8_000), ["a/seer", "a/fast", "a/toy"]),
        (call(completion_tokens_asked=2_000), ["a/seer", "a/fast", "a/toy"]),
        (call(modalities=frozenset({Modality.IMAGE})), ["a/seer", "a/toy"]),
        (call(modalities=frozenset({Modality.AUDIO})), ["a/toy"]),
        (call(needs=("tools",)), ["a/seer", "a/fast"]),
        (call(needs=("tools", "response_format")), ["a/seer"]),
        (call(wishes=Wishes(max_price=MaxPrice(completion=10))), ["a/cheap", "a/seer", "a/toy"]),
        (call(wishes=Wishes(only=("by-fast",))), ["a/fast"]),
        (call(fallbacks=("fast", "a/toy", "no/such")), ["a/fast", "a/toy"]),
        (call(kind=Kind.EMBEDDING), ["a/vector"]),
    ],
)
def test_the_model_is_the_best_of_those_that_fit(
    request_: InferenceRequest, expected: list[str]
) -> None:
    assert is_auto(request_)
    assert models(request_) == expected


@pytest.mark.parametrize("name", ["auto:\0", "auto:\n", "auto:x", "auto:", "auto:floor:floor"])
async def test_what_only_begins_like_auto_is_no_model(name: str) -> None:
    """The name would go into the books and the answer's headers as it came."""
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=catalog())
    async with calling(line) as client:
        body = {"model": name, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
        refused = await client.post("/v1/chat/completions", json=body, headers=AUTH)
        counted = await client.post("/v1/messages/count_tokens", json=body, headers=AUTH)
    assert (refused.status_code, counted.status_code) == (404, 404)
    assert refused.json()["error"]["code"] == "model_not_found"
    assert line.records == []


def test_a_key_of_some_models_gets_those() -> None:
    grant = msgspec.structs.replace(GRANT, models=("a/fast", "a/toy"))
    assert models(call(), grant) == ["a/fast", "a/toy"]


def test_what_needs_tools_goes_to_deployments_that_act_on_them() -> None:
    """Their providers may offer others too, which do not."""
    plain = Deployment(9, "a/seer", "by-fast", 21, "a/fast", "x", Price(9))
    given = catalog()
    table = build_table(msgspec.structs.replace(given, deployments=(*given.deployments, plain)))

    def places(request: InferenceRequest) -> list[set[int]]:
        """By the models that are called one after the other."""
        found = chosen(request, table=table)
        routes = [found]
        while routes[-1].fallbacks:
            routes.append(fallen_back(routes[-1], "id"))
        return [
            {place.deployment.id for place in find_eligible(table, route).endpoints}
            for route in routes
        ]

    assert places(call(needs=("tools",))) == [{3}, {2}]
    assert places(call(fallbacks=("a/seer",))) == [{3, 9}]


def test_who_requires_all_parameters_gets_a_model_with_them() -> None:
    """The cheapest one was chosen, and then had no provider."""
    wishes = Wishes(require_parameters=True)
    assert models(call(needs=("seed",), wishes=wishes)) == ["a/seer"]
    with pytest.raises(NothingEligible, match="no top_k"):
        chosen(call(needs=("top_k",), wishes=wishes))


def test_it_says_how_it_chose_and_what_the_others_lack() -> None:
    found = chosen(call(modalities=frozenset({Modality.IMAGE})))
    assert found.asked == "auto"
    assert found.why == (
        "best by price and time of 2 that fit, about $0.003000 and 2.0 s; "
        "left out: 2 (takes no image)"
    )


def test_where_none_fits_it_says_what_each_lacks() -> None:
    request = call(
        modalities=frozenset({Modality.AUDIO}), needs=("tools",), wishes=Wishes(ignore=("x",))
    )
    with pytest.raises(NothingEligible) as refused:
        chosen(request)
    assert refused.value.message == (
        "no model fits this call; left out: 1 (no tools), 3 (takes no audio)"
    )


async def test_a_call_is_served_recorded_and_told_why_and_the_next_model_stands_in() -> None:
    def script(endpoint: Any) -> Answer | UpstreamFailed:
        return UpstreamFailed("reset") if endpoint.deployment.model == "a/cheap" else ANSWER

    line = Line(FakeUpstream(script), catalog=catalog())
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    async with calling(line) as client:
        served = await client.post("/v1/chat/completions", json=body, headers=AUTH)
        counted = await client.post("/v1/messages/count_tokens", json=body, headers=AUTH)
    assert served.status_code == 200
    assert served.headers["x-route-asked"] == "auto"
    assert served.headers["x-route-model"] == "a/seer"
    assert served.headers["x-route-why"].startswith("best by price and time of 4 that fit")
    assert [(record.model, record.asked) for record in line.records] == [
        ("a/cheap", "auto"),
        ("a/seer", "auto"),
    ]
    assert line.records[1].why == served.headers["x-route-why"]
    assert counted.status_code == 200
