"""What a finished attempt teaches: how fast its worker is, how large its request was, what a cached
prefix saves, and what a probe amounts to.
"""

from router.scheduling.affinity import PrefixIndex
from router.scheduling.estimate import RECOVERY_SMOOTHING, SMOOTHING
from router.scheduling.fleet import Attempt
from router.scheduling.size import WORK_MIN, SizePredictor
from router.scheduling.ticket import Used
from router.scheduling.tokens import TokenEstimates

QUIET_S = 1.0
SLOWED = 2.0
"""After ``QUIET_S`` without news, an answer this many times faster than expected counts more."""


class Learning:
    """Everything learned that belongs to models; what belongs to workers is with them."""

    def __init__(self) -> None:
        self.sizes = SizePredictor()
        self.prefixes = PrefixIndex()
        self.tokens = TokenEstimates()

    def generated(self, attempt: Attempt, used: Used | None, now_s: float) -> None:
        """An engine's answer to a client's request ended well."""
        state, ticket, generation = attempt.endpoint, attempt.ticket, attempt.generation
        if state.engine is None or generation is None:
            return self.answered(attempt, now_s)
        state.engine.ended(generation, used, now_s)
        if used is not None:
            tenant, most = ticket.tenant, ticket.answer_tokens_max
            self.tokens.counted(ticket.model, ticket.prompt_bytes, used.prompt_tokens)
            self.tokens.answered(ticket.model, tenant, most, used.answer_tokens)
            if ticket.prefix:
                self.prefixes.counted(state.id, attempt.cached_tokens, used.cached_tokens)
        state.observe(now_s - attempt.started_s, attempt.work)
        state.worker.probes.heard(now_s)

    def answered(self, attempt: Attempt, now_s: float) -> None:
        """A client's request ended well."""
        state, ticket = attempt.endpoint, attempt.ticket
        service_s = now_s - attempt.started_s
        relative = service_s / attempt.expected_s
        # Before its speed is known it is a guess, and says nothing of sizes.
        if state.estimate.samples and ticket.features:
            self.sizes.observe(ticket.model, ticket.features, relative * attempt.work)
        silent = now_s - state.worker.probes.heard_s > QUIET_S
        smoothing = RECOVERY_SMOOTHING if silent and relative < 1 / SLOWED else SMOOTHING
        state.observe(service_s, attempt.work * attempt.factor, smoothing)
        state.worker.probes.heard(now_s)

    def probed(self, attempt: Attempt, now_s: float) -> None:
        """A probe ended well. Its work is learned too, over all workers of a deployment."""
        state = attempt.endpoint
        speed, probes = state.speed, state.worker.probes
        if not state.estimate.samples or state.engine is not None:
            # One token of an engine says that it lives, and nothing of how it serves.
            return probes.probed(now_s, 1.0)
        service_s = now_s - attempt.started_s
        work = max(service_s / state.estimate.seconds, WORK_MIN)
        if not speed.probe_work:
            speed.probe_work = work
        probes.probed(now_s, work / speed.probe_work)
        state.observe(service_s, speed.probe_work, RECOVERY_SMOOTHING)
        speed.probe_work += SMOOTHING * (work - speed.probe_work)

    def outrun(self, attempt: Attempt, now_s: float) -> None:
        """It was stopped because its twin had answered."""
        if not attempt.waiting:
            age_s = now_s - attempt.started_s
            attempt.endpoint.was_outrun(age_s, attempt.work * attempt.factor)
