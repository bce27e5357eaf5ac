"""The lab's web application serves its users, and the attacks on it work."""

import io

from ids_repro.lab.web_app import Application


def ask(application: Application, path: str, query: str = "", body: bytes = b"") -> tuple[str, str]:
    """Send a request to the application; its status and page."""
    said = []
    environ = {"PATH_INFO": path, "QUERY_STRING": query, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": len(body)}
    page = b"".join(application(environ, lambda status, _: said.append(status)))
    return said[0], page.decode()


def test_the_application_serves_its_users_and_the_attacks_work():
    application = Application("alice", "right")
    assert ask(application, "/app/login", body=b"user=alice&password=right") == ("200 OK", "Welcome, alice")
    assert "wrong" in ask(application, "/app/login", body=b"user=alice&password=other")[1]
    assert "Welcome" in ask(application, "/app/login", body=b"password=x&user=%27+or+1%3D1+--")[1]
    assert ask(application, "/app/search", "q=lamp")[1].count("<li>lamp") > 0
    assert "right" in ask(application, "/app/search", "q=-%27+union+select+name,+password+from+users+--")[1]
    assert ask(application, "/app/search", "q=%27")[0] == "500 Internal Server Error"
    assert "<script>" in ask(application, "/app/guests", body=b"name=a&text=%3Cscript%3E")[1]
    assert ask(application, "/app/elsewhere")[0] == "404 Not Found"
    assert {ask(application, "/app/poll", "bot=1")[1].split()[0] for _ in range(100)} == {"wait", "run"}
