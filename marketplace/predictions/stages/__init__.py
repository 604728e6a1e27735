"""The stages of pipelines: their times and prices, and what a call of one took."""
