"""The command line: one file for each group of verbs; each imports what it needs when it runs."""


def main() -> None:
    raise SystemExit("not wired yet")
