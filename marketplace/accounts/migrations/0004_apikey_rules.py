from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_lists_apps"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="rules",
            field=models.JSONField(
                blank=True,
                db_default=models.Value([], models.JSONField()),
                default=list,
            ),
        ),
    ]
