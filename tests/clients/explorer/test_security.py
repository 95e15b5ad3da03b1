"""Who is answered, and what answers carry."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from resonance.clients.errors import UsageError
from resonance.clients.explorer.run import bound_socket
from resonance.clients.explorer.security import loopback_hosts
from tests.clients.explorer.conftest import ORIGIN

SEARCH = {"parts": [{"source": "title", "key": "AAAA"}]}


@pytest.mark.parametrize(
    "host", ["evil.example:8765", "127.0.0.1", "127.0.0.1:9999", "localhost.evil.example:8765", ""]
)
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    """DNS rebinding: the page's name resolves to the loopback, and the browser sends that name."""
    answer = client.get("/api/library", headers={"Host": host})
    assert answer.status_code == 421
    assert "titles" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765", "LOCALHOST:8765"])
def test_the_loopback_is_served_by_each_of_its_names(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:8765"},
        {"Origin": "http://127.0.0.1:8766"},
        {"Origin": "http://localhost:8765"},  # not the host that was asked
        {**ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {**ORIGIN, "Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/api/search", "/api/examples/text", "/api/examples/file"])
def test_a_post_of_another_page_is_refused(client: TestClient, path: str, headers: dict[str, str]) -> None:
    assert client.post(path, json=SEARCH, headers=headers).status_code == 403


def test_its_own_post_is_taken(client: TestClient) -> None:
    answer = client.post("/api/search", json=SEARCH, headers={**ORIGIN, "Sec-Fetch-Site": "same-origin"})
    assert answer.status_code not in (403, 421)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_nothing_can_be_embedded_elsewhere_but_a_link_leads_here(client: TestClient, site: str) -> None:
    embedded = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    followed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    assert client.get("/media/AAAA/file", headers=embedded).status_code == 403
    assert client.get("/api/library", headers=followed).status_code == 403
    assert client.get("/", headers=embedded).status_code == 403
    assert client.get("/", headers=followed).status_code == 200


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/titles", "/api/titles/AAAA", "/nothing/here"])
def test_every_answer_carries_the_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


def test_a_refusal_carries_them_too(client: TestClient) -> None:
    assert (
        "default-src 'self'"
        in client.get("/", headers={"Host": "evil.example"}).headers["content-security-policy"]
    )


def test_the_page_names_no_other_address_and_holds_no_script(client: TestClient) -> None:
    page = client.get("/").text
    files = ["/static/" + name.split('"')[0] for name in page.split('"/static/')[1:]]
    assert len(files) >= 5
    for path in [*files, *(f"/static/{name}.js" for name in ("api", "arcs", "dom", "player", "stage"))]:
        answer = client.get(path)
        assert answer.status_code == 200, path
        text = answer.text.replace("http://www.w3.org/2000/svg", "")  # a name, which nobody fetches
        assert "http://" not in text, path
        assert "https://" not in text, path
        assert "innerHTML" not in text, path
    assert "<script>" not in page
    assert "style=" not in page
    assert " onclick" not in page


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/docs", "/openapi.json"]
)
def test_nothing_beside_the_page_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])  # noqa: S104
def test_it_listens_on_the_loopback_alone(host: str) -> None:
    with pytest.raises(UsageError, match="has no password"):
        bound_socket(host, 0)


def test_the_address_that_is_printed_is_served() -> None:
    assert "127.0.0.2:80" in loopback_hosts(80, "127.0.0.2")
    assert "127.0.0.2:81" not in loopback_hosts(81)


def test_a_port_that_is_taken_is_told() -> None:
    with bound_socket("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} .*--port"):
            bound_socket("127.0.0.1", port)
