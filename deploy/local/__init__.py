"""The embedded stack: every service of Waypost as a child process, under one folder."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The clone, from which all of them run."""
