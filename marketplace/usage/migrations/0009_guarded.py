from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0008_masked"),
    ]

    operations = [
        migrations.AddField(
            model_name="usageevent",
            name="guarded",
            field=models.TextField(db_default="", default=""),
        ),
    ]
