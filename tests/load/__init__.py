"""Peak rehearsals: a day's load in minutes, by Locust, through the public API."""
