"""The command line: argv in, exit code out. Commands are imported when they are called."""

from overround.cli.app import main

__all__ = ["main"]
