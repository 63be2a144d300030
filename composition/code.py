"""Whether and how code of packs is run in this process."""

from __future__ import annotations

import logging
import os

from config import Settings
from services.actions.code import OFF, CodeRules
from services.actions.sandbox import Bubblewrap, Limits, Sandbox, find_sandbox

log = logging.getLogger("millrace.app")

NO_SANDBOX = "ALLOW_CODE_ACTIONS=sandboxed, and no sandbox works on this machine (bubblewrap, with user namespaces)"


def code_rules(settings: Settings) -> CodeRules:
    """The rules for python and shell actions. Tries the sandbox once, and only when they are allowed."""
    wanted = settings.allow_code_actions
    sandbox = Sandbox() if wanted == "off" else find_sandbox()
    walled = isinstance(sandbox, Bubblewrap)
    refused = OFF if wanted == "off" else NO_SANDBOX if wanted == "sandboxed" and not walled else None
    if refused is None:
        _say(sandbox, walled=walled)
    elif wanted != "off":
        log.warning("actions.code_refused %s", refused)
    return CodeRules(
        packs_dir=settings.packs_dir,
        sandbox=sandbox,
        refused=refused,
        parallel=settings.code_parallel,
        limits=Limits(cpu_s=settings.code_cpu_seconds, memory_bytes=settings.code_memory_bytes),
    )


def code_features(rules: CodeRules) -> dict[str, str]:
    """What `/health` says about them."""
    if rules.refused is not None:
        return {"code_actions": "off" if rules.refused == OFF else "no sandbox"}
    return {"code_actions": "on", "code_sandbox": rules.sandbox.name}


def _say(sandbox: Sandbox, *, walled: bool) -> None:
    if walled:
        log.info("actions.code_allowed sandbox=%s", sandbox.name)
        return
    log.warning(
        "actions.code_allowed sandbox=%s python and shell actions see the network and every file this user sees; "
        "install bubblewrap where user namespaces are allowed",
        sandbox.name,
    )
    if os.geteuid() == 0:
        log.warning("actions.code_as_root python and shell actions run as root; run the server as another user")
