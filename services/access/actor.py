"""The authenticated caller. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.access.permissions import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who is calling, through which key, limited to what.

    `is_admin` is already false when the key is limited to scopes without `admin`.
    `scopes` empty = everything the user may do. `roles` are pairs of community and role name.
    """

    user_id: int
    key_id: UUID | None = None
    is_admin: bool = False
    scopes: frozenset[str] = frozenset()
    community_id: int | None = None
    roles: frozenset[tuple[int, str]] = frozenset()
    name: str = ""
    key_expires_at: datetime | None = None

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody is behind it: a public read without a key."""
        return self.user_id == 0 and not self.is_admin

    @property
    def runs_the_server(self) -> bool:
        """Whether what belongs to nobody in particular is theirs to administer: a key of one community is not enough."""
        return self.is_admin and self.community_id is None

    def overrides(self, owner_id: int | None) -> bool:
        """Whether the caller passes because they are an administrator, where the thing is somebody else's."""
        return self.is_admin and self.user_id not in (0, owner_id)

    @property
    def communities(self) -> frozenset[int]:
        """The communities in which the user holds a role."""
        return frozenset(community for community, _ in self.roles)

    def reaches(self, community_id: int | None) -> bool:
        """Whether the key may be used there at all: everywhere, or in its one community and where there is none."""
        return self.community_id is None or community_id is None or self.community_id == community_id

    @property
    def subject(self) -> Subject:
        """The caller as the permission rules see it."""
        return Subject(user_id=self.user_id, is_admin=self.is_admin, community_id=self.community_id, roles=self.roles)


ANONYMOUS = Actor(user_id=0, name="anonymous")
SYSTEM = Actor(user_id=0, is_admin=True, name="system")
