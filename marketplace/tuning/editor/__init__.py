"""The policy editor: drafts, differences, publishing and canaries of a route's policy."""
