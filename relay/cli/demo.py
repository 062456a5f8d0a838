"""``relay demo``: the whole of it in a few seconds, on a stage of its own."""

import sys
from typing import Annotated

import typer

from relay.cli import options

app = typer.Typer()

_INTERRUPTED = 130  # what a shell shows for a program that SIGINT ended


@app.command(epilog=options.examples("relay demo", "relay demo --keep"))
def demo(
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Leave it running until Ctrl-C, for mail of your own."),
    ] = False,
) -> None:
    """Show it all, on a stage of its own.

    A throwaway relay, two upstreams with real TLS and AUTH, real mail of three senders, a tenant
    that is toggled off, an upstream that breaks and comes back.

    Nothing of an installed relay is touched, and no mail leaves this machine. Status 1 where
    anything does not come out as it should.
    """
    import asyncio

    raise typer.Exit(asyncio.run(_run(keep)))


async def _run(keep: bool) -> int:
    """The status. A signal ends it in order: whatever it started is ended with it."""
    import asyncio
    import signal

    from relay.rehearse.demo import Demo
    from relay.rehearse.narrator import Narrator
    from relay.rehearse.stage import StageError, stage

    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    narrator = Narrator()
    told = False
    try:
        async with stage("relay-demo-") as built:
            show = Demo(built, narrator)
            await show.tell()
            told = True
            if keep and not narrator.failures:
                await show.stay()
    except StageError as error:
        print(f"\nrelay demo: {error}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        return 0 if told else _INTERRUPTED
    return 1 if narrator.failures else 0
