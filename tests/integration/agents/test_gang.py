"""A gang of two real processes, each with its own agent: up together, down together."""

import signal
import sys

import httpx
import pytest

from tests.integration.agents.conftest import AgentProcess, Market
from tests.integration.router.routers import until
from tests.ports import free_ports

MODEL, POOL = "author/fraud-mlp", "split"
TENSORS = {
    "inputs": [{"name": "FEATURES", "datatype": "FP32", "shape": [-1, 8]}],
    "outputs": [{"name": "FRAUD_PROBABILITY", "datatype": "FP32", "shape": [-1, 1]}],
}
ROWS = {"inputs": [{"name": "FEATURES", "datatype": "FP32", "shape": [3, 8], "data": [0.5] * 24}]}
ROW_NANO = 1_000


@pytest.fixture(scope="module")
def sold(opened: str) -> None:
    """The cut model, on sale on a pool without workers."""
    from marketplace.catalog.models import AIModel, Deployment, ModelVersion, Pool, Provider
    from marketplace.catalog.services import offer_publish
    from router.domain.pricing import Price

    model = AIModel.objects.create(
        name=MODEL, display_name="Fraud", task="tabular", tensors=TENSORS
    )
    deployment = Deployment.objects.create(
        version=ModelVersion.objects.create(model=model, version="1"),
        provider=Provider.objects.get(slug="northyard"),
        pool=Pool.objects.create(name=POOL, hardware="CPU", engine="sharded"),
        upstream_model="fraud_mlp",
    )
    offer_publish(deployment=deployment, price=Price(id=0, row_nano=ROW_NANO))


def rank(market: Market, number: int, port: int, *more: str) -> AgentProcess:
    command = f"{sys.executable} -m workers.backends.sharded --stage {number} --port {{port}}"
    return market.agent(
        f"rank-{number}",
        *("--token", market.token(POOL), "--engine", "triton", "--task", "tensors"),
        *("--served-name", "fraud_mlp", "--slots", "4", "--port", str(port)),
        *("--gang", "cut", "--gang-size", "2", "--rank", str(number)),
        *("--command", " ".join([command, *more])),
    )


def test_a_cut_model_serves_while_both_its_halves_are_up(market: Market, sold: None) -> None:
    first_port, second_port = free_ports(2)
    rank(market, 0, first_port, "--next", f"http://127.0.0.1:{second_port}")
    second = rank(market, 1, second_port)
    market.probed_until(lambda: "cut" in market.routed())
    answer = called(market)
    assert answer.headers["x-route-worker"] == "cut"
    assert answer.json()["outputs"][0]["shape"] == [3, 1]
    assert market.charged(MODEL) == 3 * ROW_NANO, "one gang, one charge"
    second.send(signal.SIGKILL)
    market.probed_until(lambda: "cut" not in market.routed())
    until(lambda: called(market).status_code == 503)
    rank(market, 1, second_port)
    market.probed_until(lambda: "cut" in market.routed())
    until(lambda: called(market).status_code == 200)


def called(market: Market) -> httpx.Response:
    return httpx.post(
        f"{market.router.url}/v2/models/{MODEL}/infer",
        json=ROWS,
        headers={"Authorization": f"Bearer {market.key}"},
        timeout=60,
    )
