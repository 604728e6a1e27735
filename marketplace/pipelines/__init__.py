"""Pipelines: models made of models, a graph of stages that is kept as data."""
