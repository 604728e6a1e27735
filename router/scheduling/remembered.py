"""What is kept of what was learned, and how the next run of the router restores it.

It is restored as a prior worth a few samples, so that a worker that has changed meanwhile is soon
learned again. It is restored only for what is unchanged: the same model on the same pool, the same
address, the same configured slots.
"""

from collections.abc import Iterable

from router.contracts.learned import (
    Learned,
    LearnedDeployment,
    LearnedEndpoint,
    LearnedEngines,
    LearnedService,
    LearnedWorker,
)
from router.scheduling.estimates.estimate import ServiceEstimate
from router.scheduling.estimates.tokens import TokenEstimates
from router.scheduling.fleet.worker import EndpointState
from router.scheduling.worker_models.engine_speed import EngineSpeed
from router.scheduling.worker_models.engines import EngineEndpoint


def learned_of(endpoints: Iterable[EndpointState], tokens: TokenEstimates) -> Learned:
    """What these endpoints have shown."""
    deployments: dict[int, LearnedDeployment] = {}
    workers: dict[str, LearnedWorker] = {}
    kept: list[LearnedEndpoint] = []
    names: set[str] = set()
    for state in endpoints:
        deployment, worker = state.endpoint.deployment, state.endpoint.worker
        shared, model = state.service.shared, state.model
        names.add(deployment.model)
        if deployment.id not in deployments:
            deployments[deployment.id] = LearnedDeployment(
                deployment.id,
                deployment.upstream_model,
                deployment.pool,
                _service(shared.estimate),
                shared.probe_work,
                _engines(shared.engines) if shared.has_engines else None,
            )
        engine = model if isinstance(model, EngineEndpoint) else None
        first, step = engine.engine.factors if engine is not None else (1.0, 1.0)
        service = _service(state.estimate)
        if service is not None or (first, step) != (1.0, 1.0):
            kept.append(
                LearnedEndpoint(
                    state.id, deployment.upstream_model, worker.url, service, first, step
                )
            )
        if engine is not None:
            workers[worker.id] = LearnedWorker(
                worker.id, worker.url, worker.slots, engine.worker.places.count
            )
    models, answers = tokens.learned(names)
    return Learned(
        tuple(deployments.values()), tuple(kept), tuple(workers.values()), models, answers
    )


class Remembered:
    """What an earlier run learned, each part until the catalog shows what it belongs to."""

    def __init__(self, learned: Learned) -> None:
        self._deployments = {deployment.id: deployment for deployment in learned.deployments}
        self._endpoints = {endpoint.id: endpoint for endpoint in learned.endpoints}
        self._workers = {worker.id: worker for worker in learned.workers}

    def recall(self, state: EndpointState, now_s: float) -> None:
        """Restore for a new endpoint what was learned of it."""
        deployment, worker = state.endpoint.deployment, state.endpoint.worker
        shared = self._deployments.pop(deployment.id, None)
        if (
            shared is not None
            and shared.upstream_model == deployment.upstream_model
            and shared.pool == deployment.pool
        ):
            _recall_deployment(state, shared)
        own = self._endpoints.pop(state.id, None)
        if (
            own is not None
            and own.upstream_model == deployment.upstream_model
            and own.url == worker.url
        ):
            _recall_endpoint(state, own, now_s)
        if isinstance(state.model, EngineEndpoint):
            places = self._workers.pop(worker.id, None)
            if places is not None and (places.url, places.slots) == (worker.url, worker.slots):
                state.model.worker.places.count = places.places


def _recall_deployment(state: EndpointState, shared: LearnedDeployment) -> None:
    known = state.service.shared
    known.probe_work = shared.probe_work
    if shared.service is not None:
        known.estimate.remember(shared.service.seconds, shared.service.samples)
        state.estimate.expect(shared.service.seconds)
    if shared.engines is not None:
        state.become_engine()
        _recall_engines(known.engines, shared.engines)


def _recall_engines(engines: EngineSpeed, known: LearnedEngines) -> None:
    engines.first.remember(known.first, known.first_samples)
    engines.step.remember(known.step, known.step_samples)
    engines.prompt_tokens = known.prompt_tokens
    engines.answer_tokens = known.answer_tokens
    engines.event_tokens = known.event_tokens


def _recall_endpoint(state: EndpointState, own: LearnedEndpoint, now_s: float) -> None:
    if own.service is not None:
        state.estimate.remember(own.service.seconds, own.service.samples)
    if isinstance(state.model, EngineEndpoint):
        state.model.engine.remember(own.first_factor, own.step_factor, now_s)


def _service(estimate: ServiceEstimate) -> LearnedService | None:
    return LearnedService(estimate.seconds, estimate.samples) if estimate.samples else None


def _engines(speed: EngineSpeed) -> LearnedEngines:
    x0, x1, x2 = speed.first.weights
    y0, y1, y2, y3 = speed.step.weights
    return LearnedEngines(
        (x0, x1, x2),
        speed.first.samples,
        (y0, y1, y2, y3),
        speed.step.samples,
        speed.prompt_tokens,
        speed.answer_tokens,
        speed.event_tokens,
    )
