"""What an operator sees: logs and counters."""

from overround.ops.logs import MASK, configure_logging, register_secret
from overround.ops.metrics import Counters

__all__ = ["MASK", "Counters", "configure_logging", "register_secret"]
