"""Gives a worker that comes back its load step by step.

After an ejection caches are cold and the cause may not be gone. So the worker's limit restarts at
one and grows by one with every answer, which doubles it each round, as in TCP's slow start
(Jacobson 1988).
"""


class SlowStart:
    """The ramp of one worker: how many of its slots may be used."""

    __slots__ = ("limit",)

    def __init__(self, slots: int) -> None:
        self.limit = slots

    def restart(self) -> None:
        """The worker was let back in."""
        self.limit = 1

    def answered(self, slots: int) -> None:
        """One more request went well."""
        if self.limit < slots:
            self.limit += 1
