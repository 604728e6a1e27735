"""A company's day: parts are killed, stopped and replaced under load, and what callers saw."""
