"""An application that knows one thing about mail: where it goes in. It sends a message and ends."""

import os
import smtplib
from email.message import EmailMessage

message = EmailMessage()
message["From"] = os.environ.get("MAIL_FROM", "shop@acme.example")
message["To"] = os.environ.get("MAIL_TO", "you@example.org")
message["Subject"] = "From a container"
message.set_content("It works.\n")

with smtplib.SMTP(os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"]), timeout=30) as relay:
    relay.send_message(message)
print("handed over")
