"""What is known of a call's size before it runs, as features for the scheduler's predictor."""

from zlib import crc32

from router.domain.protocols import KINDS
from router.domain.request import BYTES_PER_TOKEN, InferenceRequest, Kind
from router.scheduling.caches.affinity import BLOCK_BYTES, PREFIX_BLOCKS_MAX

SESSIONS = ("session_id", "prompt_cache_key", "user")
"""Fields that say which calls belong together. The first one given counts."""

NOTHING = (b"null", b'""')


def size_features(request: InferenceRequest) -> tuple[float, ...]:
    """Prompt tokens and requested tokens; or input bytes; or payload bytes and rows."""
    if request.kind is Kind.INFER:
        return (float(len(request.payload)), float(request.bound.rows))
    if not KINDS[request.kind].generates:
        return (float(request.prompt_bytes or request.bound.rows),)
    return (
        request.prompt_bytes / BYTES_PER_TOKEN,
        float(request.bound.completion_tokens or request.completion_tokens_asked),
    )


def prefix_blocks(request: InferenceRequest) -> tuple[int, ...]:
    """Hashes of the prompt's first blocks, each over all blocks so far; none for a short prompt.

    Only whole blocks count: the last block of a chat changes with the next turn.
    """
    kind = KINDS[request.kind]
    if request.prompt_bytes < BLOCK_BYTES or not kind.generates:
        return ()
    prompt = memoryview(request.fields[kind.prompt])
    blocks: list[int] = []
    chained = 0
    whole = min(len(prompt) // BLOCK_BYTES, PREFIX_BLOCKS_MAX) * BLOCK_BYTES
    for start in range(0, whole, BLOCK_BYTES):
        chained = crc32(prompt[start : start + BLOCK_BYTES], chained)
        blocks.append(chained)
    return tuple(blocks)


def session_of(request: InferenceRequest, tenant: int) -> int:
    """A hash of the session that the request is of, within its tenant and model; 0 for none."""
    for name in SESSIONS:
        given = request.fields.get(name)
        if given is not None and bytes(given) not in NOTHING:
            return crc32(given, crc32(request.model.encode(), tenant))
    return 0
