"""What an operator sees: logs and figures."""

from overround.ops.files import LogFiles
from overround.ops.logs import MASK, configure_logging, mask_secrets, register_secret
from overround.ops.metrics import Histogram, RunningMinimum

__all__ = ["MASK", "Histogram", "LogFiles", "RunningMinimum", "configure_logging", "mask_secrets", "register_secret"]
