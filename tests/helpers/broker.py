"""A real Apache Kafka of one node on free loopback ports, for tests and for people.

People run it by `python tests/helpers/broker.py`.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from services import ended, free_port

CACHE = Path(__file__).parents[2] / ".workbench" / "kafka"
KAFKA, LOG4J = "4.2.0", "2.25.3"
# slf4j-impl and not slf4j2-impl: Kafka 4.2 logs by slf4j 1.7
COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA}",
    *(
        f"org.apache.logging.log4j:{name}:{LOG4J}"
        for name in ("log4j-core", "log4j-slf4j-impl", "log4j-1.2-api")
    ),
)
COPY = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies"
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>workbench</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""
# Serial collection and the first compiler alone: quicker to start and smaller, at no cost that one
# client would see.
JAVA = (
    "java",
    "-Xms32m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Dlog4j2.level=warn",
)
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": (
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_PLAINTEXT"
    ),
    # a second door, for who has a name and a password; what it may read is the authorizer's to say
    "sasl.enabled.mechanisms": "PLAIN",
    "listener.name.guarded.plain.sasl.jaas.config": (
        'org.apache.kafka.common.security.plain.PlainLoginModule required user_reader="secret";'
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "num.partitions": "2",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # a broker that was killed may come back when its session is over: 9 s by default
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "250",
}


def lacks_kafka() -> str | None:
    """Return why no Kafka can be started here, or None; fetch its jars where they are absent."""
    if not shutil.which("java"):
        return "Kafka needs Java 17: install a JDK, or use environment.yml"
    try:
        jars()
    except FileNotFoundError:
        return (
            "Kafka's jars come by Maven, and there is no mvn: install Maven, or use environment.yml"
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
        return f"Maven could not get Kafka's jars: {_tail(e.output or b'')}"
    return None


def jars() -> Path:
    """The folder of Kafka's jars, from Maven once for each set of coordinates.

    Processes that ask at once wait for the first.
    """
    dependencies = "\n".join(
        "    <dependency><groupId>{}</groupId><artifactId>{}</artifactId>"
        "<version>{}</version></dependency>".format(*c.split(":"))
        for c in COORDINATES
    )
    pom = POM.format(dependencies=dependencies)
    place = CACHE / f"{KAFKA}-{hashlib.sha256(pom.encode()).hexdigest()[:8]}"
    if place.is_dir():
        return place
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            with tempfile.TemporaryDirectory(dir=CACHE) as made:
                (Path(made) / "pom.xml").write_text(pom)
                command = [
                    "mvn",
                    "-q",
                    "-B",
                    COPY,
                    "-DincludeScope=runtime",
                    "-DoutputDirectory=jars",
                ]
                subprocess.run(
                    command,
                    cwd=made,
                    check=True,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    timeout=600,
                )
                (Path(made) / "jars").rename(place)
    return place


class Broker:
    """A broker and its data in a folder, which outlives the broker, ports included.

    `settings` are Kafka's own, by their dotted names.
    """

    def __init__(self, folder: Path, port: int | None = None, **settings: str) -> None:
        self.folder = folder.resolve()
        self.properties = self.folder / "server.properties"
        kept = (
            dict(line.split("=", 1) for line in self.properties.read_text().splitlines())
            if self.properties.exists()
            else {}
        )
        # the controller's address is part of the data: the log of a quorum names its voters
        controller = kept.get("controller.quorum.bootstrap.servers") or f"127.0.0.1:{free_port()}"
        self.servers = (
            f"127.0.0.1:{port}" if port else kept.get("servers") or f"127.0.0.1:{free_port()}"
        )
        self.guarded = kept.get("guarded") or f"127.0.0.1:{free_port()}"
        self.settings = (
            SETTINGS
            | settings
            | {
                "guarded": self.guarded,
                "servers": (
                    self.servers
                ),  # no setting of Kafka's: it passes over what it does not know
                "controller.quorum.bootstrap.servers": controller,
                "listeners": (
                    f"PLAINTEXT://{self.servers},CONTROLLER://{controller},GUARDED://{self.guarded}"
                ),
                "log.dirs": str(self.folder / "data"),
            }
        )
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start on the folder's data, and return when the broker answers clients."""
        if listens(self.servers):
            message = (
                f"Kafka cannot start on {self.servers}: something listens there already; take"
                " another port, or none for a free one"
            )
            raise RuntimeError(message)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.properties.write_text(
            "".join(f"{name}={value}\n" for name, value in self.settings.items())
        )
        java = [*JAVA, "-cp", f"{jars()}/*"]
        with (self.folder / "log").open("ab") as log:
            if not (self.folder / "data" / "meta.properties").exists():
                format_ = [
                    "kafka.tools.StorageTool",
                    "format",
                    "--standalone",
                    "-t",
                    _uuid(),
                    "-c",
                    str(self.properties),
                ]
                if subprocess.run(
                    [*java, *format_],
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=60,
                ).returncode:
                    raise self._failure()
            # where the one who started it is killed, the system ends it (setpriv is Linux's)
            prefix = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
            self.process = subprocess.Popen(
                [*prefix, *java, "kafka.Kafka", str(self.properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait(60)
        except BaseException:
            self.kill()
            raise

    def _wait(self, seconds: float) -> None:
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            if listens(self.servers):
                try:
                    KafkaAdminClient(bootstrap_servers=self.servers).close()
                except KafkaError:
                    continue
                return
            time.sleep(0.02)
        raise self._failure()

    def _failure(self) -> RuntimeError:
        return RuntimeError(
            f"Kafka on {self.servers} did not start: {_tail((self.folder / 'log').read_bytes())}"
        )

    def stop(self) -> None:
        """Ask it to end (SIGTERM), and wait until it has."""
        if self.process is not None:
            ended(self.process)
            self.process = None

    def kill(self) -> None:
        """Kill the broker as a crash would (SIGKILL): it writes nothing any more."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Stop, and start on the same ports and data."""
        self.stop()
        self.start()


@contextmanager
def kafka(**settings: str):
    """Start a Broker and yield it; its data are in a folder that is removed with it."""
    home = Path(tempfile.mkdtemp(prefix="kafka"))
    broker = Broker(home, **settings)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(home, ignore_errors=True)


def _uuid() -> str:
    import base64

    # a leading dash would be an option to the tool
    return "W" + base64.urlsafe_b64encode(os.urandom(16)).decode()[1:22]


def listens(servers: str) -> bool:
    """Say whether something takes connections at the address."""
    import socket

    host, port = servers.split(":")
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex((host, int(port))) == 0


def _tail(output: bytes) -> str:
    lines = [
        line
        for line in output.decode(errors="replace").splitlines()
        if line.strip() and not line.startswith("\tat ")
    ]
    return " | ".join(lines[-5:])


def main() -> None:
    """Run a broker until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--port",
        type=int,
        help="the port clients use; without it, a free one, or the folder's of last time",
    )
    parser.add_argument(
        "--folder", type=Path, help="keep the data there; without it, they go when the broker ends"
    )
    asked = parser.parse_args()
    if reason := lacks_kafka():
        parser.exit(1, f"{reason}\n")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="kafka"))
    broker = Broker(folder, asked.port)
    try:
        broker.start()
        print(
            f"Apache Kafka {KAFKA} answers on {broker.servers}; its data are in {broker.folder}."
            f" Ctrl-C stops it.\nFor the workbench: export WORKBENCH_KAFKA={broker.servers}",
            flush=True,
        )
        broker.process.wait()
        print(f"Kafka ended by itself: see {broker.folder}/log")
    except KeyboardInterrupt:
        print("\nstopping ...", flush=True)
    except RuntimeError as e:
        parser.exit(1, f"{e}\n")
    finally:
        broker.stop()
        if not asked.folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
