"""What is kept of a stack that runs."""

from dataclasses import replace

from deploy.local.home.state import Condition, Phase, ServiceState, StackState
from deploy.local.processes.process import Process

READY = ServiceState(
    "web", Condition.READY, since=1_700_000_000, seconds_to_ready=1.25, process=Process.own()
)


def live_state(**changes: object) -> StackState:
    first = StackState(
        launcher=Process.own(),
        phase=Phase.RUNNING,
        started_at=1_700_000_000,
        services=(READY,),
        environment={"DATABASE_URL": "postgres://role:hush@127.0.0.1:1/x"},
    )
    return replace(first, **changes)  # type: ignore[arg-type]
