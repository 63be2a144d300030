"""The address under which earlier scripts import `store_signal`: this folder on the path, then `import server`."""

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from services.insight.store import store_signal  # noqa: E402 - needs the path above

__all__ = ["store_signal"]
