"""The catalog's list and a model's page, with its playground."""
