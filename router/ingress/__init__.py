"""The APIs that clients use: the faces, and what is not a call."""
