"""Which services make up a stack, and with what each is started."""

import json
from pathlib import Path

import pytest

from deploy.local.home import secrets
from deploy.local.services import stack, supervisor
from deploy.local.services.stack import Options


def test_a_url_in_the_environment_replaces_the_embedded_service(home: Path) -> None:
    made = secrets.load_or_make(home, {})
    embedded = stack.build(Options(home), made)
    names = [service.name for service in embedded.services]
    assert names[:3] == ["postgres", "valkey", "migrate"]
    assert len(set(names)) == len(names)

    given = Options(home, database_url="postgres://db/x", broker_url="redis://mq/0")
    replaced = stack.build(given, made)
    assert {"postgres", "valkey"}.isdisjoint(service.name for service in replaced.services)
    assert replaced.environment["DATABASE_URL"] == "postgres://db/x"
    assert replaced.environment["BROKER_URL"] == "redis://mq/0"


def test_only_what_migrates_is_given_the_owner_of_the_tables(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = secrets.load_or_make(home, {})
    layout = stack.build(Options(home), made)
    received = {service.name: " ".join(service.env.values()) for service in layout.services}
    assert {
        name for name, words in received.items() if made[secrets.DATABASE_PASSWORD] in words
    } == {"migrate"}
    assert made[secrets.SERVICES_PASSWORD] in received["web"]
    assert made[secrets.ROUTERS_PASSWORD] in received["router"]
    assert made[secrets.SERVICES_PASSWORD] not in received["router"]
    assert made[secrets.DATABASE_PASSWORD] in layout.owner_url

    given = Options(home, database_url="postgres://db/x", owner_url="postgres://owner@db/x")
    assert stack.build(given, made).owner_url == "postgres://owner@db/x"
    alone = stack.build(Options(home, database_url="postgres://db/x"), made)
    assert alone.owner_url == ""
    assert not any(secrets.OWNER_URL in service.env for service in alone.services)

    for name in secrets.NOT_FOR_SERVICES:
        monkeypatch.setenv(name, "hush")
    assert "hush" not in supervisor.inherited().values()


def test_every_need_names_a_service(home: Path) -> None:
    for options in (Options(home), Options(home, emulated=False, database_url="postgres://db/x")):
        services = stack.build(options, secrets.load_or_make(home, {})).services
        names = {service.name for service in services}
        assert all(set(service.needs) <= names for service in services)


def test_the_fleet_file_says_what_this_machine_cannot_run(home: Path) -> None:
    layout = stack.build(Options(home), secrets.load_or_make(home, {}))
    seed = next(service for service in layout.services if service.name == "seed")
    seed.prepare({"triton-batched": "no libpython", "emulator": "no port"})
    fleet = json.loads((home / "run" / "fleet.json").read_text())
    left_out = {worker["pool"]: worker["left_out"] for worker in fleet}
    assert left_out["triton-batched"] == "no libpython"
    assert left_out["triton-single"] == left_out["llama-fast"] == ""
    assert left_out["emulated-h100"] == "no port"
    assert all(worker["emulated"] == worker["pool"].startswith("emulated-") for worker in fleet)


def test_only_what_everything_needs_ends_the_start(home: Path) -> None:
    services = stack.build(Options(home), secrets.load_or_make(home, {})).services
    essential = {service.name for service in services if service.essential}
    assert essential == {"postgres", "valkey", "migrate", "seed", "router", "web"}


def test_payments_are_tried_at_a_stand_in_unless_somebody_has_keys_or_wants_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = secrets.load_or_make(home, {})
    monkeypatch.delenv("STRIPE_SECRET_KEY", raising=False)
    monkeypatch.setenv("WAYPOST_TEST_PAYMENTS", "1")
    layout = stack.build(Options(home), made)
    (stand_in,) = (one for one in layout.services if one.name == "stripe-stand-in")
    assert layout.environment["STRIPE_API_URL"] == stand_in.address
    assert len(layout.environment["STRIPE_WEBHOOK_SECRET"]) > 30
    for name, value in (("STRIPE_SECRET_KEY", "sk_live_1"), ("WAYPOST_TEST_PAYMENTS", "0")):
        with monkeypatch.context() as other:
            other.setenv(name, value)
            layout = stack.build(Options(home), made)
        assert "stripe-stand-in" not in {service.name for service in layout.services}
        assert "STRIPE_API_URL" not in layout.environment


def test_without_emulation_no_emulated_worker_is_named(home: Path) -> None:
    layout = stack.build(Options(home, emulated=False), secrets.load_or_make(home, {}))
    next(service for service in layout.services if service.name == "seed").prepare({})
    fleet = json.loads((home / "run" / "fleet.json").read_text())
    assert not any(worker["emulated"] for worker in fleet)
    assert layout.environment["WAYPOST_EMULATED"] == "0"


def test_several_routers_share_a_port_and_each_has_its_own_name_and_journal(home: Path) -> None:
    made = secrets.load_or_make(home, {})
    for port in (8080, 8083, 8084):
        (home / "journal" / str(port)).mkdir(parents=True)
    (home / "journal" / "8080-rejected.jsonl").touch()
    layout = stack.build(Options(home, routers=2), made)
    routers = {s.name: s for s in layout.services if s.name.startswith("router")}
    assert list(routers) == ["router-1", "router-2"]
    ports = [service.env["ROUTER_PORT"] for service in routers.values()]
    assert ports == ["8082", "8083"]
    assert {service.env["ROUTER_PUBLIC_PORT"] for service in routers.values()} == {"8080"}
    assert len({service.env["ROUTER_ID"] for service in routers.values()}) == 2

    # Those of earlier starts are settled before anybody is served.
    settling = {s.name: s.env["ROUTER_PORT"] for s in layout.services if "--settle" in s.argv}
    assert settling == {"settle-8080": "8080", "settle-8084": "8084"}
    assert all(set(settling) <= set(service.needs) for service in routers.values())
