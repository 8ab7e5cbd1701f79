"""What a driver is: a value that knows a protocol and has never heard of a port.

An asked device has `poll(address)`, a generator that yields requests, is sent the answers and returns what was
measured; whoever runs it owns the waiting. A device that talks unasked has `feed(state, chunk)`. Both have
`decode(frame, request)`, which serves tests, captures and the command line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from cellherd.errors import BadFrame, Refused
from cellherd.reading import Measured


class Unsupported(BadFrame):
    """The device understood the request and says that it cannot answer it; a poll may do without."""


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes for a serial line or a socket; the driver's `extract` says which bytes are the answer.

    `parts` is how many answers come where only the asker knows it; they are handed over as one.
    """

    data: bytes
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Wake:
    """What opens a console that nobody has used since power-on: `call` at another speed, then `then` at the usual one.

    Only a serial port has a speed; over TCP it is left out.
    """

    baud: int
    call: Send
    then: Send


@dataclass(frozen=True, slots=True)
class Registers:
    """A Modbus read of `count` registers, big-endian as they come, or coils (function 1), eight to a byte."""

    function: Literal[1, 3, 4]
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class CanFrame:
    """A CAN frame, heard or asked with."""

    id: int
    data: bytes
    extended: bool = False

    def __str__(self) -> str:
        """The way candump writes it: ID#DATA."""
        return f"{self.id:0{8 if self.extended else 3}X}#{self.data.hex().upper()}"


Request: TypeAlias = Send | Registers | CanFrame
Answer: TypeAlias = bytes
Chunk: TypeAlias = bytes | CanFrame
State: TypeAlias = Any
Conversation: TypeAlias = Generator[Request, Answer, tuple[Measured, ...]]
Poll: TypeAlias = Callable[[int], Conversation]
Feed: TypeAlias = Callable[[State, Chunk], tuple[State, tuple[Measured, ...]]]
Decode: TypeAlias = Callable[[Chunk, bytes | None], tuple[Measured, ...]]
Extract: TypeAlias = Callable[[bytes, bytes], bytes | None]
"""extract(request, buffer): the answer to that request if it stands whole in the buffer, None if more must come.

It skips echoes, noise and late answers to other requests, and raises BadFrame for an answer that is broken.
"""


@dataclass(frozen=True, slots=True)
class Readable:
    """Modbus registers `start` to `end` (exclusive) that may be read with `function`."""

    function: int
    start: int
    end: int


Permit: TypeAlias = re.Pattern[bytes] | Readable | Registers | CanFrame
"""One line of a read allow-list: a pattern for whole requests, a range of registers, exact registers or CAN frame."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What a cloud lets us in with, read from files when a link is opened; never printed."""

    name: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Login:
    """With what a link logs in: file names as edge.toml gives them, and no secret itself."""

    username: str | None = None
    username_file: str | None = None
    password_file: str | None = None
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where a cloud's broker is and what to hear there; `first` are answers that already are frames."""

    host: str
    port: int
    username: str = field(repr=False)
    password: str = field(repr=False)
    topics: tuple[str, ...]
    first: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Gatt:
    """Where a device speaks over Bluetooth LE: 16-bit numbers of the service, and of what notifies and is written."""

    service: int
    notify: int
    write: int


Sign: TypeAlias = Callable[[str, Keys, str, int], Mapping[str, str]]
"""sign(query, keys, nonce, ms UTC): the headers that make a cloud answer."""
Enter: TypeAlias = Callable[[], Generator[Request, Answer, Entrance]]
"""How a driver asks a cloud's API for the way to its broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """One brand on one interface.

    `poll` runs each period, and with `whole_bus` it tells of every module behind the port; `identify` at the start and
    once a day (serial, model, limits); `seldom` every half minute (counters, logs). `allow` lists everything that may
    ever be sent; a listener's is empty. `line` is what an installer must know of the wiring; `baud`, `gap_s`,
    `timeout_s` and `silence_s` are the protocol's pace. `wake` is sent once to a port that gave no answer.
    `ascii` frames may be given as text; where one `spans_lines`, a text file is one frame as it stands.
    Over MQTT and HTTPS a frame is `topic payload`, or the payload alone, and a request `topic payload` to be published
    or `GET /path?query`; {unit} in them, and in the `topics` that are listened to, is what the link names behind its
    host. `sign` and `enter` belong to clouds, `gatt` to Bluetooth. `beat` gives a reply that a device wants to
    something it says unasked.
    `ask` and `ack` are set by asking.configured: on CAN nothing is sent without the one, and a frame is acknowledged
    only with one of them.
    """

    name: str
    brand: str
    title: str
    line: str
    links: tuple[Literal["serial", "tcp", "modbus", "can", "ble", "mqtt", "https", "cloud"], ...]
    decode: Decode
    allow: tuple[Permit, ...] = ()
    poll: Poll | None = None
    identify: Poll | None = None
    seldom: Poll | None = None
    extract: Extract | None = None
    feed: Feed | None = None
    fresh: Callable[[], State] = lambda: None
    default_address: int = 0
    whole_bus: bool = False
    baud: int = 9600
    gap_s: float = 0.05
    timeout_s: float = 0.5
    silence_s: float = 10.0
    wake: Wake | None = None
    ascii: bool = False
    spans_lines: bool = False
    topics: tuple[str, ...] = ()
    sign: Sign | None = None
    enter: Enter | None = None
    beat: Callable[[bytes], Send | None] | None = None
    gatt: Gatt | None = None
    login: Login | None = None
    ask: bool = False
    ack: bool = False


def permits(driver: Driver, request: Request) -> bool:
    """Whether the driver's read allow-list holds this request."""
    return any(_covers(permit, request) for permit in driver.allow)


def refuse_unless_permitted(driver: Driver, request: Request) -> None:
    """The guard that every link calls before a byte leaves. Raises Refused."""
    if not permits(driver, request):
        raise Refused(f"{driver.name}: {request} is not on the read allow-list, nothing was sent")


def _covers(permit: Permit, request: Request) -> bool:
    match permit, request:
        case re.Pattern(), Send(data):
            return permit.fullmatch(data) is not None
        case Readable(function, start, end), Registers():
            inside = start <= request.start and request.start + request.count <= end
            return request.function == function and request.count > 0 and inside
        case (Registers(), Registers()) | (CanFrame(), CanFrame()):
            return permit == request
    return False


Outcome = TypeVar("Outcome")


def converse(conversation: Generator[Request, Answer, Outcome], ask: Callable[[Request], Answer]) -> Outcome:
    """Run a poll to its end. What `ask` raises is raised inside the driver, which may do without an optional answer."""
    try:
        request = next(conversation)
        while True:
            try:
                answer = ask(request)
            except Exception as error:  # noqa: BLE001 - handed to the driver, and on to the caller if it has no answer
                request = conversation.throw(error)
            else:
                request = conversation.send(answer)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
