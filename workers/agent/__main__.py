"""``python -m workers.agent --marketplace URL --token TOKEN …``: a GPU host becomes a worker."""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence

from workers.agent.agent import VERSION, Agent
from workers.agent.hardware import HardwareUnknown, devices_found, fingerprint, processor
from workers.agent.identity import (
    Identity,
    StateBroken,
    folder_check,
    identity_read,
    identity_write,
)
from workers.agent.marketplace import Host, Marketplace, Refused, Unreachable
from workers.agent.servers import Asked
from workers.agent.settings import Settings, SettingsWrong, settings_read

log = logging.getLogger("agent")

REGISTER_AGAIN_S = 5.0
TOLD_WRONG = 2
"""Exit status when a setting, a file or the token is wrong: starting again changes nothing."""


async def serve(settings: Settings, words: Sequence[str]) -> None:
    """Register if this host is new, and run until SIGTERM. Raises what :func:`main` tells."""
    devices, cpu = devices_found(settings.gpus), processor()
    log.info("hardware: %s", ", ".join(device.name for device in devices) or cpu)
    marketplace, asked = Marketplace(settings.marketplace), Asked(key=settings.server_key)
    try:
        host = Host(devices, fingerprint(devices, cpu, {}), VERSION)
        identity = await identity_found(settings, marketplace, host)
        log.info("%s, for %s", identity.name, identity.pool)
        agent = Agent(settings, identity, marketplace, asked, devices, cpu)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, agent.leave)
        loop.add_signal_handler(signal.SIGHUP, _read_again, agent, words)
        await agent.run()
    finally:
        await marketplace.close()
        await asked.close()


async def identity_found(settings: Settings, marketplace: Marketplace, host: Host) -> Identity:
    """The one that is kept, or that of a registration. Raises what :func:`main` tells."""
    known = identity_read(settings.state, settings.marketplace)
    if known is not None:
        return known
    if not settings.token:
        raise SettingsWrong("--token is needed: this host is not registered yet")
    folder_check(settings.state)  # The token works once.
    while True:
        try:
            identity = await marketplace.register(settings.token, settings.name, host)
        except Unreachable as error:
            log.warning("the marketplace does not answer: %s", error)
            await asyncio.sleep(REGISTER_AGAIN_S)
        else:
            identity_write(settings.state, identity)
            return identity


def _read_again(agent: Agent, words: Sequence[str]) -> None:
    try:
        agent.change(settings_read(words).engine)
    except SettingsWrong as error:
        log.error("nothing changes: %s", error)


def main() -> int:
    """0 after a drain; `TOLD_WRONG` with one line where it is useless to start again."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    words = sys.argv[1:]
    try:
        asyncio.run(serve(settings_read(words), words))
    except (SettingsWrong, StateBroken, HardwareUnknown, Refused) as error:
        print(f"agent: {error}", file=sys.stderr)
        return TOLD_WRONG
    return 0


if __name__ == "__main__":
    sys.exit(main())
