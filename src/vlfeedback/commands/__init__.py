"""One file per command that is not a room; `cli.py` only wires them to the terminal."""
