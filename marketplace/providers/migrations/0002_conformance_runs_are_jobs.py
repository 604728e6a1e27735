import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("providers", "0001_baseline"),
    ]

    operations = [
        migrations.AddField(
            "conformancerun",
            "asked_by",
            models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            "conformancerun", "attempts", models.PositiveSmallIntegerField(default=0)
        ),
        migrations.AddField(
            "conformancerun", "heartbeat_at", models.DateTimeField(blank=True, null=True)
        ),
        migrations.AddField("conformancerun", "progress", models.FloatField(default=0.0)),
        migrations.AlterField(
            "conformancerun", "error", models.CharField(blank=True, max_length=500)
        ),
    ]
