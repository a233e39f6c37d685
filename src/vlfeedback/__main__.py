"""`python -m vlfeedback`."""

from vlfeedback.cli import main

main()
