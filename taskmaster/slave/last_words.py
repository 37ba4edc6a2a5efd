"""What a slave says last, in words that an engine knows again on its standard error. Pure."""

from __future__ import annotations

__all__ = ["NOT_HEARD", "RUN_IS_OVER", "TOLD_TO_END"]

RUN_IS_OVER = "the run is over"
"""Why it ends: it has heard that."""
TOLD_TO_END = "an operator wants this slave to end"
"""Why it ends: its master has told it so."""
NOT_HEARD = "No master has heard what its workers could not do, so that the exit code is 1."
"""What comes of it, where a signal has ended it."""
