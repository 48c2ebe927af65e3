"""The ``overround`` command and how its errors end.

Commands live one module each and are imported only when called, so that ``--help`` is quick; their
one-line purposes stand here for the same reason (a test compares them with the commands' own help).
"""

from __future__ import annotations

import importlib
import sys
import threading
import traceback
from collections.abc import Sequence

import click

from overround import __version__
from overround.errors import OverroundError

__all__ = ["COMMANDS", "LazyGroup", "main"]

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("overround.cli.demo:demo", "Run the whole road on this machine in a minute, and check it."),
    "scan": ("overround.cli.scan:scan", "List every market of the enabled venues into universe.jsonl."),
    "collect": ("overround.cli.collect:collect", "Record order books into the lake until stopped."),
    "health": ("overround.cli.health:health", "Ask a running collector whether it is well."),
    "monitor": ("overround.cli.monitor:monitor", "Watch running collectors on a screen."),
    "reload": ("overround.cli.reload:reload", "Have running collectors read their settings again."),
    "mine": ("overround.cli.mine:mine", "Rank the markets of a day, or of several, and measure what they cost and do."),
    "mm-viability": (
        "overround.cli.viability:mm_viability",
        "Say what a market maker would have earned in each market, and why.",
    ),
    "coverage": ("overround.cli.coverage:coverage", "Show how much of a day's record can be trusted."),
    "report": ("overround.cli.report:report", "Write a day's page, which opens in a browser without a network."),
    "summarize": ("overround.cli.summarize:summarize", "Show a recorded day in one page."),
    "book": ("overround.cli.book:book", "Rebuild order books from recordings or journals."),
    "lake": ("overround.cli.lake:lake", "List, check, mend, archive and thin out what is stored."),
    "sql": ("overround.cli.sql:sql", "Ask the lake in SQL."),
    "verify": ("overround.cli.verify:verify", "Prove that what is stored is what was recorded."),
    "catalog": ("overround.cli.catalog:catalog", "Show what the venues listed, and when they changed it."),
    "drift": ("overround.cli.drift:drift", "Show what venues changed in their messages, and since when."),
    "rules": ("overround.cli.rules:rules", "Read rules into logic, and prove what can be earned from it."),
    "exchange": ("overround.cli.exchange:exchange", "Serve both venues on loopback in their true wire formats."),
    "config": ("overround.cli.config:config", "Show or check the effective settings."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names in the order of ``COMMANDS``."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one command; None when there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{name} is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, purpose) for name, (_, purpose) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Start with: overround demo",
)
@click.version_option(__version__, prog_name="overround")
@click.option("--config", "config_path", type=click.Path(), metavar="PATH", help="Settings file; also after the verb.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default=None,
    help="Least level that is logged (default info); also after the verb.",
)
@click.pass_context
def root(ctx: click.Context, config_path: str | None, log_level: str | None) -> None:
    """Record prediction-market order books you can trust, and learn from them.

    Everything runs on this machine with no credentials: `overround demo` shows it in a minute.
    """
    ctx.obj = {"config": config_path, "log_level": log_level}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 misused, 3 done but incomplete."""
    threading.excepthook = lambda args: _show_trace(args.exc_value)
    try:
        code = run(argv)
    except Exception as exc:  # noqa: BLE001 - where the process ends
        code = _crashed(exc)
    sys.exit(code)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A Windows console may still be in a code page that lacks the table lines.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        result = root.main(args=list(argv) if argv is not None else None, prog_name="overround", standalone_mode=False)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.Abort:
        click.echo("stopped", err=True)
        return 130
    except click.ClickException as exc:
        exc.show()
        return 2
    except OverroundError as exc:
        return report(exc)
    except BaseExceptionGroup as group:
        ours = _first_of_ours(group)
        if ours is None:
            raise
        return report(ours)
    return result if isinstance(result, int) else 0


def report(exc: OverroundError) -> int:
    """Print an error and its remedy on stderr; returns its exit code."""
    _say(f"error: {exc}")
    if exc.hint:
        _say(f"hint:  {exc.hint}")
    return exc.exit_code


def _crashed(exc: Exception) -> int:
    """Leave the trace of a defect: in the log, if there is one, else on stderr."""
    import structlog

    if structlog.is_configured():
        structlog.get_logger().error("process.crashed", exc_info=exc)
        _say(f"error: {type(exc).__name__}: {exc}")
        _say("hint:  this is a defect; its trace is in the log (process.crashed)")
    else:
        _show_trace(exc)
    return 1


def _show_trace(exc: BaseException | None) -> None:
    if exc is not None:
        _say("".join(traceback.format_exception(exc)).rstrip())


def _say(text: str) -> None:
    """Write on stderr, without the secrets that have been read."""
    from overround.ops import mask_secrets

    click.echo(mask_secrets(text), err=True)


def _first_of_ours(group: BaseExceptionGroup[BaseException]) -> OverroundError | None:
    """The first error of our own tree inside a task group's report."""
    for exc in group.exceptions:
        found = _first_of_ours(exc) if isinstance(exc, BaseExceptionGroup) else exc
        if isinstance(found, OverroundError):
            return found
    return None
