"""``relay config``: what there is to configure, and what is in force with its origin."""

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.cli import access, options, output
from relay.cli.access import Trouble
from relay.cli.config import inventory

if TYPE_CHECKING:
    from relay.config.effective import Setting
    from relay.config.problem import Loc

app = options.group("What there is to configure, and what is in force.")
app.add_typer(inventory.app)

# Origins stand beside the values, unless these are longer than that.
_WIDEST = 60


@app.callback()
def config() -> None:
    """What there is to configure, and what is in force."""


@app.command(
    epilog=options.examples(
        "relay config show",
        "relay config show upstreams.acme-sendgrid retry",
        "relay config show | grep -v '# default'",
        "relay config show --json | jq 'select(.origin | startswith(\"variable\"))'",
    )
)
def show(
    context: typer.Context,
    keys: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY]...",
            help="Only these and what is beneath them, like tenants.acme.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """The configuration in force, with the origin of each value.

    That is a line of the file, a variable, a provider's preset, or the default. Of a secret it is
    told where it is kept.
    """
    from relay.config.effective import effective

    with access.problems_told():
        settings = effective(*access.sources(context))
    if keys:
        wanted = {s.key: s for key in keys for s in _beneath(key, settings)}
        settings = [s for s in settings if s.key in wanted]
    if as_json:
        output.json_lines({"key": s.key, "value": s.value, "origin": s.origin} for s in settings)
    else:
        _print(settings)


def _beneath(key: str, settings: "list[Setting]") -> "list[Setting]":
    found = [s for s in settings if s.key == key or s.key.startswith((f"{key}.", f"{key}["))]
    if found:
        return found
    from relay.config.problem import did_you_mean, dotted

    known = {dotted(s.loc[:end]) for s in settings for end in range(1, len(s.loc) + 1)}
    if _could_be_set(key, known):
        raise Trouble(f"{key} is not set, and has no default")
    hint = did_you_mean(key, known)
    raise Trouble(f'nothing is set by the name "{key}"' + (hint if hint[:1] == ";" else ""))


def _could_be_set(key: str, known: "Collection[str]") -> bool:
    """Whether the schema has such a key, in a section that there is."""
    from relay.config.shape import is_named, kind_at

    section, _, _ = key.rpartition(".")
    if section and section not in known:
        return False
    above = tuple(section.split(".")) if section else ()
    return kind_at(tuple(key.split("."))) is not None and not is_named(kind_at(above))


def _print(settings: "Iterable[Setting]") -> None:
    lines = list(_lines(settings))
    width = max((len(line) for line, origin in lines if origin and len(line) <= _WIDEST), default=0)
    for line, origin in lines:
        print(f"{line.ljust(width)}  # {output.plain(origin)}" if origin else line)


def _lines(settings: "Iterable[Setting]") -> Iterator[tuple[str, str]]:
    """Each line as the file could have it, and the origin of the value in it."""
    before: Loc = ()
    for setting in settings:
        loc = setting.loc
        shared = next((i for i, (a, b) in enumerate(zip(before, loc, strict=False)) if a != b), 0)
        for depth in range(shared, len(loc) - 1):
            if isinstance(loc[depth], str):
                yield _indented(loc, depth, shared) + ":", ""
        yield f"{_indented(loc, len(loc) - 1, shared)}: {_scalar(setting.value)}", setting.origin
        before = loc


def _indented(loc: "Loc", depth: int, shared: int) -> str:
    """The key at that depth; the first one of a list's item stands behind its dash."""
    opens_item = depth > shared and isinstance(loc[depth - 1], int)
    indent = "  " * (depth - 1) + "- " if opens_item else "  " * depth
    return indent + output.plain(str(loc[depth]))


def _scalar(value: Any) -> str:
    """In YAML, on one line."""
    import yaml

    if isinstance(value, str) and not value.isprintable():
        value = output.plain(" ".join(value.split()))
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=2**31)
    return str(text).removesuffix("\n").removesuffix("\n...")


@app.command(epilog=options.examples("relay config schema > config.schema.json"))
def schema() -> None:
    """Print the JSON Schema of the configuration, by which editors complete and check it."""
    import json

    from relay.config.editor import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
