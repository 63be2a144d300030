"""Every error of the product, one tree. The docstring is the message; the data is on the exception.

MillraceError
├── Invalid                  the request cannot be understood or breaks a rule (all problems at once)
│   └── ExecutionRefused     a workflow that cannot be started
├── Unauthenticated          no key, or none that we know
│   └── KeyEnded             a key that we knew; carries whose it was
├── Denied                   known, visible, not allowed
├── NotFound                 no such thing, or not visible to the caller
│   ├── WorkflowNotFound
│   ├── ExecutionNotFound
│   ├── PackNotFound
│   └── RunNotFound
├── Conflict                 the state of the thing does not allow it
│   ├── DuplicateRef
│   └── WorkflowDisabled
├── PreconditionFailed       If-Match named an older revision
├── IdempotencyMismatch      the same Idempotency-Key with another body
├── TooLarge                 a body or a value over its limit
├── UnsupportedMediaType     a content type we do not read
├── RateLimited              too many requests; carries when to come back
├── Overloaded               no room for more work now; carries when to come back
├── ExecutionTimedOut        a synchronous run outlived its limit
├── FeatureNotInstalled      an optional extra is missing; carries the install command
└── Unavailable              a dependency is down
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self


class MillraceError(Exception):
    """Something went wrong."""

    code = "INTERNAL_ERROR"

    def __init__(self, message: str | None = None, **details: Any) -> None:
        super().__init__(message or type(self).__doc__)
        self.message: str = message or str(type(self).__doc__)
        self.details: dict[str, Any] = details


class Invalid(MillraceError):
    """The request is not valid."""

    code = "VALIDATION_ERROR"

    def __init__(self, message: str | None = None, *, errors: Sequence[Mapping[str, Any]] = (), **details: Any) -> None:
        """`errors`: items `{loc, message, type, code?, task?, path?, hint?}`, all problems at once."""
        if errors:
            details["errors"] = [dict(e) for e in errors]
        super().__init__(message, **details)


class BadRequest(Invalid):
    """The request cannot be understood."""

    code = "BAD_REQUEST"


class ExecutionRefused(Invalid):
    """The workflow cannot be started."""

    code = "EXECUTION_ERROR"


class Unauthenticated(MillraceError):
    """Not authenticated"""

    code = "UNAUTHORIZED"


class KeyEnded(Unauthenticated):
    """Not authenticated"""

    def __init__(self, actor: Any) -> None:
        super().__init__()
        self.actor = actor


class Denied(MillraceError):
    """You are not allowed to do this."""

    code = "PERMISSION_DENIED"


class NotFound(MillraceError):
    """No such thing, or you may not see it."""

    code = "NOT_FOUND"
    denial: str | None = None

    def denying(self, reason: str) -> Self:
        """Itself: the thing is there, and not for this caller. The edge writes that to the record."""
        self.denial = reason
        return self


class WorkflowNotFound(NotFound):
    """Workflow not found"""

    code = "WORKFLOW_NOT_FOUND"


class ExecutionNotFound(NotFound):
    """Execution not found"""

    code = "EXECUTION_NOT_FOUND"


class PackNotFound(NotFound):
    """Pack not found"""

    code = "PACK_NOT_FOUND"


class RunNotFound(NotFound):
    """Run not found"""

    code = "RUN_NOT_FOUND"


class Conflict(MillraceError):
    """The present state does not allow this."""

    code = "CONFLICT"


class DuplicateRef(Conflict):
    """That ref is taken."""

    code = "DUPLICATE_REF"


class WorkflowDisabled(Conflict):
    """The workflow is disabled."""

    code = "WORKFLOW_DISABLED"


class PreconditionFailed(MillraceError):
    """The thing was changed since you read it; read it again."""

    code = "PRECONDITION_FAILED"


class IdempotencyMismatch(MillraceError):
    """This Idempotency-Key was used with another request."""

    code = "IDEMPOTENCY_MISMATCH"


class TooLarge(MillraceError):
    """The request is too large."""

    code = "PAYLOAD_TOO_LARGE"


class UnsupportedMediaType(MillraceError):
    """This content type is not supported."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class RateLimited(MillraceError):
    """Too many requests."""

    code = "RATE_LIMITED"

    def __init__(self, message: str | None = None, *, retry_after_s: float = 1.0, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after_s = retry_after_s


class Unavailable(MillraceError):
    """A dependency is not available."""

    code = "SERVICE_UNAVAILABLE"

    def __init__(self, message: str | None = None, *, retry_after_s: float = 1.0, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after_s = retry_after_s


class Overloaded(Unavailable):
    """The server has no room for more work now."""


class ExecutionTimedOut(MillraceError):
    """The execution did not end in time."""

    code = "EXECUTION_TIMEOUT"


class FeatureNotInstalled(MillraceError):
    """This feature is not installed."""

    code = "FEATURE_NOT_INSTALLED"
