"""``usage`` of answers that only read texts."""

from msgspec import Struct


class TextUsage(Struct, frozen=True, gc=False):
    """Servers give one of the counts or both."""

    prompt_tokens: int | None = None
    total_tokens: int | None = None

    @property
    def tokens(self) -> int | None:
        """The prompt's tokens, None if they were not counted."""
        return self.total_tokens if self.prompt_tokens is None else self.prompt_tokens


def tokens_told(usage: TextUsage | None, otherwise: int) -> int:
    """The tokens that a worker counted, or the router's own estimate."""
    tokens = None if usage is None else usage.tokens
    return otherwise if tokens is None else max(tokens, 0)
