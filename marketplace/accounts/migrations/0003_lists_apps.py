from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_keeps_responses"),
    ]

    operations = [
        migrations.AddField(
            model_name="organisation",
            name="lists_apps",
            field=models.BooleanField(db_default=True, default=True, verbose_name="list apps"),
        ),
    ]
