"""The embedded stack: every service of Switchyard as a child process, under one folder."""
