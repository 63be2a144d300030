"""What is switched on, and whether what it needs is installed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """Something optional. `module`: what must be importable, brought by the extra `extra`."""

    name: str
    wanted: bool
    module: str | None = None
    extra: str | None = None

    @property
    def missing(self) -> bool:
        """Whether it is wanted and cannot work, because its extra is not installed."""
        return self.wanted and self.module is not None and not _is_installed(self.module)

    @property
    def state(self) -> str:
        """`on`, `off`, or `not installed`."""
        if self.missing:
            return "not installed"
        return "on" if self.wanted else "off"

    @property
    def advice(self) -> str:
        """What to do about a missing one."""
        return f"{self.name} is configured but not installed: pip install '.[{self.extra}]'"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False


def states(features: Iterable[Feature]) -> dict[str, str]:
    """Name → state, as `/health` shows it."""
    return {feature.name: feature.state for feature in features}
