"""`seed_demo`, `keys` and `ledger` as the launcher and scripts use them."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from marketplace.accounts.models import ApiKey, User
from marketplace.benchmarks.models import Profile
from marketplace.billing.models import Account
from marketplace.catalog.models import AIModel, Deployment, Worker
from marketplace.catalog.selectors import workers_to_probe
from marketplace.routing.models import SnapshotRow
from marketplace.routing.trials.models import Mode, RouteTuning
from marketplace.tuning.services import tuning_set
from router.contracts.snapshot import decode_snapshot
from router.domain.catalog import Policy
from router.domain.keys import key_is_wellformed
from router.pipeline.plans.routing_table import build_table
from router.scheduling.fleet.fleet import Fleet
from router.scheduling.fleet.worker import EndpointState
from router.scheduling.ticket import Ticket
from router.scheduling.worker_models.engines import EngineWorker
from tests.integration.marketplace.shop import signed_in
from workers.backends.emulator.fleet import WORKERS

pytestmark = pytest.mark.django_db

REAL = [
    {
        "worker": f"{pool}-0",
        "pool": pool,
        "url": f"{scheme}://127.0.0.1:{port}",
        "protocol": protocol,
    }
    for port, (pool, protocol, scheme) in enumerate(
        [
            ("llama-fast", "openai", "http"),
            ("llama-small", "openai", "http"),
            ("triton-batched", "oip", "http"),
            ("triton-single", "oip_grpc", "grpc"),
        ],
        start=9001,
    )
]
EMULATED = [
    {
        "worker": "emulated-h100-0",
        "pool": "emulated-h100",
        "url": "http://127.0.0.1:9100/emulated-h100-0",
        "protocol": "openai",
        "slots": 32,
        "emulated": True,
        "priors": {"emulated/llama-2-70b-chat": 850.0},
    }
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.WAYPOST_HOME = tmp_path
    return tmp_path


def seed(home: Path, fleet: list[dict[str, Any]]) -> None:
    path = home / "fleet.json"
    path.write_text(json.dumps(fleet))
    call_command("seed_demo", fleet=path)


def snapshot() -> dict[str, Any]:
    row = SnapshotRow.objects.first()
    assert row is not None
    return row.body


def test_the_demo_signs_in_where_addresses_are_proved(home: Path, settings: Any) -> None:
    settings.MAIL_ON = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    for _ in range(2):  # each start seeds again
        seed(home, REAL)
    demo = json.loads((home / "demo.json").read_text())
    client = Client()
    client.post("/login/", {"login": demo["email"], "password": demo["password"]})
    assert client.get("/settings").status_code == 200


def test_every_real_model_is_offered_by_two_providers_at_different_prices(home: Path) -> None:
    seed(home, REAL)
    by_model: dict[str, list[dict[str, Any]]] = {}
    for deployment in snapshot()["deployments"]:
        by_model.setdefault(deployment["model"], []).append(deployment)
    assert set(by_model) == {
        "hironsan/hatesonar",
        "huggingfacetb/smollm2-135m-instruct",
        "waypost/fraud-scorer",
        "wordllama/wordllama-256",
        "wordllama/wordllama-rerank",
    }
    for pair in by_model.values():
        assert len({row["provider"] for row in pair}) == 2
        prices = [{k: v for k, v in row["price"].items() if k != "id"} for row in pair]
        assert prices[0] != prices[1]


def test_the_demo_has_credit_a_login_and_a_key_that_stay(home: Path) -> None:
    seed(home, REAL)
    kept = json.loads((home / "demo.json").read_text())
    assert (home / "demo.json").stat().st_mode & 0o777 == 0o600
    assert key_is_wellformed(kept["api_key"])
    user = User.objects.get(email=kept["email"])
    assert user.is_staff
    assert user.check_password(kept["password"])
    version = snapshot()["version"]
    seed(home, REAL)
    assert json.loads((home / "demo.json").read_text()) == kept
    assert Account.objects.get(organisation__slug="demo").posted_nano == 25 * 10**9
    assert ApiKey.objects.count() == 1
    assert snapshot()["version"] == version


def test_a_lost_credentials_file_is_made_again_and_works(home: Path) -> None:
    seed(home, REAL)
    (home / "demo.json").unlink()
    seed(home, REAL)
    kept = json.loads((home / "demo.json").read_text())
    assert User.objects.get(email=kept["email"]).check_password(kept["password"])
    assert ApiKey.objects.count() == 2


def test_emulated_models_follow_the_fleet(home: Path) -> None:
    seed(home, REAL + EMULATED)
    emulated = [row for row in snapshot()["deployments"] if row["pool"].startswith("emulated")]
    assert [(row["model"], row["service_prior_ms"]) for row in emulated] == [
        ("emulated/llama-2-70b-chat", 850.0)
    ]
    assert all("emulated" in m["display_name"] for m in snapshot()["models"] if m["emulated"])
    seed(home, REAL)
    assert not [row for row in snapshot()["deployments"] if row["pool"].startswith("emulated")]
    gone = Worker.objects.get(worker_id="emulated-h100-0")
    assert gone.draining
    assert not gone.healthy
    seed(home, REAL + EMULATED)
    assert [row for row in snapshot()["deployments"] if row["pool"].startswith("emulated")]


def test_a_model_whose_workers_could_not_be_started_says_so_everywhere(
    home: Path, client: Client
) -> None:
    reason = "llama.cpp cannot start: libgomp.so.1 is missing (apt-get install libgomp1)"
    chat, page = (
        "huggingfacetb/smollm2-135m-instruct",
        "/models/huggingfacetb/smollm2-135m-instruct",
    )
    out = [{**row, "left_out": reason} if "llama" in row["worker"] else row for row in REAL]
    seed(home, out)
    assert "not available here" in client.get("/models").text
    for tab in ("overview", "playground"):
        shown = client.get(page, {"tab": tab}).text
        assert "could not be started: llama.cpp cannot start: libgomp.so.1" in shown
        assert "data-playground" not in shown
    received = {
        row["name"]: row["left_out"] for row in client.get("/api/v1/models").json()["results"]
    }
    assert received[chat] == reason
    assert received["waypost/fraud-scorer"] == ""
    workers = {row["id"]: row["left_out"] for row in snapshot()["workers"] if row["left_out"]}
    assert workers == {"llama-fast-0": reason, "llama-small-0": reason}
    assert {worker.pool.name for worker in workers_to_probe()} == {
        "triton-batched",
        "triton-single",
    }
    # One of two is enough, and later ones start again.
    seed(home, [out[0], *REAL[1:]])
    assert "not available here" not in client.get("/models").text
    assert Worker.objects.get(worker_id="llama-small-0").healthy


def test_switched_off_emulation_sells_nothing_emulated(home: Path, settings: Any) -> None:
    settings.WAYPOST_EMULATED = False
    seed(home, REAL + EMULATED)
    assert not AIModel.objects.filter(emulated=True).exists()
    assert not Deployment.objects.filter(pool__emulated=True).exists()


def test_before_any_call_emulated_chat_workers_are_engines_and_expected_as_unlike_as_they_are(
    home: Path,
) -> None:
    fleet = [
        {
            "worker": worker.id,
            "pool": worker.pool.name,
            "url": f"http://127.0.0.1:9100/{worker.id}",
            "protocol": worker.protocol,
            "slots": worker.slots,
            "emulated": True,
            "priors": worker.priors_ms(),
            "engines": worker.engines(),
        }
        for worker in WORKERS.values()
    ]
    seed(home, fleet)
    given = Profile.objects.count()
    seed(home, fleet)
    assert Profile.objects.count() == given

    routes = build_table(decode_snapshot(json.dumps(snapshot()))).routes
    router = Fleet()
    router.apply([endpoint for route in routes.values() for endpoint in route.endpoints])

    def seen(model: str) -> dict[str, EndpointState]:
        slate = router.slate(tuple(endpoint.id for endpoint in routes[model].endpoints))
        return {item.endpoint.pool.name: item for item in slate.usable(frozenset())}

    chat = seen("emulated/gpt-j-6b")
    policy = Policy(1, 1, "emulated/gpt-j-6b")
    asked = Ticket("1", (), policy, 0.0, 60.0, prompt_tokens=500, answer_tokens=200, streams=True)
    expected_s = {pool: item.service_s(asked) for pool, item in chat.items()}
    real_s = {
        worker.pool.name: worker.profile("emulated/gpt-j-6b").generation_s(500, 200, 1)
        for worker in WORKERS.values()
    }
    assert expected_s["emulated-cpu"] > 5 * expected_s["emulated-h100"]
    assert expected_s == pytest.approx(real_s, rel=0.2)
    assert all(isinstance(item.worker.model, EngineWorker) for item in chat.values())
    vision = seen("emulated/resnet-50").values()
    assert not any(isinstance(item.worker.model, EngineWorker) for item in vision)


def test_a_moved_worker_gets_its_new_url(home: Path) -> None:
    seed(home, REAL)
    moved = [{**row, "url": row["url"].replace("127.0.0.1:9", "127.0.0.1:8")} for row in REAL]
    seed(home, moved)
    assert {row["url"] for row in snapshot()["workers"]} == {row["url"] for row in moved}


@pytest.mark.parametrize(
    ("fleet", "told"),
    [
        ([{"worker": "a"}], "pool"),
        ([REAL[0], REAL[0]], "listed twice"),
        ([{**REAL[0], "sots": 2}], "sots"),
    ],
)
def test_a_wrong_fleet_file_is_named(home: Path, fleet: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        seed(home, fleet)
    assert not User.objects.exists()


def test_keys_are_made_listed_and_revoked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed(home, REAL)
    capsys.readouterr()
    call_command("keys", "create", "--org", "demo", "--name", "ci", "--json")
    made = json.loads(capsys.readouterr().out)
    assert key_is_wellformed(made["key"])
    call_command("keys", "list", "--org", "demo", "--json")
    listed = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert listed[made["id"]]["status"] == "active"
    assert made["key"] not in json.dumps(listed)
    call_command("keys", "revoke", str(made["id"]))
    assert ApiKey.objects.get(pk=made["id"]).status == "revoked"
    with pytest.raises(CommandError, match="there is: demo"):
        call_command("keys", "create", "--org", "nope")


def test_the_ledger_is_verified_from_the_command_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed(home, REAL)
    call_command("ledger", "verify")
    assert "balances" in capsys.readouterr().out
    from tests.integration.marketplace.ledger import intrude

    intrude("UPDATE billing_account SET held_nano = 1 WHERE kind = 'customer'")
    with pytest.raises(CommandError) as refused:
        call_command("ledger", "verify")
    assert refused.value.returncode == 1
    assert "holds 1 nano" in capsys.readouterr().err


def test_the_loop_acts_by_itself_in_the_demo_until_somebody_says_otherwise(home: Path) -> None:
    seed(home, EMULATED)
    tunings = RouteTuning.objects.all()
    assert {tuning.mode for tuning in tunings} == {Mode.AUTOMATIC}
    assert tunings.count() == AIModel.objects.count()
    demo = json.loads((home / "demo.json").read_text())
    user, tuning = User.objects.get(email=demo["email"]), tunings[0]
    client = signed_in(user)
    page = f"/routes/{tuning.model.name}"
    said = "Automatic is the demo&#x27;s default."
    assert client.get(page).content.decode().count(said) == 2  # Next to the form, and as history.
    tuning_set(tuning=tuning, by=user, mode=Mode.ASK)
    seed(home, EMULATED)
    tuning.refresh_from_db()
    assert tuning.mode == Mode.ASK
    assert client.get(page).content.decode().count(said) == 1
