"""What it costs to take messages off the broker's line: the subscriber beside bare paho, fed by the same bytes.

    python -m tests.bench.receiving --messages 60000 --size 700

Processor time of the receiving thread a message. The other end is a socket that says CONNACK and SUBACK and then sends
PUBLISH packets at QoS 1 as fast as they are taken; nobody acknowledges. The best of a few rounds each, in turn.
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable
from threading import Event, Thread
from time import thread_time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from pipeline.ingest.subscriber import Line, Subscriber
from tests.bench.load import packet, text

ROUNDS, BLOCK = 3, 2000


def blast(count: int, size: int) -> int:
    """A broker for one client. Gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    body = text("fleet/pi1/r/s1/m1") + b"\0\1" + b"x" * size
    block = packet(0x32, body) * BLOCK

    def serve() -> None:
        line, _ = listener.accept()
        line.recv(4096)
        line.sendall(b"\x20\x02\x00\x00")
        mid = line.recv(4096)[2:4]
        line.sendall(b"\x90\x03" + mid + b"\x01")
        for _ in range(count // BLOCK):
            line.sendall(block)
        line.recv(4096)
        line.close()
        listener.close()

    Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def bare(port: int, count: int) -> float:
    """paho's own loop."""
    came = 0

    def take(*_: object) -> None:
        nonlocal came
        came += 1

    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311, manual_ack=True)
    client.on_connect = lambda *_: client.subscribe("fleet/#", 1) and None
    client.on_message = take
    client.connect("127.0.0.1", port)
    begin = thread_time()
    while came < count:
        client.loop(1.0)
    spent = thread_time() - begin
    client.disconnect()
    return spent


def ours(port: int, count: int) -> float:
    """The subscriber's thread, while somebody takes away what waits."""
    subscriber, ended = Subscriber(Line("127.0.0.1", port)), Event()

    def take() -> None:
        came = 0
        while came < count:
            came += len(subscriber.take())
        subscriber._stopping.set()
        ended.set()

    Thread(target=take, daemon=True).start()
    begin = thread_time()
    subscriber._run()
    return thread_time() - begin


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--messages", type=int, default=60_000)
    asked.add_argument("--size", type=int, default=700)
    told = asked.parse_args()
    count: int = told.messages // BLOCK * BLOCK

    def cost(way: Callable[[int, int], float]) -> float:
        return 1e6 * way(blast(count, told.size), count) / count

    found = [(cost(bare), cost(ours)) for _ in range(ROUNDS)]
    floor, mine = (min(side) for side in zip(*found, strict=True))
    print(f"{count} messages of {told.size} B: ours {mine:.1f} us, bare paho {floor:.1f} us; ratio {mine / floor:.2f}")


if __name__ == "__main__":
    main()
