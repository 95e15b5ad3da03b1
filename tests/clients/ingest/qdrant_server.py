"""Qdrant's REST API over Qdrant's own storage engine, as far as a sink and a store use it.

The server's binary is in no package registry, but its engine is (qdrant-edge). So what the client sends over
HTTP meets the real storage, filters and payload indexes; only routes, and JSON of requests, are read here.
A filter by a field without an index is refused, as a server in strict mode does.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import qdrant_edge as edge
from qdrant_client import QdrantClient, models

API_KEY = "made-up"


class _Collections:
    """Shards by name; what is said of a collection is what the embedded client says of one like it."""

    def __init__(self, folder: Path, *, keeps_metadata: bool) -> None:
        self._folder, self._keeps_metadata = folder, keeps_metadata
        self._described = QdrantClient(":memory:")
        self._shards: dict[str, edge.EdgeShard] = {}
        self._indexed: dict[str, set[str]] = {}  # fields by collection
        self.lock = threading.Lock()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Any:
        _, name, *rest = path.strip("/").split("/")
        if name not in self._shards and (method, rest) not in (("PUT", []), ("GET", ["exists"])):
            raise LookupError(f"no collection {name}")
        for request in (body, *body.get("searches", ())):
            unindexed = _fields(request.get("filter") or {}) - self._indexed.get(name, set())
            if unindexed:
                raise LookupError(f"no index of {', '.join(sorted(unindexed))} in {name}")
        return self._routes[method, "/".join(rest)](self, name, body)

    def _create(self, name: str, body: dict[str, Any]) -> bool:
        vectors = models.VectorParams(**body["vectors"])
        metadata = body["metadata"] if self._keeps_metadata else None
        self._described.create_collection(name, vectors_config=vectors, metadata=metadata)
        params = edge.EdgeVectorParams(
            vectors.size, getattr(edge.Distance, vectors.distance.value), on_disk=vectors.on_disk
        )
        folder = self._folder / name
        folder.mkdir(parents=True)
        self._shards[name] = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors=params))
        self._indexed[name] = set()
        return True

    def _drop(self, name: str, body: dict[str, Any]) -> bool:
        self._described.delete_collection(name)
        self._shards.pop(name).close()
        shutil.rmtree(self._folder / name)
        return True

    def _describe(self, name: str, body: dict[str, Any]) -> Any:
        return json.loads(self._described.get_collection(name).model_dump_json())

    def _index(self, name: str, body: dict[str, Any]) -> Any:
        kind = getattr(edge.PayloadSchemaType, body["field_schema"].capitalize())
        self._indexed[name].add(body["field_name"])
        return self._update(name, edge.UpdateOperation.create_field_index(body["field_name"], kind))

    def _upsert(self, name: str, body: dict[str, Any]) -> Any:
        points = [edge.Point(p["id"], p["vector"], p["payload"]) for p in body["points"]]
        return self._update(name, edge.UpdateOperation.upsert_points(points))

    def _delete(self, name: str, body: dict[str, Any]) -> Any:
        if "points" in body:
            return self._update(name, edge.UpdateOperation.delete_points(body["points"]))
        return self._update(name, edge.UpdateOperation.delete_points_by_filter(_filter(body["filter"])))

    def _delete_payload(self, name: str, body: dict[str, Any]) -> Any:
        return self._update(name, edge.UpdateOperation.delete_payload(body["points"], body["keys"]))

    def _update(self, name: str, operation: edge.UpdateOperation) -> Any:
        self._shards[name].update(operation)
        return {"operation_id": 0, "status": "completed"}

    def _retrieve(self, name: str, body: dict[str, Any]) -> Any:
        found = self._shards[name].retrieve(body["ids"], body["with_payload"], body["with_vector"])
        return [_record(record) for record in found]

    def _scroll(self, name: str, body: dict[str, Any]) -> Any:
        request = edge.ScrollRequest(
            offset=body.get("offset"),
            limit=body["limit"],
            filter=_filter(body["filter"]) if body.get("filter") else None,
            with_payload=body["with_payload"],
            with_vector=body["with_vector"],
        )
        found, following = self._shards[name].scroll(request)
        after = None if following is None else str(following)
        return {"points": [_record(record) for record in found], "next_page_offset": after}

    def _count(self, name: str, body: dict[str, Any]) -> Any:
        only = _filter(body["filter"]) if body.get("filter") else None
        return {"count": self._shards[name].count(edge.CountRequest(exact=body["exact"], filter=only))}

    def _query(self, name: str, body: dict[str, Any]) -> Any:
        """Of the search of one vector; a batch's requests are the same.

        The engine's Python cannot ask for a bool, so alternatives ("should") are looked for here.
        """
        wanted = body.get("filter") or {}
        should = wanted.get("should") or ()
        request = edge.QueryRequest(
            self._shards[name].count(edge.CountRequest(exact=True)) if should else body["limit"],
            query=edge.Query.Nearest(_nearest(body["query"])),
            filter=_filter(wanted) if wanted else None,
            with_payload=body["with_payload"],
            with_vector=body["with_vector"],
        )
        found = self._shards[name].query(request)
        if should:
            found = self._with_one_of(name, found, should)[: body["limit"]]
        return {"points": [{**_record(hit), "score": hit.score, "version": 0} for hit in found]}

    def _with_one_of(self, name: str, found: Sequence[Any], should: Sequence[dict[str, Any]]) -> list[Any]:
        """Those whose payload has one of some values, by keys such as ``present.visual``."""
        whole = {
            str(r.id): r.payload for r in self._shards[name].retrieve([hit.id for hit in found], True, False)
        }

        def has(payload: Any, condition: dict[str, Any]) -> bool:
            for key in condition["key"].split("."):
                payload = (payload or {}).get(key)
            return bool(payload == condition["match"]["value"])

        return [hit for hit in found if any(has(whole[str(hit.id)], condition) for condition in should)]

    def _query_batch(self, name: str, body: dict[str, Any]) -> Any:
        return [self._query(name, search) for search in body["searches"]]

    _routes: dict[tuple[str, str], Callable[[_Collections, str, dict[str, Any]], Any]] = {  # noqa: RUF012
        ("PUT", ""): _create,
        ("DELETE", ""): _drop,
        ("GET", ""): _describe,
        ("GET", "exists"): lambda self, name, body: {"exists": name in self._shards},
        ("PUT", "index"): _index,
        ("PUT", "points"): _upsert,
        ("POST", "points/delete"): _delete,
        ("POST", "points/payload/delete"): _delete_payload,
        ("POST", "points"): _retrieve,
        ("POST", "points/scroll"): _scroll,
        ("POST", "points/count"): _count,
        ("POST", "points/query"): _query,
        ("POST", "points/query/batch"): _query_batch,
    }

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()
        self._described.close()


#: Conditions that ask whether a field has no value, by name.
_MISSING = {"is_empty": edge.IsEmptyCondition, "is_null": edge.IsNullCondition}


def _fields(given: dict[str, Any]) -> set[str]:
    """That a filter looks at."""
    fields: set[str] = set()
    for condition in (one for kind in ("must", "must_not", "should") for one in given.get(kind) or ()):
        fields |= _fields(condition) | {condition[name]["key"] for name in _MISSING if name in condition}
        fields |= {condition["key"]} if "key" in condition else set()
    return fields


def _filter(given: dict[str, Any]) -> edge.Filter:
    """But for its own alternatives (`_Collections._query`); those of filters in it are the engine's."""

    def conditions(name: str) -> list[Any] | None:
        found = given.get(name)
        return None if found is None else [_condition(condition) for condition in found]

    return edge.Filter(must=conditions("must"), must_not=conditions("must_not"))


