from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0006_apps"),
    ]

    operations = [
        migrations.AddField(
            model_name="usageevent",
            name="asked",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="usageevent",
            name="why",
            field=models.TextField(db_default="", default=""),
        ),
    ]
