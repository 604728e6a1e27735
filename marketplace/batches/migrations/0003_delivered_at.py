from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("batches", "0002_rows")]

    operations = [
        migrations.AddField(
            model_name="batch",
            name="delivered_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
