"""Verbs, and what one says who can't find a verb."""

from collections.abc import Iterator
from typing import Any

from typer.core import TyperGroup


class Verbs(TyperGroup):
    """A group that knows the nearest of its verbs, and those of the groups within it: ``relay
    disable`` is ``relay tenant disable``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and name[:1] != "-":
            ctx.fail(f'no verb "{name}"{self._advice(name)}')
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if ctx.parent is None and getattr(error, "option_name", None) == "--config":
                ctx.fail("--config FILE stands before the verb: relay --config FILE VERB")
            raise

    def _advice(self, name: str) -> str:
        from difflib import get_close_matches

        shown = [verb for verb, command in self.commands.items() if not command.hidden]
        close = get_close_matches(name, shown, 1) or list(self._elsewhere(name))
        if close:
            return "; did you mean " + " or ".join(f'"{verb}"' for verb in close) + "?"
        return f" (there is: {', '.join(sorted(shown))})"

    def _elsewhere(self, name: str) -> Iterator[str]:
        """The groups that have such a verb, with it."""
        for group, command in self.commands.items():
            if isinstance(command, TyperGroup) and name in command.commands:
                yield f"{group} {name}"
