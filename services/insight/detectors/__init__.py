"""Detectors: pure functions and compact state; no clock, no I/O."""
