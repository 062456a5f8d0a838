"""send.py HOST SUBJECT [USER PASSWORD]: one message by port 25; fails unless it is taken."""

import smtplib
import sys

host, subject, *login = sys.argv[1:]
with smtplib.SMTP(host, 25, timeout=30) as client:
    if login:
        client.login(*login)
    client.sendmail(
        "app@acme.example", ["joe@recipient.example"], f"Subject: {subject}\r\n\r\nHello\r\n"
    )
