from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("batches", "0003_delivered_at")]

    operations = [
        migrations.AddField(
            model_name="batch",
            name="idempotency_key",
            field=models.CharField(blank=True, db_default="", max_length=255),
        ),
        migrations.AddField(
            model_name="batch",
            name="fingerprint",
            field=models.CharField(blank=True, db_default="", max_length=64),
        ),
    ]
