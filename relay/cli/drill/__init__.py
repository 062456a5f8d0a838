"""``relay drill``: what would happen to mail, and who would be told, before it happens.

It touches nothing that is in use: its one trace is an event in the trail, at the end.
"""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli import access, options, output, progress
from relay.cli.access import Trouble
from relay.cli.drill import report

if TYPE_CHECKING:
    from relay.config.schema import Config
    from relay.model.events import Event
    from relay.rehearse.play import Script
    from relay.rehearse.verdict import Scene

app = typer.Typer()

_MOST_UNNAMED = 5
_TELL_EVERY_S = 1.0
_INTERRUPTED = 130  # what a shell shows for a program that SIGINT ended


@app.command(
    epilog=options.examples(
        "relay drill acme",
        "relay drill",
        "relay drill acme --json | jq 'select(.ok | not)'",
    )
)
def drill(
    context: typer.Context,
    tenants: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TENANT",
            help=f"Only these. Default: the first {_MOST_UNNAMED} of the configuration.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Rehearse failure and recovery.

    An upstream is down, its login revoked, its certificate expired, it is slow, its quota is
    reached, a tenant is toggled off, mail is refused: what becomes of mail, who is told, after how
    long. With your configuration, on an empty store in a temporary folder, with stand-ins on
    loopback; nothing real is touched, and no secret is read.

    Status 1 where a promise is not kept, or nobody would be told. A tenant takes about 20 s.
    """
    import asyncio

    config = access.configuration(context)
    for name in tenants or ():
        access.named("tenant", name, config.tenants)
    names = list(dict.fromkeys(tenants or ())) or _unnamed(config)
    scripts = _scripts(context, config, names)
    stage = _Stage(config, scripts, named=bool(tenants), as_json=as_json)
    raise typer.Exit(asyncio.run(stage.run()))


def _unnamed(config: "Config") -> list[str]:
    """Whose mail is drilled where nobody is named; "" is mail of no tenant."""
    if config.tenants:
        return list(config.tenants)[:_MOST_UNNAMED]
    if config.default is None:
        raise Trouble("nothing to drill: there is neither a tenant nor a default")
    return [""]


def _scripts(context: typer.Context, config: "Config", names: Sequence[str]) -> "list[Script]":
    from relay.rehearse.play import Script
    from relay.rehearse.rehearsed import as_written

    written = as_written(*access.sources(context))
    return [Script(config, written, name) for name in names]


class _Stage:
    """Runs the scenes, and shows each as soon as it is over."""

    def __init__(
        self, config: "Config", scripts: "Sequence[Script]", *, named: bool, as_json: bool
    ) -> None:
        self._config = config
        self._scripts = scripts
        self._named = named
        self._as_json = as_json
        self._scenes: list[Scene] = []
        self._began = time.monotonic()
        self._progress = progress.Line()

    async def run(self) -> int:
        """The status. A signal ends it in order: whatever it started is ended with it."""
        import asyncio
        import signal

        from relay.rehearse.stage import StageError

        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            await self._run()
        except BrokenPipeError:
            raise
        except (StageError, OSError) as error:
            raise Trouble(f"the drill can't go on: {error}") from error
        except asyncio.CancelledError:
            return _INTERRUPTED
        finally:
            self._progress.say("")
        self._finish()
        return 0 if all(scene.ok for scene in self._scenes) else 1

    async def _run(self) -> None:
        import asyncio

        if not self._as_json:
            report.introduce(self._scripts)
            output.flush()
        ticking = asyncio.create_task(self._tell_progress())
        try:
            async for scenes in self._performed():
                self._progress.say("")
                for scene in scenes:
                    self._show(scene)
                self._scenes += scenes
        finally:
            ticking.cancel()

    async def _performed(self) -> "AsyncIterator[list[Scene]]":
        from relay.rehearse.drill import drill

        for script in self._scripts:
            async for scenes in drill(script):
                yield scenes

    def _show(self, scene: "Scene") -> None:
        if self._as_json:
            output.json_lines([scene.row()])
        else:
            report.show(scene)
        output.flush()

    def _finish(self) -> None:
        if not self._as_json:
            self._sum_up()
        output.flush()
        access.put_on_record(self._config, list(self._events()))

    def _sum_up(self) -> None:
        report.sum_up(self._scenes, time.monotonic() - self._began)
        drilled = {script.tenant for script in self._scripts}
        others = [name for name in self._config.tenants if name not in drilled]
        if others and not self._named:
            print(f"Not drilled: {output.plain(output.shortened(others, _MOST_UNNAMED))}")

    async def _tell_progress(self) -> None:
        import asyncio

        from relay.rehearse.drill import SCENES

        total = SCENES * len(self._scripts)
        while True:
            seconds = time.monotonic() - self._began
            self._progress.say(f"{len(self._scenes)} of {total} scenes, {seconds:.0f} s")
            await asyncio.sleep(_TELL_EVERY_S)

    def _events(self) -> "Iterator[Event]":
        from relay.model.events import drill_run

        for script in self._scripts:
            scenes = [scene for scene in self._scenes if scene.tenant == script.tenant]
            outcomes = {scene.name: str(scene.outcome) for scene in scenes}
            failed = [scene.name for scene in scenes if not scene.ok]
            remarks = dict.fromkeys(text for s in scenes for text, _ in report.remarks(s))
            yield drill_run(script.tenant or None, access.actor(), outcomes, failed, list(remarks))
