"""Why a worker could not be started."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("catalog", "0008_catalog_search")]
    operations = [
        migrations.AddField(
            model_name="worker",
            name="left_out",
            field=models.CharField(
                blank=True,
                editable=False,
                help_text="Why it could not be started; everybody may read it.",
                max_length=200,
            ),
        )
    ]
