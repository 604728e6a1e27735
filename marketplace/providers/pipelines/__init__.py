"""Pipelines of a provider, in the console and over the management API."""
