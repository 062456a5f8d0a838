"""What a check found: something wrong with a value, and which other values that depends on."""

from collections.abc import Collection

from relay.config.problem import Loc
from relay.model.value import value_class


@value_class
class Finding:
    """``rests_on`` are the values that must be sound for the finding to be one."""

    loc: Loc
    message: str
    rests_on: tuple[Loc, ...] = ()

    def is_about(self, faulty: Collection[Loc]) -> bool:
        """Whether it touches, or rests on, anything that is known to be wrong already."""
        return any(_overlap(mine, other) for mine in (self.loc, *self.rests_on) for other in faulty)


def _overlap(one: Loc, other: Loc) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
