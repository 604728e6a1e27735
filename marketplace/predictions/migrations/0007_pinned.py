from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("predictions", "0006_called_by_a_name_holds")]

    operations = [
        migrations.AddField(
            model_name="prediction",
            name="pinned",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
