"""The marketplace's API for agents."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from workers.agent.hardware import Device
from workers.agent.identity import Identity

TIMEOUT_S = 10.0
HEARTBEAT_MIN_S, HEARTBEAT_MAX_S = 1.0, 60.0
ERROR_CHARACTERS = 200
PROBLEM_TYPE = "application/problem+json"


class Unreachable(Exception):
    """No answer of the marketplace, or one that says that it may go better later."""


class Refused(Exception):
    """The marketplace does not want this: trying again changes nothing."""


class Invalid(Refused):
    """What was sent is refused, and not who sent it."""


REFUSALS = {400: Invalid, 401: Refused, 403: Refused}
"""By the status of a problem document. Any other answer is a proxy's, or that of a deployment."""


@dataclass(frozen=True, slots=True)
class Host:
    """What is reported about the machine."""

    devices: Sequence[Device]
    fingerprint: str
    version: str

    def told(self) -> dict[str, Any]:
        """As the API takes it."""
        hardware = [asdict(device) for device in self.devices]
        return {"hardware": hardware, "fingerprint": self.fingerprint, "version": self.version}


@dataclass(frozen=True, slots=True)
class Word:
    """What the marketplace says of a worker: see ``WorkerWord`` of its API."""

    name: str
    worker_id: str
    routable: bool
    in_flight: int | None
    fault: str = ""


class Marketplace:
    """A client of it. Closed with :meth:`close`."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"{url}/api/v1/agents/", timeout=TIMEOUT_S, transport=transport
        )
        self._url = url
        self.heartbeat_s = HEARTBEAT_MIN_S

    async def close(self) -> None:
        """Let go of its connections."""
        await self._client.aclose()

    async def register(self, token: str, name: str, host: Host) -> Identity:
        """Exchange the one-time token. Raises :class:`Unreachable` or :class:`Refused`."""
        answer = await self._post("register", {"token": token, "name": name, **host.told()}, {})
        try:
            self._pace(answer)
            return Identity(self._url, answer["name"], answer["pool"], answer["credential"])
        except (KeyError, TypeError) as error:
            raise Unreachable(f"its answer cannot be read: {error!r}") from error

    async def heartbeat(
        self, identity: Identity, host: Host, workers: Sequence[dict[str, Any]]
    ) -> list[Word]:
        """Report. Raises :class:`Unreachable`, :class:`Invalid` or :class:`Refused`."""
        headers = {"Authorization": f"Bearer {identity.credential}"}
        answer = await self._post("heartbeat", {**host.told(), "workers": workers}, headers)
        try:
            self._pace(answer)
            return [_word(word) for word in answer["workers"]]
        except (KeyError, TypeError) as error:
            raise Unreachable(f"its answer cannot be read: {error!r}") from error

    def _pace(self, answer: dict[str, Any]) -> None:
        asked = float(answer["heartbeat_s"])
        self.heartbeat_s = min(max(asked, HEARTBEAT_MIN_S), HEARTBEAT_MAX_S)

    async def _post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
        try:
            response = await self._client.post(path, json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(f"{type(error).__name__}: {error}".strip(": ")) from error
        if response.is_success:
            try:
                return response.json()
            except ValueError as error:
                raise Unreachable("its answer is no JSON") from error
        said = f"HTTP {response.status_code}: {_said(response)}"[:ERROR_CHARACTERS]
        if response.headers.get("content-type", "").startswith(PROBLEM_TYPE):
            raise REFUSALS.get(response.status_code, Unreachable)(said)
        raise Unreachable(said)


def _word(told: dict[str, Any]) -> Word:
    """A marketplace that is newer may say more, an older one no fault."""
    return Word(
        name=told["name"],
        worker_id=told["worker_id"],
        routable=told["routable"],
        in_flight=told["in_flight"],
        fault=told.get("fault", ""),
    )


def _said(response: httpx.Response) -> str:
    """The reason in a problem document."""
    try:
        problem = response.json()
        errors = problem.get("errors") or ""
        return f"{problem.get('detail') or problem.get('title')} {errors}".strip()
    except (ValueError, AttributeError):
        return response.reason_phrase
