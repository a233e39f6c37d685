"""More than one machine: the head plans and keeps the books, workers read pictures, send calls and hold weights.

Nothing here is imported unless a command was given `--engine`. See docs/scale.md.
"""
