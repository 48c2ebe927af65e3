"""One-shot jobs: read, call the deciders, write, return a summary.

Each job is a module of its own (``scan``, ``mine``, ``rebuild_book``, ``lake``, ``mock``, ``demo``), imported by the command
that runs it; nothing is gathered here, so that one job does not load another's libraries.
"""

__all__: list[str] = []
