"""The load: callers, what they say, and whom they ask."""
