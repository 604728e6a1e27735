from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0001_baseline"),
    ]

    operations = [
        migrations.AddField(
            model_name="usageevent",
            name="place",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="usageevent",
            name="eta_ms",
            field=models.FloatField(db_default=0, default=0),
        ),
    ]
