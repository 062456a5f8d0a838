"""send_all_the_time.py FILE: eight clients, a connection for each message, until FILE is there (or
a minute has passed, for a test that has failed); then the subjects of what was taken, one a line.
Anything but a 250 is told and fails. By the variables CLIENTS and PAUSE_S there are fewer of them,
and pauses between.
"""

import os
import smtplib
import sys
import threading
import time

_CLIENTS = int(os.environ.get("CLIENTS", "8"))
_PAUSE_S = float(os.environ.get("PAUSE_S", "0"))
_LONGEST_S = 60.0
port = int(os.environ.get("PORT", "25"))
taken: list[str] = []
refused: list[str] = []


def send(client: int) -> None:
    number, began = 0, time.monotonic()
    while not os.path.exists(sys.argv[1]) and time.monotonic() - began < _LONGEST_S:
        number += 1
        subject = f"{client}-{number}"
        try:
            # QUIT is waited for, too: an application that fails there may send once more.
            with smtplib.SMTP("127.0.0.1", port, timeout=60) as connection:
                content = f"Subject: {subject}\r\n\r\nHello\r\n"
                connection.sendmail("app@acme.example", ["joe@recipient.example"], content)
                taken.append(subject)
        except (OSError, smtplib.SMTPException) as error:
            refused.append(f"{subject}: {error!r}")
        time.sleep(_PAUSE_S)


threads = [threading.Thread(target=send, args=(client,)) for client in range(_CLIENTS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("\n".join(taken))
sys.exit("\n".join(refused) if refused else 0)
