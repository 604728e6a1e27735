"""The SDK before a real router and emulated workers, by both of its clients."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from waypost import AsyncClient, Client, Retries, Routing, errors

from tests.integration.router.test_alone import KEY, MODEL, POLL_S, router, worker

ONCE = Retries(tries_max=1)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WAYPOST_CONFIG", str(tmp_path / "none.json"))


def test_what_is_promised_of_calls_and_of_their_errors(emulator_url: str, tmp_path: Path) -> None:
    fleet = [worker(emulator_url, "emulated-h100-0"), worker(emulator_url, "emulated-cpu-0")]
    with router(fleet, tmp_path) as (process, url):
        with Client(api_key=KEY, base_url=url) as client:
            assert [model.id for model in client.models.list()] == [MODEL]
            answer = client.chat(MODEL, "hello", max_tokens=4, explain=True)
            assert answer.text
            assert answer.usage is not None
            assert answer.usage.completion_tokens == 4
            assert answer.route.pool
            assert answer.route.explained is not None
            assert client.record(answer.route.request_id)["model"] == MODEL
            chunks = list(client.chat_stream(MODEL, "hello", max_tokens=4))
            assert "".join(chunk.text for chunk in chunks)
            assert chunks[-1].usage is not None
            with pytest.raises(errors.ModelUnknown) as unknown:
                client.chat("nobody/nothing", "hello")
            assert unknown.value.request_id
            with pytest.raises(errors.RequestInvalid, match="sort"):
                client.chat(MODEL, "hello", routing=Routing(sort="colour"))  # type: ignore[arg-type]
        wrong = Client(api_key="wrong", base_url=url)
        with wrong as client, pytest.raises(errors.CredentialInvalid):
            client.models.list()
        process.terminate()
        process.wait(60)
        away = Client(api_key=KEY, base_url=url, retries=ONCE)
        with away as client, pytest.raises(errors.Unreachable, match="nothing was sent"):
            client.models.list()


@pytest.mark.nightly
def test_a_stream_of_a_router_that_dies_breaks(emulator_url: str, tmp_path: Path) -> None:
    with (
        router([worker(emulator_url, "emulated-cpu-0")], tmp_path) as (process, url),
        Client(api_key=KEY, base_url=url, retries=ONCE) as client,
        client.chat_stream(MODEL, "hello", max_tokens=900) as stream,
    ):
        next(stream)
        process.kill()
        with pytest.raises(errors.StreamBroken):
            list(stream)


@pytest.mark.nightly
async def test_many_at_once_and_one_that_is_left(emulator_url: str, tmp_path: Path) -> None:
    with router([worker(emulator_url, "emulated-h100-0")], tmp_path) as (_, url):
        async with AsyncClient(api_key=KEY, base_url=url) as client:
            calls = [client.chat(MODEL, f"hello {number}", max_tokens=2) for number in range(6)]
            assert all(answer.text for answer in await asyncio.gather(*calls))
            async with client.chat_stream(MODEL, "hello", max_tokens=900) as stream:
                async for chunk in stream:
                    left = chunk.route.request_id
                    break
            record = await asyncio.wait_for(_ended(client, left), 30)
            assert record["cancelled"]


async def _ended(client: AsyncClient, request_id: str) -> Mapping[str, Any]:
    """The record of a call, which is there once it has ended."""
    while True:
        with contextlib.suppress(errors.CallUnknown):
            return await client.record(request_id)
        await asyncio.sleep(POLL_S)
