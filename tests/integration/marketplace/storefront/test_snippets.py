"""The code on the page of a model that takes tensors."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from django.test import Client

from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")
TENSORS = {
    "inputs": [
        {"name": "IDS", "datatype": "INT64", "shape": [-1, 3]},
        {"name": "WHO", "datatype": "BYTES", "shape": [-1, 1]},
    ]
}


def code(shop: Shop, block: str) -> str:
    page = Client().get(f"/models/{shop.model.name}?tab=api").text
    (found,) = re.findall(rf'<pre tabindex="0" id="{block}">(.*?)</pre>', page, re.DOTALL)
    return html.unescape(found)


def test_each_tensor_is_sent_as_the_model_takes_it(shop: Shop) -> None:
    shop.model.task, shop.model.tensors = "tabular", TENSORS
    shop.model.save()
    (body,) = re.findall(r"-d '(.*)'", code(shop, "curl"))
    sent = [(one["name"], one["datatype"], one["shape"]) for one in json.loads(body)["inputs"]]
    assert sent == [("IDS", "INT64", [1, 3]), ("WHO", "BYTES", [1, 1])]
    program = code(shop, "triton")
    compile(program, "snippet", "exec")
    assert "('IDS', 'INT64', np.full([1, 3], 0, np.int64))," in program
    assert "('WHO', 'BYTES', np.full([1, 1], 'text', object))," in program


def test_a_model_that_does_not_say_its_tensors_is_asked_for_them(shop: Shop) -> None:
    shop.model.task = "tabular"
    shop.model.save()
    program = code(shop, "triton")
    compile(program, "snippet", "exec")
    assert "get_model_metadata" in program
    assert "InferInput" not in program
    page = Client().get(f"/models/{shop.model.name}?tab=api").text
    assert "Its provider states no inputs" in page
    assert 'id="curl"' not in page
    assert "ssl=True" not in program


def test_the_code_sends_a_key_in_the_open_nowhere(shop: Shop, settings: Any) -> None:
    """To a router behind TLS, which tritonclient has to be told of."""
    settings.WAYPOST_ROUTER_URL = "https://api.example.com"
    shop.model.task, shop.model.tensors = "tabular", TENSORS
    shop.model.save()
    assert 'InferenceServerClient("api.example.com", ssl=True)' in code(shop, "triton")
