"""Kafka's brokers: their configuration, and errors where they do not answer or refuse us."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
    UnsupportedCodecError,
    UnsupportedSaslMechanismError,
)

from workbench.online.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# a list of host:port; a JSON file of kafka-python's options, credentials among them
SERVERS, CONFIG = "WORKBENCH_KAFKA", "WORKBENCH_KAFKA_CONFIG"
# What no waiting mends: who starts the updater has to.
SASL = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError, IllegalSaslStateError)
FINAL = (AuthorizationError, *SASL, KafkaConfigurationError, UnsupportedCodecError)


def configured(
    servers: str | Sequence[str] | None = None, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The options for kafka-python: those given, else those of the environment.

    StoreError where no server is named.
    """
    path = os.environ.get(CONFIG)
    try:
        options = dict(
            given if given is not None else json.loads(Path(path).read_text()) if path else {}
        )
    except (OSError, ValueError) as error:
        message = (
            f"the Kafka options in {path} cannot be read ({error}): {CONFIG} names a JSON file as"
            ' {"security_protocol": "SASL_SSL", ...}'
        )
        raise StoreError(message) from error
    named = servers or options.get("bootstrap_servers") or os.environ.get(SERVERS)
    if not named:
        message = (
            'no Kafka server is named: give servers="host:9092" (--kafka in a shell), or set'
            f" {SERVERS}; `make kafka` starts one for trying things out"
        )
        raise StoreError(message)
    if (protocol := options.get("security_protocol", "PLAINTEXT")) not in PROTOCOLS:
        message = (
            f"the options for Kafka are wrong: security_protocol is {protocol!r}, which is none of"
            f" {', '.join(PROTOCOLS)}; mend it in the JSON file that {CONFIG} names"
        )
        raise StoreError(message)
    return options | {
        "bootstrap_servers": named.split(",") if isinstance(named, str) else list(named)
    }


PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
CLOSED = "socket disconnected"  # kafka-python's word
CODECS = "pip install 'feature-workbench[kafka]', which has snappy, lz4 and zstd"


def away(
    error: Exception, config: Mapping[str, Any], causes: Sequence[Exception] = ()
) -> StoreError:
    """The StoreError where brokers do not answer, or what they have cannot be read.

    It is of kind `broken` where waiting does not help. `causes` are errors of lost connections,
    which the client does not report with its own error.
    """
    final = next(
        (
            e
            for e in (error, *causes)
            if isinstance(e, FINAL) or not isinstance(e, (KafkaError, OSError))
        ),
        None,
    )
    final = final or next((e for e in causes if isinstance(e, FileNotFoundError)), None)
    servers = ", ".join(config["bootstrap_servers"])
    if isinstance(final, UnsupportedCodecError):
        return StoreError(
            f"a topic's messages are compressed in a way that this Python cannot undo ({final}):"
            f" {CODECS}",
            "broken",
        )
    if isinstance(final, KafkaConfigurationError):
        return StoreError(
            f"the options for Kafka are wrong ({final}): mend them in the JSON file that {CONFIG}"
            " names, which has kafka-python's own options",
            "broken",
        )
    wrong = (
        f"the user, the password or the mechanism ({config.get('sasl_mechanism')}) is wrong; give"
        f" the right ones in the JSON file that {CONFIG} names"
    )
    if isinstance(final, SASL):
        return StoreError(f"Kafka at {servers} refuses us ({final}): {wrong}", "broken")
    if isinstance(final, FINAL):
        return StoreError(
            f"Kafka at {servers} refuses us ({type(final).__name__}: {final}): let this user read"
            f" the topics and the group, or give credentials by {CONFIG}",
            "broken",
        )
    lost = [e for e in causes if not isinstance(e, KafkaTimeoutError)]
    if (
        str(config.get("security_protocol", "")).startswith("SASL")
        and lost
        and all(CLOSED in str(e) for e in lost)
    ):
        # kafka-python 3.0 does not read why: the broker's answer and its end come at once
        return StoreError(
            f"Kafka at {servers} refuses us: it closed each of {len(lost)} connections while we"
            f" said who we are, so that {wrong}",
            "broken",
        )
    if final is not None:
        return StoreError(
            f"the options for Kafka are wrong ({type(final).__name__}: {final}): mend the address,"
            f" or the options in the JSON file that {CONFIG} names",
            "broken",
        )
    last_connection = f"; the last connection: {lost[-1]}" if lost else ""
    return StoreError(
        f"Kafka cannot be reached at {servers} ({type(error).__name__}: {error}{last_connection}):"
        " is it running there?",
        "away",
    )


class LostConnections(logging.Handler):
    """A log handler that collects why connections are lost while a client is created.

    kafka-python only logs that, and then raises that it could not begin.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.causes: list[Exception] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the errors that the client logs, and print nothing."""
        self.causes += [
            a
            for a in (record.args if isinstance(record.args, tuple) else ())
            if isinstance(a, Exception)
        ]

    def __enter__(self) -> Self:
        logger = logging.getLogger("kafka.net")
        self.before = logger.level, logger.propagate
        logger.addHandler(self)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger("kafka.net")
        logger.removeHandler(self)
        logger.setLevel(self.before[0])
        logger.propagate = self.before[1]
