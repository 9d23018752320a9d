"""The command line: each command parses, calls and prints, and holds no logic of its own."""

from recurra.cli.main import app, main

__all__ = ["app", "main"]
