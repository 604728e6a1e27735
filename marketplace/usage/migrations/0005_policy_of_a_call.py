"""Which policy version placed a call."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("usage", "0004_rollups")]

    operations = [
        migrations.AddField(
            model_name="usageevent",
            name="policy_id",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
    ]
