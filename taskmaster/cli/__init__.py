"""The commands: they parse, call ``taskmaster.api`` and exit with its code. No logic."""
