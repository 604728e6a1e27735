"""Reads a fleet file instead of a marketplace's snapshot: named workers, their models, one key."""

from pathlib import Path
from statistics import fmean
from typing import Annotated, Literal

import msgspec

from router.contracts.snapshot import Snapshot
from router.domain.catalog import RESPONSES, ApiKey, Deployment, Model, Pool, Worker
from router.domain.keys import digest_key
from router.domain.pricing import Price
from router.domain.protocols import TASKS
from router.settings import SettingsInvalid

DEFAULT_MODEL = "m"

TASK = f"^({'|'.join(TASKS)})$"
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class FleetWorker(msgspec.Struct, frozen=True, rename={"class_": "class"}):
    """One entry of the file.

    ``class`` is the kind of hardware, ``slots`` the concurrency, ``protocol`` the worker's
    protocol, ``task`` the model's task, ``service_ms`` the measured duration of a request, and
    ``engine`` the server that runs there. ``responses`` says that it speaks OpenAI's Responses API
    beside chat, as all of its class then do. On ``kv_events_port`` it publishes what is in its KV
    cache, on ``kv_replay_port`` it repeats that; 0 is none.
    """

    id: str
    url: str
    class_: str
    slots: int
    model: str = DEFAULT_MODEL
    protocol: Literal["openai", "oip", "oip_grpc"] = "openai"
    task: Annotated[str, msgspec.Meta(pattern=TASK)] = "chat"
    service_ms: float = 0.0
    engine: str = ""
    responses: bool = False
    kv_events_port: Port = 0
    kv_replay_port: Port = 0


def load_fleet(path: Path, *, key: str, key_pepper: bytes, now_ms: int) -> Snapshot:
    """The snapshot for a fleet file. Raises ``SettingsInvalid`` that names the fault."""
    try:
        workers = msgspec.json.decode(path.read_bytes(), type=list[FleetWorker])
    except OSError as error:
        raise SettingsInvalid(f"--fleet {path}: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise SettingsInvalid(
            f'--fleet {path}: {error}; expected [{{"id", "url", "class", "slots"}}, …]'
        ) from None
    if not workers:
        raise SettingsInvalid(f"--fleet {path}: the list is empty, nothing could be routed to")
    for worker in workers:
        schemes = ("grpc://",) if worker.protocol == "oip_grpc" else ("http://", "https://")
        if worker.slots < 1 or not worker.url.startswith(schemes):
            raise SettingsInvalid(
                f"--fleet {path}: worker {worker.id!r} needs slots of at least 1 and a url that "
                f"begins with {' or '.join(schemes)}"
            )
        if worker.service_ms < 0:
            raise SettingsInvalid(
                f"--fleet {path}: worker {worker.id!r} needs a service_ms of at least 0 (0: nobody "
                f"measured it), not {worker.service_ms:g}"
            )
    if len({worker.id for worker in workers}) != len(workers):
        raise SettingsInvalid(f"--fleet {path}: worker ids must be unique")
    return _snapshot(workers, digest_key(key, key_pepper), now_ms)


def _snapshot(workers: list[FleetWorker], key_digest: str, now_ms: int) -> Snapshot:
    models = sorted({(worker.model, worker.task) for worker in workers})
    placed = sorted({(worker.model, worker.class_) for worker in workers})
    # Workers of one class are alike: a figure measured on some holds for all.
    measured_ms: dict[tuple[str, str], list[float]] = {placement: [] for placement in placed}
    speaking = {(worker.model, worker.class_) for worker in workers if worker.responses}
    engines: dict[tuple[str, str], str] = dict.fromkeys(placed, "")
    for worker in workers:
        engines[worker.model, worker.class_] = engines[worker.model, worker.class_] or worker.engine
        if worker.service_ms:
            measured_ms[worker.model, worker.class_].append(worker.service_ms)
    return Snapshot(
        version=1,
        published_at_ms=now_ms,
        models=tuple(Model(name, task, "1", now_ms // 1000) for name, task in models),
        pools=tuple(
            Pool(f"{model}/{kind}", kind, engine=engines[model, kind]) for model, kind in placed
        ),
        workers=tuple(
            Worker(
                w.id,
                f"{w.model}/{w.class_}",
                w.url.rstrip("/"),
                w.protocol,
                w.slots,
                kv_events_port=w.kv_events_port,
                kv_replay_port=w.kv_replay_port,
            )
            for w in workers
        ),
        deployments=tuple(
            Deployment(
                number,
                model,
                "local",
                0,
                f"{model}/{kind}",
                model,
                Price(0),
                service_prior_ms=fmean(measured_ms[model, kind] or (0.0,)),
                parameters=(RESPONSES,) if (model, kind) in speaking else (),
            )
            for number, (model, kind) in enumerate(placed, start=1)
        ),
        keys=(ApiKey(1, key_digest, organisation_id=1, account_id=1),),
    )
