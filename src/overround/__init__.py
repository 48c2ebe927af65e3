"""Overround: prediction-market order books you can trust.

Importing this package does nothing and loads no heavy library; every room (see
``docs/explanation/design.md``) is imported by the command that needs it.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
