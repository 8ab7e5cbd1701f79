"""One path from a finding to a person: what is news, who is told, and an outbox that does not forget."""

from pipeline.alerts.deliver import Delivered, deliver

__all__ = ["Delivered", "deliver"]
