"""Insight: what is unusual, in metrics from outside and in our own runs.

`store_signal` is for scripts and hooks of earlier versions; everything else is in the modules.
"""

from services.insight.store import store_signal

__all__ = ["store_signal"]
