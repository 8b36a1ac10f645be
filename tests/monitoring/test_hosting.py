"""A dashboard over HTTP: permitted people see it, and strangers cannot block it (S8, S2)."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from conftest import ROOT
from hosted_board import board

from workbench.monitoring.dashboards import dashboard_host
from workbench.monitoring.dashboards.dashboard_view import Dashboard
from workbench.online.http.admission import Access

SEARCH = {"v": 1, "id": 1, "slot": "view", "kind": "search", "params": {"query": "x"}}
CODE = """
import argparse, sys
sys.path[:0] = [{root!r}, {root!r} + "/tests", {root!r} + "/tests/helpers"]
from workbench.monitoring.dashboards import dashboard_command
from workbench.monitoring.dashboards.dashboard_view import Dashboard
from hosted_board import board
p = argparse.ArgumentParser()
dashboard_command.dashboard(p)
options = p.parse_args(["a.py:b", "--port", "0", *{options!r}])
sys.exit(dashboard_command._served(Dashboard(board(), board), options))
"""


@contextmanager
def running(*options):
    """Run a dashboard in a process of its own, and yield the address that its command prints."""
    code = CODE.format(root=str(ROOT), options=options)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            address = process.stdout.readline().strip()
            until_answered(address)
            yield address
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def address():
    with running("--allow-host", "Board.Example") as found:
        yield found


@pytest.fixture(scope="module")
def secret():
    """Return an address for all of the machine's interfaces, without its token, and the token."""
    with running("--host", "0.0.0.0") as found:  # noqa: S104 the case
        bare, _, token = found.partition("?token=")
        yield bare.replace("0.0.0.0", "127.0.0.1"), token  # noqa: S104 replaced


def page_of(answer):
    """Return the name of the page that a document is."""
    return json.loads(answer.text.partition("const PAGE = ")[2].partition(";")[0])


def asked(client, address, page, content=SEARCH):
    return client.post(f"{address}ask", headers={"X-Page": page}, content=json.dumps(content))


def test_a_page_is_shown_to_whoever_has_the_token_and_to_nobody_else(secret):
    """S8: the command makes a token; its address is opened once, and a cookie stands for it."""
    secret_address, token = secret
    with httpx.Client(follow_redirects=False) as client:
        without = client.get(secret_address)
        wrong = client.get(secret_address, params={"token": token[:-1]})
        hostile = client.get(secret_address, params={"token": "é\ud7ff\x00"})
        posted = asked(client, secret_address, "guessed")
        given = client.get(secret_address, params={"token": token})
        shown = client.get(secret_address)
        answered = asked(client, secret_address, page_of(shown))

    assert [401, 401, 401, 401] == [a.status_code for a in (without, wrong, hostile, posted)]
    assert (303, "/") == (given.status_code, given.headers["location"])
    assert {"httponly", "samesite=lax"} <= {
        part.strip().lower() for part in given.headers["set-cookie"].split(";")
    }
    assert (200, 200) == (shown.status_code, answered.status_code)
    assert token not in shown.text
    assert "spend" not in without.text


def test_a_session_asks_its_own_pages_alone(address):
    """S8: another session that knows a page's name gets no answer from it."""
    with httpx.Client() as one, httpx.Client() as other:
        page = page_of(one.get(address))
        other.get(address)

        assert 404 == asked(other, address, page).status_code
        assert 404 == httpx.post(f"{address}ask", headers={"X-Page": page}, json=SEARCH).status_code
        assert 200 == asked(one, address, page).status_code


def test_anonymous_requests_evict_no_page_that_is_open(address):
    """S8: a page whose script has called and is quiet since stays beside 70 such requests."""
    with httpx.Client() as client:
        page = page_of(client.get(address))
        assert 200 == asked(client, address, page, None).status_code

        with httpx.Client() as stranger:
            for _ in range(dashboard_host.PAGES + 16):
                stranger.cookies.clear()
                assert 200 == stranger.get(address).status_code

        assert 200 == asked(client, address, page).status_code


def test_a_session_gives_up_its_own_oldest_page(address):
    with httpx.Client() as client:
        pages = [page_of(client.get(address)) for _ in range(dashboard_host.MAX_SESSION_PAGES + 1)]

        statuses = [asked(client, address, page).status_code for page in pages]

    assert [404, *[200] * dashboard_host.MAX_SESSION_PAGES] == statuses


