"""Taskmaster on PostgreSQL, beside what one would write by hand: ``make bench-postgres``."""
