"""When each queue last did something, the backups, and the outages of parts."""

from django.db import models
from django.utils.translation import gettext_lazy as _


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


class Part(models.TextChoices):
    """What the status page tells of."""

    API = "api", _("API: calls to models")
    PAGES = "pages", _("Pages and management")
    JOBS = "jobs", _("Batches and background work")


class Incident(models.Model):
    """A time in which a part did not work; ``ended_at`` is None while it does not."""

    part = models.CharField(max_length=20, choices=Part.choices)
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["part"], condition=models.Q(ended_at=None), name="incident_one_open"
            )
        ]

    def __str__(self) -> str:
        return f"{self.part} from {self.began_at:%Y-%m-%d %H:%M}"
