"""The two commands on a machine that nobody prepared: `make fresh`."""