def test_no_other_site_s_page_can_ask(address):
    """S8: no name that leads here (DNS rebinding) and no other site's origin gets an answer."""
    for host in ("elsewhere.example", "127.0.0.1.elsewhere.example", "", "localhost.elsewhere"):
        assert 421 == httpx.get(address, headers={"Host": host}).status_code
    for origin in ("http://elsewhere.example", "null", f"{address.rstrip('/')}0"):
        assert 403 == httpx.post(f"{address}ask", headers={"Origin": origin}).status_code
    local = address.replace("127.0.0.1", "localhost")
    assert 200 == httpx.get(local).status_code


def test_a_name_that_is_allowed_may_be_asked_for(address):
    assert 200 == httpx.get(address, headers={"Host": "board.example:80"}).status_code


def test_half_sent_heads_leave_room_for_a_page(address):
    """S2: a dashboard limits connections as the service does."""
    port = int(address.rsplit(":", 1)[1].strip("/"))
    slow = [
        socket.create_connection(("127.0.0.1", port)) for _ in range(dashboard_host.CLIENTS + 50)
    ]
    for client in slow:
        send_half(client)

    assert 200 == httpx.get(address, timeout=30).status_code
    for client in slow:
        client.close()


def send_half(client):
    try:
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
    except OSError:
        return


def until_answered(address):
    end = time.monotonic() + 30
    while True:
        try:
            httpx.get(address)
        except httpx.TransportError:
            assert time.monotonic() < end
            time.sleep(0.1)
        else:
            return


def test_there_are_so_many_pages_and_no_more(address):
    """S8: where all pages are in use, a new one says so, and open pages are answered."""
    with httpx.Client() as client:
        for _ in range(dashboard_host.PAGES + 1):
            client.cookies.clear()
            full = client.get(address)
            if full.status_code == 200:
                page, cookies = page_of(full), dict(client.cookies)
                asked(client, address, page, None)
        client.cookies.clear()
        client.cookies.update(cookies)

        assert 503 == full.status_code
        assert "64 pages are open" in full.json()["error"]
        assert 200 == asked(client, address, page).status_code


# --- a server that goes away and comes back


class Server:
    """A real server on one port, which may stop and start while its pages are open."""

    def __init__(self, host):
        self.place = socket.create_server(("127.0.0.1", 0))
        self.port = self.place.getsockname()[1]
        self.start(host)

    def start(self, host):
        place = self.place or socket.create_server(("127.0.0.1", self.port))
        self.place = None
        config = uvicorn.Config(host.app, lifespan="off", ws="none", log_level="error")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [place]})
        self.thread.start()
        until_answered(f"http://127.0.0.1:{self.port}/healthz")

    def stop(self):
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture
def host():
    return dashboard_host.Host(Dashboard(board(), board), Access())


@pytest.fixture
def opened(browser, host):
    """Open a page on a server; return the page, whose clock the test moves, and the server."""
    server = Server(host)
    page = browser.new_page()
    page.clock.install()
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector(".fw-live [data-send=search]")
    yield page, server
    page.close()
    server.stop()


def asks_while_away(page, server):
    """Type a filter while the server is away, and wait until the page says so."""
    server.stop()
    page.locator("[data-send=search]").fill("nobody")
    page.clock.run_for(3_000)
    page.wait_for_selector("text=no connection")


@pytest.mark.slow
def test_what_was_asked_while_the_server_was_away_is_answered_when_it_is_back(opened, host):
    """V8: the page says that the network is away, asks again by itself, and is whole afterwards."""
    page, server = opened
    asks_while_away(page, server)

    server.start(host)
    page.clock.run_for(3_000)

    page.wait_for_selector("text=0 features match")
    page.wait_for_function("document.querySelector('[data-part=status]').textContent === ''")


@pytest.mark.slow
def test_a_page_that_its_server_no_longer_knows_says_to_reload_it(opened):
    page, server = opened
    asks_while_away(page, server)

    server.start(dashboard_host.Host(Dashboard(board(), board), Access()))
    page.clock.run_for(3_000)

    page.wait_for_selector("text=does not know this page: reload it")
    page.reload()
    page.locator("[data-send=search]").fill("spend")
    page.wait_for_selector(".fw-live tr:has-text('spend')")
