from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("predictions", "0005_called_by_a_name")]

    operations = [
        ValidateConstraint(model_name="prediction", name="prediction_of_model_or_pipeline")
    ]
