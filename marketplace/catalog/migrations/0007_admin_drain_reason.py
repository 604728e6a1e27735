"""Why a worker is drained."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("catalog", "0006_provider_organisation")]
    operations = [
        migrations.AddField(
            model_name="worker",
            name="drain_reason",
            field=models.CharField(
                blank=True, editable=False, help_text="Why it is drained.", max_length=200
            ),
        )
    ]
