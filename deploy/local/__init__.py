"""The embedded stack: every service of Waypost as a child process, under one folder."""
