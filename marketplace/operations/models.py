"""When the job processes of each queue last did something."""

from django.db import models


class Heartbeat(models.Model):
    """The last time that the clock's message came through a queue: clock, broker and processes."""

    queue = models.CharField(max_length=20, primary_key=True)
    beat_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.queue}: {self.beat_at:%Y-%m-%d %H:%M:%S}"
