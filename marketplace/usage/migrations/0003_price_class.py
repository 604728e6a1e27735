from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0002_places"),
    ]

    operations = [
        migrations.AddField(
            model_name="usageevent",
            name="price_class",
            field=models.TextField(db_default="standard", default="standard"),
        ),
    ]
