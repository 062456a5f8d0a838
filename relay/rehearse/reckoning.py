"""What the configuration promises in time: when mail is tried again, when somebody is told.

A rehearsal can't wait for days, so its own clock runs faster; what is told of times is reckoned
here, out of the operator's configuration, by the rules that the relay goes by. Seconds throughout.
"""

from dataclasses import dataclass

from relay.config.schema import Config, Tenant

# How long the longest of the waits that a scene goes through may take in a rehearsal.
_LONGEST_WAIT_S = 1.0
_LONGEST_FIRST_S = 0.3
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Delay:
    """``because`` names the settings that it is made of."""

    seconds: float
    because: str


def told_after(config: Config, *, first: Delay | None = None) -> Delay:
    """From the first message that meets a trouble until an alert leaves; ``first`` passes before
    the trouble is known as one."""
    gather = config.alerts.gather
    if first is None:
        return Delay(gather, f"alerts.gather {in_words(gather)}")
    because = f"{first.because}, then alerts.gather {in_words(gather)}"
    return Delay(first.seconds + gather, because)


def silence(config: Config, upstream: str) -> Delay:
    """How long two messages wait for an upstream that says nothing: by one connection one behind
    the other."""
    times = 2 if config.upstreams[upstream].limits.connections == 1 else 1
    reply = config.timeouts.reply
    because = f"timeouts.reply {in_words(reply)}" + (", twice" if times == 2 else "")
    return Delay(times * reply, because)


def tries(config: Config, message_class: str) -> str:
    """How mail that waits for its upstream is tried again, and when it is given up. The upstream is
    probed by the same schedule for all; what a class has of its own is its age."""
    first, longest = in_words(config.retry.first), in_words(longest_wait(config))
    growing = f", then at growing distances up to {longest}" if longest != first else ""
    life = in_words(gives_up_after(config, message_class))
    return f"tried again after {first}{growing}, for {life}"


def longest_wait(config: Config) -> float:
    """Between two probes of an upstream that is down for long."""
    retry = config.retry
    return retry.longest if retry.factor > 1 else retry.first


def gives_up_after(config: Config, message_class: str) -> float:
    chosen = config.classes.get(message_class)
    return (chosen.retry_from(config.retry) if chosen else config.retry).give_up_after


def pace(config: Config, tenant: Tenant | None) -> float:
    """How many times as fast the clock of a rehearsal runs, at least once."""
    waits = [config.alerts.gather]
    if tenant and tenant.failover:
        waits.append(tenant.failover.after)
    longest = max(waits) / _LONGEST_WAIT_S
    return max(1.0, longest, config.retry.first / _LONGEST_FIRST_S)


def in_words(seconds: float) -> str:
    """As the configuration writes it, in the two largest units: 5m, 1m 30s, 2d, 200ms."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms" if seconds else "0s"
    left, parts = round(seconds), []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])
