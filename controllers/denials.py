"""Every denial is counted, and in the record: what no service has written there is written here."""

from __future__ import annotations

from quart import current_app, request

from controllers.context import actor, services
from controllers.guards import permission_of
from models.dal import Unavailable
from services import errors
from services.access.audit import DENIAL_NOTED, Category, Entry, Result, say


async def note(error: errors.MillraceError) -> None:
    """Count a refusal of access and write its row, unless that was done or nobody we know was refused."""
    denial = error.message if isinstance(error, errors.Denied) else getattr(error, "denial", None)
    noted = DENIAL_NOTED.get()
    if isinstance(error, errors.Unauthenticated):
        _count("unauthenticated")
    elif denial is not None or noted:
        _count("denied")
        if not noted:
            await _write(str(denial))


def _door() -> str:
    view = current_app.view_functions.get(request.endpoint or "")
    permission = permission_of(view) if view is not None else None
    return permission.label if permission is not None else "unknown"


def _count(result: str) -> None:
    services().metrics.verdicts.labels(_door(), result).inc()


async def _write(reason: str) -> None:
    who = actor()
    entry = Entry(
        category=Category.AUTHZ,
        action=_door(),
        result=Result.DENIED,
        actor=who,
        resource=request.path,
        reason=reason,
    )
    if who.is_anonymous:
        say(entry)
        return
    try:
        await services().audit.write(entry)
    except Unavailable:
        say(entry)  # a refusal stays one, also while the record cannot be reached
