"""A tenant's switch in words: the store's word and the file's, where they differ both."""

from relay.cli import output
from relay.model.toggle import Switch


def state(switch: Switch) -> str:
    word = state_word(switch.enabled)
    if switch.enabled_in_file is None:
        return f"{word} (not in the file)"
    if switch.enabled_in_file is switch.enabled:
        return word
    return f"{word} ({state_word(switch.enabled_in_file)} in the file)"


def ends(switch: Switch) -> str:
    return output.until(switch.toggle.until) if switch.toggle and switch.toggle.until else "-"


def why(switch: Switch) -> str:
    if switch.toggle is None:
        return "as the file says" if not switch.enabled else "-"
    return f"{switch.toggle.reason or 'no reason given'} ({switch.toggle.actor})"


def state_word(enabled: bool) -> str:
    return "enabled" if enabled else "disabled"
