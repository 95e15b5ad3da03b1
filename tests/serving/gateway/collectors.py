"""Small real receivers of spans: OTLP over gRPC, as the gateway sends them, and over HTTP, as Triton does."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Received:
    """Spans so far, and where to send more."""

    endpoint: str
    spans: list[Span] = field(default_factory=list)
    resources: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def take(self, request: otlp.ExportTraceServiceRequest) -> None:
        for group in request.resource_spans:
            self.resources |= {a.key: a.value.string_value for a in group.resource.attributes}
            for scope in group.scope_spans:
                self.spans += scope.spans

    def named(self, name: str) -> Span:
        (found,) = (span for span in self.spans if span.name == name)
        return found


def attributes(span: Span) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


@contextmanager
def over_grpc() -> Iterator[Received]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    received = Received(f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")

    class Collector(otlp_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
            received.take(request)
            return otlp.ExportTraceServiceResponse()

    otlp_grpc.add_TraceServiceServicer_to_server(Collector(), server)
    server.start()
    try:
        yield received
    finally:
        server.stop(0).wait()


def _from_json(body: bytes) -> otlp.ExportTraceServiceRequest:
    """Triton's exporter speaks JSON, in which OTLP writes ids in hexadecimal and protobuf in base64."""

    def in_base64(values: dict[str, Any]) -> dict[str, Any]:
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode() if key in _IDS else value
            for key, value in values.items()
        }

    return json_format.ParseDict(json.loads(body, object_hook=in_base64), otlp.ExportTraceServiceRequest())


_IDS = ("traceId", "spanId", "parentSpanId")


@contextmanager
def over_http() -> Iterator[Received]:
    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                received.take(_from_json(body))
            except (ValueError, json_format.ParseError) as error:
                received.unreadable.append(f"{error}: {body[:500]!r}")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    received = Received(f"http://127.0.0.1:{server.server_port}/v1/traces")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
