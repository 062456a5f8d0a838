"""A drill as a person reads it: what is being done, each scene, and all of them in a table."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from relay.cli import output
from relay.cli.output import BOLD, GREEN, RED, YELLOW, styled

if TYPE_CHECKING:
    from relay.rehearse.play import Script
    from relay.rehearse.verdict import Scene

_WIDTH = 84


def introduce(scripts: "Sequence[Script]") -> None:
    from relay.rehearse.reckoning import pace

    paces = sorted({round(pace(script.config, script.owner)) for script in scripts})
    times = " to ".join(str(one) for one in dict.fromkeys((paces[0], paces[-1])))
    faster = (
        f"whose clock runs {times} times as fast" if paces[-1] > 1 else "which runs in real time"
    )
    print(
        textwrap.fill(
            "A drill. Nothing real is touched: not the relay that runs here, nor its store, nor "
            "any upstream, webhook or person, and no secret is read. Each scene has a relay of its "
            "own with your configuration, on an empty store in a temporary folder; stand-ins on "
            "loopback play the others.",
            _WIDTH,
        )
    )
    print(
        textwrap.fill(
            "What became of mail and who was told was seen. Times are reckoned from your "
            f"configuration, and were not waited for in the rehearsal, {faster}.",
            _WIDTH,
        )
    )


def show(scene: "Scene") -> None:
    print(f"\n{styled(output.plain(_title(scene)), BOLD)}")
    output.facts({f"  {name}": _wrapped(text) for name, text in _facts(scene) if text})
    for text, colour in remarks(scene):
        print(f"  {styled(output.plain(text), colour)}")


def sum_up(scenes: "Sequence[Scene]", seconds: float) -> None:
    """A row a scene, and the verdict."""
    print()
    output.table(_TITLES, map(_cells, scenes))
    failed = sum(not scene.ok for scene in scenes)
    verdict = f"{failed} not as it should be" if failed else "all of them as they should be"
    named = len({text for scene in scenes for text, _ in remarks(scene)})
    findings = f"; {named} {'finding' if named == 1 else 'findings'}, see above" if named else ""
    text = f"{len(scenes)} scenes in {seconds:.0f} s, {verdict}{findings}."
    print(f"\n{styled(text, RED if failed else GREEN)}")


def _title(scene: "Scene") -> str:
    return f"{scene.tenant or '(default)'}: {scene.name.replace('_', ' ')}"


def _facts(scene: "Scene") -> list[tuple[str, str]]:
    from relay.rehearse.verdict import Outcome

    if scene.outcome is Outcome.NOT_REHEARSED:
        return [("not rehearsed", scene.mail)]
    return [
        ("broken", scene.broken),
        ("mail", scene.mail),
        ("cause", scene.cause or ""),
        ("remedy", scene.remedy or ""),
        ("told", _told(scene)),
    ]


def _told(scene: "Scene") -> str:
    if not scene.reached:
        return "nobody" if scene.told_after else ""
    who = ", ".join(map(str, scene.reached))
    return f"{who}, {_after(scene)} ({scene.told_after.because})" if scene.told_after else who


def _after(scene: "Scene") -> str:
    """When a person would know."""
    from relay.rehearse.reckoning import in_words

    if scene.told_after is None:
        return ""
    if not scene.reached:
        return "never"
    seconds = scene.told_after.seconds
    return f"after about {in_words(seconds)}" if seconds else "at once"


def remarks(scene: "Scene") -> Iterator[tuple[str, str]]:
    """What is not as it should be, and what is worth knowing, with a colour."""
    for text in scene.not_kept:
        yield f"NOT KEPT: {text}", RED
    for finding in scene.findings:
        yield f"finding: {finding.text}", RED if finding.grave else YELLOW


_TITLES = ("TENANT", "SCENE", "MAIL", "TOLD", "FINDING")


def _cells(scene: "Scene") -> tuple[str, ...]:
    found = [text.removeprefix("finding: ") for text, _ in remarks(scene)]
    return (
        scene.tenant or "(default)",
        scene.name.replace("_", " "),
        scene.outcome.replace("_", " "),
        _after(scene) or "-",
        textwrap.shorten(output.shortened(found), 60, placeholder=" ...") if found else "-",
    )


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, _WIDTH - 12, break_long_words=False)) or ""
