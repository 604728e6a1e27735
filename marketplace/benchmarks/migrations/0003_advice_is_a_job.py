from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

STATES = {"answered": "done", "checked": "done", "checking": "running"}


def say_it_as_jobs_do(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    advice = apps.get_model("benchmarks", "Advice").objects
    for before, after in STATES.items():
        advice.filter(state=before).update(state=after)


class Migration(migrations.Migration):
    dependencies = [
        ("benchmarks", "0002_what_ifs_are_jobs"),
    ]

    operations = [
        migrations.RunPython(say_it_as_jobs_do),
        migrations.RenameField("advice", "requested_by", "asked_by"),
        migrations.AddField("advice", "cancel_requested", models.BooleanField(default=False)),
        migrations.AddField("advice", "heartbeat_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("advice", "progress", models.FloatField(default=0.0)),
        migrations.AlterField("advice", "error", models.CharField(blank=True, max_length=500)),
        migrations.AlterField(
            "advice",
            "state",
            models.CharField(
                choices=[
                    ("queued", "Queued"),
                    ("running", "Running"),
                    ("done", "Done"),
                    ("cancelled", "Cancelled"),
                    ("failed", "Failed"),
                ],
                default="queued",
                max_length=10,
            ),
        ),
    ]
