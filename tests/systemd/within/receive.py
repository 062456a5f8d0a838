"""An upstream at 127.0.0.1:2525, for as long as it lives; the subjects go to a file."""

import re
import sys
import time

from upstream import ThreadedUpstream

_SUBJECT = re.compile(rb"^Subject: (.*?)\r?$", re.MULTILINE)

upstream = ThreadedUpstream(users={"relay": "the platform's password"})
upstream.port = 2525
with upstream, open(sys.argv[1], "a", buffering=1) as file:
    told = 0
    while True:
        for transaction in upstream.transactions[told:]:
            file.write(_SUBJECT.findall(transaction.header)[0].decode() + "\n")
            told += 1
        time.sleep(0.02)
