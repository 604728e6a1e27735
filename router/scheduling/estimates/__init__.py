"""What is learned, one observation at a time: how long, how large, how shared. No workers in it."""
