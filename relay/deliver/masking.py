"""Keeps an upstream's secrets out of what is shown of a dialogue, even where the server repeats
them to us."""

from base64 import b64encode
from dataclasses import replace

from relay.config.schema import Upstream
from relay.config.secrets import SecretError
from relay.model.result import Relayed, Result, Trouble

MASK = "****"
# What is shorter is no secret, and stands in too many words.
_SHORTEST = 4


class Masking:
    """Of nothing at all where the secrets can't be read: they are not sent then either."""

    def __init__(self, upstream: Upstream) -> None:
        forms = {form for form in _forms(upstream) if len(form) >= _SHORTEST}
        # The longest first: a short form may be a part of it.
        self._forms = sorted(forms, key=len, reverse=True)

    def masked(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, MASK)
        return text

    def masked_result(self, result: Result) -> Result:
        """A server may repeat at any time what it was given at AUTH."""
        if not self._forms:
            return result
        if isinstance(result, Relayed):
            return Relayed(replace(result.reply, text=self.masked(result.reply.text)))
        return self.masked_trouble(result)

    def masked_trouble(self, trouble: Trouble) -> Trouble:
        reply = trouble.reply and replace(trouble.reply, text=self.masked(trouble.reply.text))
        return replace(trouble, reply=reply, detail=self.masked(trouble.detail))


def _forms(upstream: Upstream) -> list[str]:
    """How they look on the wire (RFC 4616, and LOGIN), and as such. A user name alone is no secret:
    it is often the sender's address, too."""
    try:
        username = upstream.username.reveal() if upstream.username else ""
        password = upstream.password.reveal() if upstream.password else ""
    except SecretError:
        return []
    if not password:
        return []
    plain = f"\0{username}\0{password}"
    return [password, *(b64encode(text.encode()).decode() for text in (password, username, plain))]
