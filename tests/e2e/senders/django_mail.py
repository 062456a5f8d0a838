"""django_mail.py SENDER RECIPIENT PORT...: one message to each port, made anew each time."""

import random
import sys
from pathlib import Path

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

settings.configure(DEFAULT_CHARSET="utf-8")
sender, recipient, *ports = sys.argv[1:]
for port in ports:
    random.seed(1)  # of which the boundary is made
    message = EmailMessage(
        "Grüße",
        Path("body").read_text(encoding="utf-8"),
        f"Jörg <{sender}>",
        [recipient],
        headers={
            "Date": "Thu, 01 Oct 2026 10:11:12 +0200",
            "Message-ID": "<1.django@acme.example>",
        },
        connection=get_connection(
            "django.core.mail.backends.smtp.EmailBackend", host="127.0.0.1", port=int(port)
        ),
    )
    message.attach("octets.bin", Path("octets.bin").read_bytes(), "application/octet-stream")
    message.send()
