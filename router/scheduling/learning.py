"""What a finished attempt teaches besides its worker's speed: the size of its request, the tokens
of prompts and answers, and how much of prompts an engine keeps.
"""

from router.scheduling.caches.affinity import BLOCKS_MAX as PREFIX_BLOCKS_MAX
from router.scheduling.caches.affinity import PrefixIndex
from router.scheduling.caches.engine_caches import BLOCKS_MAX as KV_BLOCKS_MAX
from router.scheduling.caches.engine_caches import EngineCaches
from router.scheduling.estimates.size import SizePredictor
from router.scheduling.estimates.tokens import TokenEstimates
from router.scheduling.fleet.worker import Attempt
from router.scheduling.ticket import Used

QUIET_S = 1.0
"""After this long without news of a worker, news counts more."""


class Learning:
    """Everything learned about models. What is learned about workers is kept with them."""

    def __init__(
        self,
        prefix_blocks_max: int = PREFIX_BLOCKS_MAX,
        kv_blocks_max: int = KV_BLOCKS_MAX,
    ) -> None:
        self.sizes = SizePredictor()
        self.prefixes = PrefixIndex(prefix_blocks_max)
        self.caches = EngineCaches(self.prefixes, kv_blocks_max)
        self.tokens = TokenEstimates()

    def answered(self, attempt: Attempt, used: Used | None, now_s: float) -> None:
        """A client's request ended well. ``used`` is its worker's own count of tokens."""
        state, ticket = attempt.endpoint, attempt.ticket
        probes = state.worker.probes
        if attempt.teaches:
            silent = now_s - probes.heard_s > QUIET_S
            self._learn(attempt, used, now_s, silent=silent)
        if used is not None and ticket.prefix and state.model.keeps_prompts:
            self.prefixes.counted(state.id, attempt.cached_tokens, used.cached_tokens)
            self.caches.answered(attempt, used, now_s)
        probes.heard(now_s)

    def _learn(self, attempt: Attempt, used: Used | None, now_s: float, *, silent: bool) -> None:
        ticket = attempt.ticket
        work = attempt.run.learn(used, now_s, silent=silent)
        if work and ticket.features:
            self.sizes.observe(ticket.model, ticket.features, work)
        if used is not None and ticket.prompt_tokens:
            tenant, most = ticket.tenant, ticket.answer_tokens_max
            self.tokens.counted(ticket.model, ticket.prompt_bytes, used.prompt_tokens)
            self.tokens.answered(ticket.model, tenant, most, used.answer_tokens)

    def probed(self, attempt: Attempt, now_s: float) -> None:
        """A probe ended well."""
        state = attempt.endpoint
        longer = state.model.probed(now_s - attempt.run.started_s)
        state.worker.probes.probed(now_s, longer)
