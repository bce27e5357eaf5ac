"""The lab's small web application: a login, a search, a guest book, and a page that the Botnet beacons poll.

    python3 web_app.py PORT USER PASSWORD

Apache on the lab's servers passes requests on to it, over the loopback interface. It uses the distribution's Python and
only the standard library. SQL injection and cross-site scripting work on purpose. It has only a database in memory.
"""

from __future__ import annotations

import random
import sqlite3
import sys
from collections.abc import Callable, Iterable
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

GOODS = ("tea", "mug", "jam", "oat", "cup", "salt", "lamp")
FORM = "<form method=post>User <input name=user> Password <input name=password type=password><input type=submit></form>"
LARGEST = 65_536

Answer = tuple[str, str]


class Application:
    """The WSGI application.

    Parameters
    ----------
    user, password : str
        The one account.
    """

    def __init__(self, user: str, password: str) -> None:
        self.draw = random.Random(password)
        self.db = sqlite3.connect(":memory:")
        self.db.execute("create table users (name, password)")
        self.db.execute("create table goods (name, text)")
        self.db.execute("create table guests (name, text)")
        self.db.execute("insert into users values (?, ?)", (user, password))
        goods = [(f"{self.draw.choice(GOODS)} {n}", f"Number {n} of the shop. " * (1 + n % 5)) for n in range(120)]
        self.db.executemany("insert into goods values (?, ?)", goods)

    def login(self, form: dict[str, str]) -> Answer:
        """Show the form, or say whether name and password are right; SQL injection works."""
        if "user" not in form:
            return "200 OK", FORM
        query = f"select name from users where name = '{form['user']}' and password = '{form.get('password', '')}'"
        found = self.db.execute(query).fetchall()
        return ("200 OK", f"Welcome, {found[0][0]}") if found else ("403 Forbidden", "wrong user or password" + FORM)

    def search(self, form: dict[str, str]) -> Answer:
        """List the first goods with this name; SQL injection works, and the page repeats the query unescaped."""
        asked = form.get("q", "")
        rows = self.db.execute(f"select name, text from goods where name like '%{asked}%' limit 15").fetchall()
        return "200 OK", f"<h1>{asked}</h1>" + "".join(f"<li>{name}: {text}" for name, text in rows)

    def guests(self, form: dict[str, str]) -> Answer:
        """Add the form's entry, if it has one, and show the last entries unescaped."""
        if "text" in form:
            self.db.execute("insert into guests values (?, ?)", (form.get("name", ""), form["text"][:500]))
        rows = self.db.execute("select name, text from guests order by rowid desc limit 12").fetchall()
        return "200 OK", FORM + "".join(f"<li>{name}: {text}" for name, text in rows)

    def poll(self, form: dict[str, str]) -> Answer:
        """Tell a beacon to wait or, less often, give it a command, which is random text."""
        if self.draw.random() < 0.85:
            return "200 OK", f"wait {self.draw.randint(1, 10 ** self.draw.randint(1, 60))}"
        return "200 OK", "run " + self.draw.randbytes(self.draw.randint(50, 2_500)).hex()

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        """Answer a request, as WSGI defines it."""
        pages = {"/login": self.login, "/search": self.search, "/guests": self.guests, "/poll": self.poll}
        page = pages.get(environ["PATH_INFO"].removeprefix("/app"))
        body = environ["wsgi.input"].read(min(LARGEST, int(environ.get("CONTENT_LENGTH") or 0)))
        fields = parse_qs(environ["QUERY_STRING"]) | parse_qs(body.decode("latin-1"))
        try:
            form = {name: values[0] for name, values in fields.items()}
            status, text = page(form) if page else ("404 Not Found", "")
        except (sqlite3.Error, sqlite3.Warning) as error:
            status, text = "500 Internal Server Error", str(error)
        data = text.encode(errors="replace")
        start_response(status, [("Content-Type", "text/html"), ("Content-Length", str(len(data)))])
        return [data]


class Quiet(WSGIRequestHandler):
    """A request handler that writes no log."""

    def log_message(self, *_: object) -> None:
        """Write nothing."""


class Server(WSGIServer):
    """A server that handles one request at a time and lets 128 wait."""

    request_queue_size = 128

    def server_bind(self) -> None:
        """Bind without looking up the server's own name in DNS."""
        self.allow_reuse_address = True
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.server_address
        self.setup_environ()


if __name__ == "__main__":
    port, user, password = sys.argv[1:]
    make_server("127.0.0.1", int(port), Application(user, password), Server, Quiet).serve_forever()
