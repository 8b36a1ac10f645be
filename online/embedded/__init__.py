"""An embedded Postgres server: its programs, its data directory, and how it starts and stops."""

from workbench.online.embedded.embedded_server import start, stop

__all__ = ["start", "stop"]
