"""What a venue lists, as one file per day."""

from overround.scanner.scan import ScanSummary, scan

__all__ = ["ScanSummary", "scan"]
