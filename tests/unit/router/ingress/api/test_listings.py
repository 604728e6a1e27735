"""Which models and providers are listed, and to whom."""

import httpx
import msgspec

from router.domain.catalog import ApiKey
from router.domain.keys import digest_key
from router.ports.upstream import StreamPart
from tests.unit.router.ingress.api.edge import ANSWER, AUTH, CHAT, client_of
from tests.unit.router.pipeline.line import ACCOUNT, PEPPER, USED, FakeUpstream, Line, snapshot


async def test_models_are_listed_to_key_holders(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models")).status_code == 401
    listed = (await client.get("/v1/models", headers=AUTH)).json()["data"]
    assert {entry["id"] for entry in listed} == {"a/m", "a/t"}
    one = (await client.get("/v1/models/a/m", headers=AUTH)).json()
    assert one["pricing"]["prompt"] == "0.000001"
    assert (await client.get("/v1/models/m", headers=AUTH)).json() == one


async def test_a_list_tells_what_a_model_takes_and_what_its_workers_act_on() -> None:
    made = snapshot()
    catalog = msgspec.structs.replace(
        made,
        models=(msgspec.structs.replace(made.models[0], takes=("image",)), *made.models[1:]),
        deployments=tuple(
            msgspec.structs.replace(deployment, parameters=names)
            for deployment, names in zip(
                made.deployments, (("tools", "seed"), ("seed",), ()), strict=True
            )
        ),
    )
    async with client_of(Line(FakeUpstream(lambda _: ANSWER), catalog=catalog)) as client:
        listed = (await client.get("/v1/models", headers=AUTH)).json()["data"]
    chat, table = sorted(listed, key=lambda entry: entry["id"])
    assert chat["architecture"]["input_modalities"] == ["text", "image"]
    assert chat["architecture"]["output_modalities"] == ["text"]
    assert chat["architecture"]["modality"] == "text+image->text"
    assert chat["supported_parameters"] == ["seed", "tools"]
    assert chat["top_provider"]["max_completion_tokens"] == 100
    assert chat["pricing"].keys() >= {"prompt", "completion", "image", "input_cache_read"}
    assert table["architecture"]["modality"] == "tensors->tensors"


async def test_the_providers_of_a_model_are_listed(client: httpx.AsyncClient) -> None:
    await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
    found = (await client.get("/v1/models/a/m/endpoints", headers=AUTH)).json()["data"]
    assert found["id"] == "a/m"
    assert [(e["provider_name"], e["status"]) for e in found["endpoints"]] == [
        ("north", 0),
        ("south", 0),
    ]
    assert found["endpoints"][0]["pricing"]["prompt"] == "0.000001"
    called, idle = found["endpoints"]
    assert called["service_ms"] > 0
    assert idle["service_ms"] is None
    assert [called[f"uptime_last_{span}"] for span in ("5m", "30m", "1d")] == [1, 1, 1]
    assert called["latency_last_30m"] is None, "no stream has begun"
    assert called["throughput_last_30m"]["p50"] > 0
    unknown = ("uptime_last_5m", "latency_last_30m", "throughput_last_30m", "quantization")
    assert [idle[name] for name in unknown] == [None] * 4
    assert (await client.get("/v1/models/a/z/endpoints", headers=AUTH)).status_code == 404
    assert (await client.get("/v1/models/a/m/endpoints")).status_code == 401


async def test_a_provider_has_the_time_that_streams_took_to_begin() -> None:
    steps = [StreamPart(b"data: {}\n\n", 1), StreamPart(b"", 0, USED, "stop", done=True)]
    async with client_of(Line(FakeUpstream(lambda _: list(steps)))) as client:
        streamed = {**CHAT, "stream": True}
        await client.post("/v1/chat/completions", json=streamed, headers=AUTH)
        found = (await client.get("/v1/models/a/m/endpoints", headers=AUTH)).json()["data"]
    latency = found["endpoints"][0]["latency_last_30m"]
    assert latency.keys() == {"p50", "p75", "p90", "p99"}
    assert 0 < latency["p50"] <= latency["p99"]


async def test_a_key_of_some_models_lists_no_others() -> None:
    catalog = snapshot()
    key = ApiKey(6, digest_key("some", PEPPER), 1, ACCOUNT, models=("a/t",))
    line = Line(
        FakeUpstream(lambda _: ANSWER),
        catalog=msgspec.structs.replace(catalog, keys=(*catalog.keys, key)),
    )
    some = {"authorization": "Bearer some"}
    async with client_of(line) as client:
        for headers, expected in ((AUTH, {"a/m", "a/t"}), (some, {"a/t"})):
            listed = (await client.get("/v1/models", headers=headers)).json()["data"]
            assert {model["id"] for model in listed} == expected
            counted = (await client.get("/v2/models/stats", headers=headers)).json()
            assert {model["name"] for model in counted["model_stats"]} == expected
        paths = ("/v1/models/{}", "/v1/models/{}/endpoints", "/v2/models/{}", "/v2/models/{}/stats")
        for path in paths:
            assert (await client.get(path.format("a/t"), headers=some)).status_code == 200, path
            refused = await client.get(path.format("a/m"), headers=some)
            assert refused.status_code == 403, path
            assert "may not use model 'a/m'" in refused.text
