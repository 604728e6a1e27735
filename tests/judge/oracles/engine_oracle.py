"""The reference for placing on engines: the simulator's oracle, which sees their exact state."""

from collections.abc import Sequence
from math import inf

from router.simulator.engines.placers import outlook
from tests.judge.callers.http_client import Answer, Client
from tests.judge.callers.targets import PATH, Call
from tests.judge.timer import now_s
from tests.judge.workers.engines import EngineServer, body_of, sequence_of
from tests.judge.workers.hardware import Trouble

TRIES = 3
DEAD = {Trouble.CRASH, Trouble.HANG}


class EngineOracle:
    """Places a call where it ends soonest, including its cost to others there. It pays no hop."""

    def __init__(self, servers: Sequence[EngineServer]) -> None:
        self._servers = servers
        self._clients = [Client(server.port, PATH) for server in servers]

    async def ask(self, call: Call) -> Answer:
        answer = await self._clients[self._choose(call)].ask(call.body)
        for _ in range(TRIES - 1):
            if not answer.error or answer.first_s:
                break
            answer = await self._clients[self._choose(call)].ask(call.body)
        return answer

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def _choose(self, call: Call) -> int:
        sequence, _ = sequence_of(body_of(call.body))
        at_s = now_s()

        def cost_s(at: int) -> float:
            server = self._servers[at]
            if server.trouble is not None and server.trouble.trouble in DEAD:
                return inf
            own_s, others_s = outlook(server.state, sequence, at_s)
            return own_s + others_s

        return min(range(len(self._servers)), key=cost_s)
