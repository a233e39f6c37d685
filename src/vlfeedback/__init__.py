"""Turn images and instructions into an aligned vision-language model, and the proof that it got better."""

from __future__ import annotations

__version__ = "0.1.0"
