"""How workflows, versions, packs, actions and grants look to a client: the models of the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from controllers.shapes import BaseModel


class WorkflowSummary(BaseModel):
    """A workflow without its definition and schemas."""

    id: UUID
    package_id: str = Field(examples=["restart-unhealthy-1.0.0"])
    ref: str = Field(examples=["slack.incident_workflow"])
    pack: str
    pack_ref: str
    name: str
    author: str | None
    label: str
    description: str | None
    version: str
    revision: int
    tags: list[str]
    enabled: bool
    community_id: int | None
    owner_id: int | None
    modified: bool = Field(description="Loaded from a file and edited through the API since")
    registered_at: datetime
    created: datetime
    updated: datetime
    latest_run_id: str | None
    latest_run_status: str | None
    latest_run_at: datetime | None
    total_runs: int


class WorkflowView(WorkflowSummary):
    """Everything of a workflow at one version."""

    version_id: UUID
    param_schema: Any
    out_schema: Any
    definition: dict[str, Any]


class WorkflowFields(BaseModel):
    """What a client may say of a workflow."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, description="Default: the last part of `ref`", max_length=200)
    author: str | None = None
    description: str | None = None
    param_schema: dict[str, Any] | bool | None = Field(None, description="JSON Schema of the parameters")
    out_schema: dict[str, Any] | bool | None = Field(None, description="JSON Schema of the output")
    tags: list[str] = Field(default_factory=list, max_length=50)
    enabled: bool = True
    community_id: int | None = None


class CreateWorkflow(WorkflowFields):
    """A workflow to register. A `WorkflowPackage` document is taken as well; its metadata fill the fields."""

    ref: str = Field(max_length=255, examples=["slack.incident_workflow"])
    pack_ref: str = Field(max_length=100, examples=["slack"])
    label: str = Field(min_length=1, max_length=255)
    version: str = Field(min_length=1, max_length=50, examples=["1.0.0"])
    definition: dict[str, Any]


class UpdateWorkflow(WorkflowFields):
    """What shall change; the rest stays. A changed definition or schema makes a new revision."""

    label: str | None = Field(None, min_length=1, max_length=255)
    version: str | None = Field(None, min_length=1, max_length=50)
    definition: dict[str, Any] | None = None


class ExportedView(BaseModel):
    """A definition in another dialect. `notes` say where it behaves differently."""

    dialect: str
    definition: dict[str, Any]
    param_schema: dict[str, Any] | None
    notes: list[str]


class VersionView(BaseModel):
    """One immutable revision."""

    id: UUID
    workflow_id: UUID
    revision: int
    version: str
    package_id: str
    created: datetime
    created_by: int | None


class Finding(BaseModel):
    """Something wrong, or doubtful, in a definition."""

    loc: list[str | int]
    message: str
    type: str
    code: str | None = None
    task: str | None = None
    path: str | None = None
    hint: str | None = None
    subject: str | None = None


class CheckedView(BaseModel):
    """What checking a definition found."""

    is_valid: bool
    errors: list[Finding]
    warnings: list[Finding]


class GraphView(BaseModel, extra="allow"):
    """The compiled graph, for drawing."""

    dialect: str
    entry: list[str]
    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    joins: dict[str, Any]


class DeletedWorkflow(BaseModel):
    """A workflow that was taken out of the registry."""

    id: UUID
    ref: str
    deleted: Literal[True]


class GrantView(BaseModel):
    """What one subject may do with a workflow."""

    subject_type: Literal["user", "role", "community"]
    subject_id: str
    can_view: bool
    can_edit: bool
    can_execute: bool
    can_delete: bool
    can_manage_permissions: bool
    created: datetime
    created_by: int | None


class PutGrant(BaseModel):
    """The flags a subject shall hold; those left out are not held."""

    model_config = ConfigDict(extra="forbid")

    can_view: bool = False
    can_edit: bool = False
    can_execute: bool = False
    can_delete: bool = False
    can_manage_permissions: bool = False


class RevokedGrant(BaseModel):
    """A grant that was taken away."""

    subject_type: str
    subject_id: str
    revoked: Literal[True]


# ---- packs and actions -----------------------------------------------------------------------------------------------


class PackSummary(BaseModel):
    """A pack as it appears in lists."""

    id: UUID
    ref: str
    label: str
    description: str | None
    version: str
    tags: list[str]
    source: Literal["api", "file"]
    modified: bool = Field(description="A request said otherwise than `pack.yaml`, which is not followed any more")
    owner_id: int | None
    community_id: int | None
    workflow_count: int
    created: datetime
    updated: datetime


class ActionView(BaseModel):
    """What a task may call."""

    ref: str
    pack_ref: str
    description: str
    parameters: dict[str, Any]
    output: dict[str, Any] | None
    effect: Literal["none", "read", "write", "irreversible"]
    runner: str
    timeout_seconds: float | None
    example_output: Any
    secrets: list[str]
    examples: list[Any]


class PackView(PackSummary):
    """A pack with its workflows and actions; `config` is shown to its owner."""

    config_schema: Any
    config: dict[str, Any] | None = None
    workflows: list[WorkflowSummary]
    actions: list[dict[str, Any]]


class SyncedWorkflow(BaseModel):
    """One workflow file."""

    ref_name: str
    created: bool
    workflow_def_id: UUID
    file: str
    warnings: list[Finding]


class SyncView(BaseModel):
    """What loading the files of a pack did."""

    pack_ref: str
    loaded_count: int
    registered_count: int
    action_count: int
    workflows: list[SyncedWorkflow]
    disabled: list[str] = Field(description="Workflows whose file is gone")
    errors: list[dict[str, Any]]
    warnings: list[dict[str, Any]] = Field(description="What is loaded and cannot be used as things are")


class WrittenPack(PackSummary):
    """A pack after a request wrote it."""

    config_schema: Any
    config: dict[str, Any] | None
    sync: SyncView


class CreatePack(BaseModel):
    """A pack to register; what a folder of that name below `PACKS_DIR` declares is loaded with it."""

    model_config = ConfigDict(extra="forbid")

    ref: str = Field(max_length=100, examples=["slack"])
    label: str = Field(min_length=1, max_length=255)
    description: str | None = None
    version: str = Field(min_length=1, max_length=50)
    config_schema: dict[str, Any] | bool | None = None
    config: dict[str, Any] | None = None
    tags: list[str] = Field(default_factory=list)
    community_id: int | None = None


class UpdatePack(BaseModel):
    """What shall change; the rest stays. The files are loaded again."""

    model_config = ConfigDict(extra="forbid")

    label: str | None = Field(None, min_length=1, max_length=255)
    description: str | None = None
    version: str | None = Field(None, min_length=1, max_length=50)
    config_schema: dict[str, Any] | bool | None = None
    config: dict[str, Any] | None = None
    tags: list[str] | None = None
    community_id: int | None = None


class DeletedPack(BaseModel):
    """A pack that was removed with what came with it."""

    ref: str
    deleted: Literal[True]


class PackChecked(BaseModel):
    """What checking the files of a pack found."""

    pack_ref: str
    validated_count: int
    error_count: int
    errors: dict[str, list[dict[str, Any]]]


class PackGrantView(BaseModel):
    """Whether a subject may add workflows to a pack."""

    subject_type: Literal["user", "role", "community"]
    subject_id: str
    can_edit: bool
    created: datetime


class PutPackGrant(BaseModel):
    """Whether a subject may add workflows to a pack."""

    model_config = ConfigDict(extra="forbid")

    can_edit: bool = True
