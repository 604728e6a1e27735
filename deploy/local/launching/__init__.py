"""Starting and stopping a stack, in this terminal or behind it."""
