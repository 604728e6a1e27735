"""The published description is of the router's own paths, all of them, and of no others.

What it passes on to the web process is described there.
"""

import re
from pathlib import Path
from uuid import uuid4

import pytest
from jsonschema import Draft202012Validator

from router.build import SOURCES
from router.ingress.description import DESCRIPTION, PATHS, SCHEMAS
from router.ingress.proxy.pass_through import is_job_path
from router.ports.upstream import Answer, StreamPart
from tests.unit.router.ingress.serving import ADMIN_TOKEN, calling
from tests.unit.router.pipeline.line import KEY, USED, FakeUpstream, Line

REFERENCE = Path(__file__).parents[4] / "docs/reference/http-api.md"
LITERAL = re.compile(r'"(/(?:v1|v2|admin|healthz|readyz|metrics|openapi)[\w/.]*)"')
IN_THE_REFERENCE = re.compile(r"`(GET|POST) (/[^`?]+?)(?:\?[^`]*)?`")


def test_every_path_in_the_code_is_described() -> None:
    files = (file for file in (SOURCES / "ingress").rglob("*.py") if file.name != "description.py")
    found = {path for file in files for path in LITERAL.findall(file.read_text())}
    found = {path for path in found if not is_job_path(path)}
    assert {"/v1/chat/completions", "/v1/generation", "/v2", "/readyz"} <= found
    for path in found:
        begun = path.removesuffix("/") + "/"
        described = path in PATHS or any(known.startswith(begun) for known in PATHS)
        assert described, path


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_that_is_described_is_in_the_code(path: str) -> None:
    line = Line(FakeUpstream(lambda _: Answer(b'{"choices":[]}', "application/json", USED)))
    names = {"author": "a", "slug": "m", "version": "1", "response_id": "resp_1"}
    async with calling(line) as client:
        for method in {"get", "post"} & PATHS[path].keys():
            key = ADMIN_TOKEN if path in ("/metrics", "/admin/state") else KEY
            url = path.format_map(names) + ("?id=" + str(uuid4()) if "generation" in path else "")
            answer = await client.request(method, url, headers={"authorization": f"Bearer {key}"})
            assert '"not_found"' not in answer.text
            assert "see the API reference" not in answer.text
            if PATHS[path][method]["security"]:
                assert (await client.request(method, url)).status_code == 401


def test_the_reference_names_what_is_described_and_no_other() -> None:
    found = {path for _, path in IN_THE_REFERENCE.findall(REFERENCE.read_text())}
    named = {path for path in found if not is_job_path(path)}
    assert {path for path in named if "…" not in path and "/models/{author}" not in path} <= set(
        PATHS
    )
    for path in PATHS:
        assert path in named or "{author}" in path, path


def test_every_shape_that_is_referred_to_is_there_and_is_used() -> None:
    used = set(re.findall(r"#/components/schemas/(\w+)", str(DESCRIPTION)))
    assert used == set(SCHEMAS)


async def test_a_decision_on_engines_is_as_it_is_described() -> None:
    line = Line(
        FakeUpstream(lambda _: [StreamPart(b"data: one\n\n", 1), StreamPart(b"", usage=USED)])
    )
    auth = {"authorization": f"Bearer {KEY}"}
    asked = {"model": "a/m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    async with calling(line) as client:
        call = await client.post("/v1/chat/completions", json=asked, headers=auth)
        path = f"/v1/generation?id={call.headers['x-request-id']}"
        received = (await client.get(path, headers=auth)).json()
    described = DESCRIPTION | {"$ref": "#/components/schemas/Generation"}
    Draft202012Validator(described).validate(received)
    assert all(item["terms"] for item in received["data"]["decision"])
    del received["data"]["decision"][0]["terms"]["others_ms"]
    assert not Draft202012Validator(described).is_valid(received)
