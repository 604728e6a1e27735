"""When each queue last did something, and the backups that were made."""

from django.db import models


class Heartbeat(models.Model):
    """The last time that the clock's message came through a queue: clock, broker and processes."""

    queue = models.CharField(max_length=20, primary_key=True)
    beat_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.queue}: {self.beat_at:%Y-%m-%d %H:%M:%S}"


class Backup(models.Model):
    """A backup that was made. The row of one is not in it: it is written afterwards."""

    made_at = models.DateTimeField()
    place = models.TextField()

    class Meta:
        ordering = ["-made_at"]

    def __str__(self) -> str:
        return f"{self.made_at:%Y-%m-%d %H:%M}: {self.place}"
