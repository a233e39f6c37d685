"""`python -m vlfeedback`, and the installed command."""

import os
import signal


def main() -> None:
    """The command line; Ctrl-C while it is still being imported leaves at once, and quietly."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from vlfeedback import cli

    signal.signal(signal.SIGINT, before)
    cli.main()


def _leave(_number: int, _frame: object) -> None:
    # An exception would not do: a module in C whose import is interrupted says that it is damaged.
    os._exit(130)


if __name__ == "__main__":
    main()
