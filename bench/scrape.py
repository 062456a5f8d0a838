"""What a scrape of /metrics costs: a hundred tenants with an upstream each, all of whom have sent.

    python bench/scrape.py [--tenants 100] [--seconds 20] [--rounds 3]

Rounds with a scrape each second take turns with idle ones, so that what differs is the scrape: of
CPU time in all threads of the relay, as the kernel's scheduler counts it. Every sample is written
at every scrape, so that mail beside it would only blur the figure. It goes to smtp-sink (postfix).
"""

import argparse
import http.client
import smtplib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from programs import ended, free_port, wait_for_port

_RELAY = Path(sys.executable).with_name("relay")


def config(folder: Path, ports: tuple[int, int, int], tenants: int) -> str:
    smtp, web, sink = ports
    names = range(tenants)
    upstreams = (f"  up-{n}: {{host: 127.0.0.1, port: {sink}, tls: none}}\n" for n in names)
    owned = (f"  tenant-{n}: {{domains: [t{n}.example], upstream: up-{n}}}\n" for n in names)
    return (
        f"hostname: relay.test\nlisten: [127.0.0.1:{smtp}]\nstore: sqlite://{folder}/relay.db\n"
        f"http: {{listen: 127.0.0.1:{web}}}\n"
        f"upstreams:\n{''.join(upstreams)}tenants:\n{''.join(owned)}"
    )


def send_for_each(port: int, tenants: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        for number in range(tenants):
            sender = f"app@t{number}.example"
            client.sendmail(sender, ["a@x.example"], f"From: {sender}\r\n\r\nhello\r\n")


def scrape(connection: http.client.HTTPConnection) -> bytes:
    connection.request("GET", "/metrics")
    return connection.getresponse().read()


def cpu_s(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def cpu_of_round(pid: int, scraped: http.client.HTTPConnection | None, seconds: int) -> float:
    """CPU seconds a second; with a connection, of as many scrapes too."""
    began, before = time.monotonic(), cpu_s(pid)
    for second in range(1, seconds + 1):
        if scraped:
            scrape(scraped)
        time.sleep(max(0.0, began + second - time.monotonic()))
    return (cpu_s(pid) - before) / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), given.tenants, given.seconds, given.rounds)


def measure(folder: Path, tenants: int, seconds: int, rounds: int) -> None:
    smtp, web, sink = ports = free_port(), free_port(), free_port()
    file = folder / "config.yaml"
    file.write_text(config(folder, ports, tenants))
    serve = [str(_RELAY), "--config", str(file), "serve"]
    with ended(["smtp-sink", "-u", "postfix", f"127.0.0.1:{sink}", "1024"]):
        wait_for_port(sink)
        with (folder / "trail").open("wb") as trail, ended(serve, stdout=trail) as relay:
            wait_for_port(web)
            report(relay, smtp, web, tenants, seconds, rounds)


def report(
    relay: "subprocess.Popen[bytes]", smtp: int, web: int, tenants: int, seconds: int, rounds: int
) -> None:
    send_for_each(smtp, tenants)
    time.sleep(2)  # the last of them are relayed
    # Prometheus keeps its connection, too.
    scraped = http.client.HTTPConnection("127.0.0.1", web, timeout=10)
    page = scrape(scraped)
    pairs = [
        (cpu_of_round(relay.pid, None, seconds), cpu_of_round(relay.pid, scraped, seconds))
        for _ in range(rounds)
    ]
    without, with_scrapes = (statistics.median(column) for column in zip(*pairs, strict=True))
    samples = sum(not line.startswith(b"#") for line in page.splitlines())
    print(f"{tenants} tenants, {samples} samples, {len(page) / 1024:.0f} KiB")
    print(f"idle           {without * 1000:6.1f} ms of CPU a second")
    print(f"with scrapes   {with_scrapes * 1000:6.1f} ms")
    print(f"a scrape       {(with_scrapes - without) * 1000:6.1f} ms: "
          f"{(with_scrapes - without):.2%} of a processor at one a second")  # fmt: skip


if __name__ == "__main__":
    main()
