"""Commands with the options that all of them have, wherever on the line they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from controllers.terminal.session import Terminal

FORMS = ["table", "json"]


class Command(click.Command):
    """A command that answers in the form that was asked for."""

    def __init__(self, name: str | None, *, params: list[click.Parameter] | None = None, **named: Any) -> None:
        super().__init__(name, params=[*(params or []), *self.common()], **named)

    def common(self) -> list[click.Parameter]:
        """The options that this kind of command has besides its own."""
        return [_option("-o", "--output", "form", type=click.Choice(FORMS), help="Form of the answer.")]


class Asking(Command):
    """A command that asks a server, or is answered from the database when no server holds it."""

    def common(self) -> list[click.Parameter]:
        """The form, and whom to ask."""
        return [
            *super().common(),
            _option(
                "--url", "url", envvar="MILLRACE_URL", help="Where the server is; default: what holds the database."
            ),
            _option("--key", "key", envvar="MILLRACE_KEY", help="API key; better in MILLRACE_KEY."),
            _option(
                "--direct", "direct", is_flag=True, default=None, help="The database itself, even beside a server."
            ),
        ]


class Group(click.Group):
    """A group of asking commands."""

    command_class = Asking


def is_common(parameter: click.Parameter) -> bool:
    """Whether every command has this option, so that one place is enough to describe it."""
    return isinstance(parameter, CommonOption)


class CommonOption(click.Option):
    """An option whose value goes into the session."""


def _option(*names: str, **attributes: Any) -> CommonOption:
    *flags, field = names
    return CommonOption([*flags], expose_value=False, callback=_into(field), **attributes)


def _into(field: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None and isinstance(context.obj, Terminal):
            setattr(context.obj, field, value)

    return keep
