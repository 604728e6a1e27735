"""The operations, by what they are about. Each is written once and runs in both clients."""
