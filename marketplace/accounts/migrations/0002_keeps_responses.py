from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_baseline"),
    ]

    operations = [
        migrations.AddField(
            model_name="organisation",
            name="keeps_responses",
            field=models.BooleanField(db_default=True, default=True, verbose_name="keep responses"),
        ),
    ]