def _condition(given: dict[str, Any]) -> Any:
    if "should" in given:
        return edge.Filter(should=[_condition(one) for one in given["should"]])
    if "has_id" in given:
        return edge.HasIdCondition(set(given["has_id"]))
    for name, missing in _MISSING.items():
        if name in given:
            return missing(given[name]["key"])
    if given.get("range"):
        span = {name: at for name, at in given["range"].items() if at is not None}
        return edge.FieldCondition(given["key"], range=edge.RangeDateTime(**span))
    match = given["match"]
    if "any" in match:
        return edge.FieldCondition(given["key"], edge.MatchAny(match["any"]))
    return edge.FieldCondition(given["key"], edge.MatchValue(match["value"]))


def _nearest(query: list[float] | dict[str, list[float]]) -> list[float]:
    return query["nearest"] if isinstance(query, dict) else query


def _record(record: edge.Record) -> dict[str, Any]:
    return {"id": str(record.id), "payload": record.payload, "vector": record.vector}


@contextmanager
def qdrant_server(folder: Path, *, keeps_metadata: bool = True) -> Iterator[str]:
    """``HOST:PORT`` of a running one that wants `API_KEY`, with nothing in it.

    `keeps_metadata`: as Qdrant does from 1.16 on; an older one passes over the field.
    """
    collections = _Collections(folder, keeps_metadata=keeps_metadata)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("api-key") != API_KEY:
                self._send(403, {"status": {"error": "forbidden"}})
                return
            try:
                with collections.lock:
                    result = collections.answer(
                        self.command, urlsplit(self.path).path, json.loads(body or "{}")
                    )
            except LookupError as error:
                self._send(404, {"status": {"error": str(error)}})
                return
            self._send(200, {"result": result, "status": "ok", "time": 0.0})

        do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

        def _send(self, status: int, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is said."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), name="qdrant")
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        collections.close()
