"""Partition usage_event by month of its request ids; rows that are there move over."""

from pathlib import Path

from django.db import migrations, models
from django.db.models import F, Q

SQL = Path(__file__).parent / "sql"
COUNTS = (
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "rows",
    "images",
    "hardware_ms",
)


class Migration(migrations.Migration):
    dependencies = [("usage", "0002_hardware_time")]
    operations = [
        migrations.RunSQL(
            (SQL / "partitions.sql").read_text(),
            (SQL / "partitions_reverse.sql").read_text(),
            state_operations=[
                migrations.AlterModelOptions("usageevent", {"ordering": ["-request_id"]}),
                migrations.RemoveIndex("usageevent", "usage_by_organisation"),
                migrations.RemoveIndex("usageevent", "usage_by_time"),
                migrations.AddIndex(
                    "usageevent",
                    models.Index(
                        fields=["organisation_id", "-request_id"], name="usage_by_organisation"
                    ),
                ),
                migrations.AddConstraint(
                    "usageevent",
                    models.CheckConstraint(
                        condition=Q(
                            hold_nano__gte=F("charge_nano"),
                            charge_nano__gte=F("commission_nano"),
                            **{f"{name}__gte": 0 for name in ("commission_nano", *COUNTS)},
                        ),
                        name="usage_event_adds_up",
                    ),
                ),
            ],
        )
    ]
