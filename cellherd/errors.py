"""What can go wrong, named after the culprit. A message fits on one line and shows the way out."""


class CellherdError(Exception):
    """Anything that a person can do something about; the command line prints it without a traceback."""

    exit_code = 1


class BadFrame(CellherdError):
    """The device, or the wire, sent bytes that are no answer. Carries them as hex."""

    def __init__(self, reason: str, frame: bytes = b"") -> None:
        super().__init__(f"{reason}: {frame.hex() or 'no bytes'}")
        self.reason = reason
        self.frame = frame


class Refused(CellherdError):
    """A request that is not on the driver's read allow-list; nothing was sent."""


class ConfigError(CellherdError):
    """A file that says what it must not; every complaint is one line with its place and the nearest right word."""

    exit_code = 2

    def __init__(self, path: str, complaints: list[str]) -> None:
        super().__init__("\n".join(f"{path}: {line}" for line in complaints))
        self.path = path
        self.complaints = complaints


class LinkError(CellherdError):
    """A port, bus or host is not there or went away."""


class Silent(LinkError):
    """The line is open, but the device did not answer in time."""


class BadPayload(CellherdError):
    """A message that is not what appendix A of the design allows. `code` goes into the receipt."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
