"""The metering of several routers under a simulated clock, disk and network."""
