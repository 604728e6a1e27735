"""A transcription in JSON, as workers give it: the part that the router reads."""

import msgspec
from msgspec import Struct


class _Usage(Struct, frozen=True, gc=False):
    seconds: float | None = None


class Transcription(Struct, frozen=True, gc=False):
    """``duration`` is that of the verbose form; both may say how long the recording lasts."""

    text: str
    duration: float | str | None = None
    usage: _Usage | None = None

    @property
    def seconds(self) -> float | None:
        """How long the recording lasts, as far as the worker says."""
        if self.usage is not None and self.usage.seconds is not None:
            return self.usage.seconds
        try:
            return None if self.duration is None else float(self.duration)
        except ValueError:
            return None


decode_transcription = msgspec.json.Decoder(Transcription).decode
