"""Everything that can go wrong, as one tree.

::

    OverroundError
    ├── UsageError                  we were asked wrongly                      exit 2
    │   ├── ConfigError             a setting is missing, malformed or unknown
    │   └── NothingStored           no data where the command looks
    ├── WireError                   a venue's payload says what it must not
    │   ├── FrameMalformed          not JSON, or not of the documented shape
    │   └── ValueOutOfScale         a price or size that our integers cannot hold exactly
    ├── VenueError                  a request to a venue failed
    │   ├── RequestRefused          the venue says we asked wrongly (4xx); never retried
    │   ├── AnswerMalformed         the venue answered wrongly (HTML, cut body); retried
    │   ├── RateLimited             429 or 425; retried after the wait it names
    │   ├── VenueUnavailable        5xx, time-out, refused connection; retried
    │   └── CircuitOpen             the breaker of that host is open; retried later
    ├── StorageError                the lake cannot be written or read
    │   ├── LakeLocked              another process records the same venue and shard
    │   ├── OriginMismatch          live and synthetic rows would share a folder
    │   └── FileDamaged             a stored file does not read back
    ├── DatabaseUnavailable         PostgreSQL does not answer, or refuses us
    ├── ClusterFailed               the cluster that was to mine does not answer, or lost a task for good
    └── RecordingError              a recording does not read, or is of another venue  exit 2

Each error carries the value that was wrong as attributes and, in ``hint``, the remedy.
A gap in a feed is an event, not an error, while the machine can still act on it.
"""

from __future__ import annotations

__all__ = [
    "UNREADABLE",
    "AnswerMalformed",
    "CircuitOpen",
    "ClusterFailed",
    "ConfigError",
    "DatabaseUnavailable",
    "FileDamaged",
    "FrameMalformed",
    "LakeLocked",
    "NothingStored",
    "OriginMismatch",
    "OverroundError",
    "RateLimited",
    "RecordingError",
    "RequestRefused",
    "StorageError",
    "UsageError",
    "ValueOutOfScale",
    "VenueError",
    "VenueUnavailable",
    "WireError",
]

UNREADABLE = (ValueError, RecursionError)
"""What reading bytes that somebody else wrote may raise, to be translated where they are read.

``ValueError`` is the base of msgspec's errors, of those of bytes that are no UTF-8, and of numbers with thousands of digits;
``RecursionError`` comes from brackets by the thousand.
"""


class OverroundError(Exception):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    message : str
        One line that shows the value that was wrong.
    hint : str, optional
        One line that says what to do about it.
    """

    exit_code = 1
    retryable = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(OverroundError):
    """The command was asked wrongly."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is missing, malformed or unknown."""


class NothingStored(UsageError):
    """There is no data where the command looks."""

    exit_code = 1


class WireError(OverroundError):
    """A venue's payload says what it must not."""


class FrameMalformed(WireError):
    """The payload is not JSON, or not of the documented shape."""


class ValueOutOfScale(WireError):
    """A price or size cannot be held exactly by our integers; it is never rounded.

    Parameters
    ----------
    field : str
        Name of the field, as the venue spells it.
    text : str
        The value as received.
    scale : str
        What fits, in words.
    """

    def __init__(self, field: str, text: object, *, scale: str) -> None:
        super().__init__(f"{field}={text!r} does not fit {scale}")
        self.field, self.text, self.scale = field, text, scale


class VenueError(OverroundError):
    """A request to a venue failed.

    Attributes
    ----------
    retry_after_s : float or None
        The wait the venue asked for, where it asked for one.
    """

    retry_after_s: float | None = None


class RequestRefused(VenueError):
    """The venue says that the request itself is wrong.

    Parameters
    ----------
    url : str
        The address asked, without its query.
    status : int
        HTTP status code.
    detail : str
        The venue's words, cut to one line.
    """

    def __init__(self, url: str, *, status: int, detail: str, hint: str | None = None) -> None:
        super().__init__(f"{url} answered {status}: {detail}", hint=hint)
        self.url, self.status, self.detail = url, status, detail


class AnswerMalformed(VenueError):
    """The venue's answer is not what it documents (an HTML page, a cut body)."""

    retryable = True


class RateLimited(VenueError):
    """The venue asks for patience.

    Parameters
    ----------
    url : str
        The address asked.
    status : int
        429, or 425 while a matching engine restarts.
    retry_after_s : float or None
        The wait the venue asked for, in seconds.
    """

    retryable = True

    def __init__(self, url: str, *, status: int, retry_after_s: float | None) -> None:
        wait = "" if retry_after_s is None else f", retry after {retry_after_s:g} s"
        super().__init__(f"{url} answered {status}{wait}")
        self.url, self.status, self.retry_after_s = url, status, retry_after_s


class VenueUnavailable(VenueError):
    """The venue cannot be reached or fails (5xx, time-out, refused connection).

    Parameters
    ----------
    retry_after_s : float or None
        The wait that a 503 named.
    """

    retryable = True

    def __init__(self, message: str, *, hint: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class CircuitOpen(VenueError):
    """The circuit breaker of a host is open: nothing was sent.

    Parameters
    ----------
    host : str
        The host concerned.
    retry_after_s : float
        Seconds until the breaker lets one request through.
    """

    retryable = True

    def __init__(self, host: str, *, retry_after_s: float) -> None:
        super().__init__(
            f"{host} failed repeatedly; next try in {retry_after_s:.1f} s",
            hint="check the address in the settings, and that this machine is online",
        )
        self.host, self.retry_after_s = host, retry_after_s


class StorageError(OverroundError):
    """The lake cannot be written or read."""


class LakeLocked(StorageError):
    """Another process records the same venue and shard into the same lake."""

    exit_code = 2


class OriginMismatch(StorageError):
    """Live and synthetic rows would share a folder."""

    exit_code = 2


class FileDamaged(StorageError):
    """A stored file does not read back as it was written."""


class DatabaseUnavailable(OverroundError):
    """PostgreSQL does not answer, or refuses us."""

    retryable = True


class ClusterFailed(OverroundError):
    """The cluster that was to do the work does not answer, or lost a task for good."""


class RecordingError(OverroundError):
    """A recording does not read, is cut, or belongs to another venue."""

    exit_code = 2
