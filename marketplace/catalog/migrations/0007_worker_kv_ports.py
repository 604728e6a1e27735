from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import migrations, models

PORT = [MinValueValidator(1), MaxValueValidator(65535)]


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0006_batch_discount"),
    ]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="kv_events_port",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Where an LLM engine publishes what is in its KV cache, on the URL's host.",
                null=True,
                validators=PORT,
                verbose_name="KV events port",
            ),
        ),
        migrations.AddField(
            model_name="worker",
            name="kv_replay_port",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Where it repeats what was missed of that.",
                null=True,
                validators=PORT,
                verbose_name="KV replay port",
            ),
        ),
    ]
