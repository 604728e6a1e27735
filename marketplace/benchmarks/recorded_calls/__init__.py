"""Recorded calls, the fleet that served them, and both in the simulator."""
