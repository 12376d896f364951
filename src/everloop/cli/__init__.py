"""The command line: thin, `--json` everywhere, stdout is data and stderr is talk.

Exit codes: 0 fine, 1 error, 2 usage, 3 refused or alert, 4 undecided.
"""

from __future__ import annotations

from everloop.quick_start import quick_start

__all__ = ["INTERRUPTED", "main"]

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells count it."""


def main() -> None:
    """The program `everloop`; Ctrl-C ends it in one sentence from the first import on."""
    quick_start()
    try:
        from everloop.cli.program import run

        run()
    except KeyboardInterrupt:
        from everloop.cli.output import say

        say("everloop: stopped")
        raise SystemExit(INTERRUPTED) from None
