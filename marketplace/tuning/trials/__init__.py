"""Whether a trial goes on, by tests that may be read after every call."""
