"""An embedded Postgres: its programs, its data directory, its life."""

from workbench.online.embedded.embedded_server import start, stop

__all__ = ["start", "stop"]
