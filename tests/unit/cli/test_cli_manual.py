"""The man page: as the verbs are now, and as man reads it."""

import subprocess
from pathlib import Path

import pytest
from support.need import need

from relay.cli.shell import manual

PAGE = Path(__file__).parents[3] / "docs/relay.8"


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == manual.manual(), (
        "python -m relay.cli.shell.manual > docs/relay.8 makes it anew"
    )


def test_every_verb_has_its_section():
    for path, _ in manual._verbs(manual.get_command(manual.program()), ()):
        assert f"\n.SS relay {' '.join(path)}" in manual.manual()


def test_no_mistake_is_found_in_it():
    done = subprocess.run(
        [need("mandoc"), "-T", "lint", "-W", "warning", PAGE], capture_output=True, text=True
    )
    # It has no date, which would change with each making.
    told = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert told == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (".dot", ".dot"),
        ("'quote' `tick`", "'quote' `tick`"),
        ("--option -x", "--option -x"),
        (r"back\slash \fB", r"back\slash \fB"),
        ("~ and ^", "~ and ^"),
    ],
)
def test_text_is_shown_letter_for_letter(text: str, shown: str, tmp_path: Path):
    page = tmp_path / "page.8"
    page.write_text(f'.TH X 8 "" "" ""\n.SH S\n{manual._text(text)}\n')
    done = subprocess.run([need("mandoc"), "-T", "ascii", page], capture_output=True, text=True)
    assert f"     {shown}\n" in done.stdout
