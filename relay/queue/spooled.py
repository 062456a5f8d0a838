"""Where large content lies, and its octets: what the verbs need of the spool, without its life."""

import os
from collections.abc import Generator
from pathlib import Path

# Large enough that the way through a thread (some 50 us) does not count, small enough that a
# hundred sessions stay within the memory of DESIGN, section 1.
PIECE_BYTES = 256 * 1024


def spool_path(store: Path) -> Path:
    return store.with_name(store.name + ".spool")


def pieces(directory: Path, name: str, size: int) -> Generator[bytes, None, None]:
    """The octets of a file; OSError where it is missing or shorter than ``size``: what lacks its
    end must never be handed over as if it were whole."""
    with open(directory / name, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size < size:
            raise OSError(f"{directory / name} is shorter than the message's {size} octets")
        while piece := file.read(PIECE_BYTES):
            yield piece
