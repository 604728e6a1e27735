"""The workers of a fleet: emulated, each on a port of its own."""
