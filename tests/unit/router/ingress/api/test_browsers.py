"""Which pages may call from a browser."""

import httpx
import pytest

from tests.unit.router.ingress.api.edge import ANSWER, AUTH, CHAT, ORIGIN, client_of
from tests.unit.router.pipeline.line import FakeUpstream, Line


@pytest.mark.parametrize("origin", [ORIGIN, "http://elsewhere:3000", "null"])
async def test_any_page_may_call_where_that_is_configured(origin: str) -> None:
    asked = "authorization, x-stainless-lang, anthropic-version, x-anything-to-come"
    headers = {"origin": origin, "access-control-request-headers": asked}
    async with client_of(Line(FakeUpstream(lambda _: ANSWER)), "*") as client:
        response = await client.options("/v1/chat/completions", headers=headers)
        assert response.status_code == 204
        assert response.headers["access-control-allow-origin"] == origin
        assert response.headers["access-control-allow-headers"] == asked
        answer = await client.post(
            "/v1/chat/completions", json=CHAT, headers={**AUTH, "origin": origin}
        )
    assert answer.headers["access-control-allow-origin"] == origin


async def test_only_our_pages_may_call_from_a_browser(client: httpx.AsyncClient) -> None:
    ours = await client.options("/v1/chat/completions", headers={"origin": ORIGIN})
    assert ours.headers["access-control-allow-origin"] == ORIGIN
    other = await client.options("/v1/chat/completions", headers={"origin": "http://evil"})
    assert "access-control-allow-origin" not in other.headers
