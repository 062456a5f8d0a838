"""Which refusals count towards the suppression of an address: permanent ones that mean that there
is no such mailbox, not those about content, quota or policy.
"""

import time

from relay.config.schema import Config
from relay.deliver.classify import means_no_mailbox
from relay.dispatch.outcome import Outcome
from relay.model.address import canonical
from relay.model.causes import Scope
from relay.model.message import Kind, Message
from relay.model.result import Failed, Relayed
from relay.model.suppression import Strike


def strikes_of(config: Config, message: Message, outcome: Outcome) -> tuple[Strike, ...]:
    policy = config.suppression
    # Without a tenant an entry would be for all tenants: nobody's refusal is to reach so far.
    if not policy.automatic or message.kind is not Kind.MAIL or not message.tenant:
        return ()
    if all(isinstance(result, Relayed) for result in outcome.attempt.results):
        return ()
    now = time.time()
    return tuple(
        Strike(
            message.tenant,
            canonical(recipient.address),
            str(result.reply),
            now,
            policy.after,
            policy.expire,
        )
        for recipient, result in zip(outcome.recipients, outcome.attempt.results, strict=True)
        if isinstance(result, Failed)
        and result.scope is Scope.RECIPIENT
        and result.reply is not None
        and means_no_mailbox(result.reply)
    )
