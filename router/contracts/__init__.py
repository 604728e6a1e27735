"""Versioned wire types between the two planes. The control plane imports these, never the reverse."""
