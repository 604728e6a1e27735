from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("benchmarks", "0001_baseline")]

    operations = [
        migrations.RenameField("benchmark", "requested_by", "asked_by"),
        migrations.AddField("benchmark", "attempts", models.PositiveSmallIntegerField(default=0)),
        migrations.AddField(
            "benchmark", "heartbeat_at", models.DateTimeField(blank=True, null=True)
        ),
    ]
