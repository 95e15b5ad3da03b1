"""The explorer over HTTP: routes, and errors as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from resonance.clients.errors import InvalidFieldError, ResonanceError
from resonance.clients.explorer.errors import as_json, status_of
from resonance.clients.explorer.keys import media_id_of
from resonance.clients.explorer.media import MediaShelf
from resonance.clients.explorer.queries import SearchRequest, Words
from resonance.clients.explorer.security import SameOriginOnly
from resonance.clients.explorer.service import Explorer
from resonance.space.errors import SpaceError

Message = TypeVar("Message", bound=BaseModel)
STATIC = Path(__file__).parent / "static"
#: Of a JSON body; examples in files are bounded by `ExplorerSettings`.
MAX_JSON_BYTES = 4 << 20
_CLIENT_GONE = 499  # as nginx says it; HTTP has no status for it
LONGEST_S = 366 * 86_400.0

Seconds = Annotated[float, Query(ge=0, le=LONGEST_S)]
RangeHeader = Annotated[str | None, Header(alias="range")]


def make_app(explorer: Explorer, media: MediaShelf, hosts: Iterable[str]) -> ASGIApp:
    """The application.

    Args:
        hosts: what the header `Host` may say, see `resonance.clients.explorer.security`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        media.close()
        explorer.catalogue.close()

    # the pages that describe an API load scripts from elsewhere
    app = FastAPI(title="Resonance", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    _add_errors(app)
    _add_search(app, explorer)
    _add_media(app, media)

    @app.get("/")
    async def page() -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", _Static(directory=STATIC), name="static")
    return SameOriginOnly(app, hosts)  # around everything, errors too


class _Static(StaticFiles):
    """Asked for anew each time, by its ETag: modules of two versions do not go together."""

    def file_response(self, *given: Any, **named: Any) -> Response:
        response: Response = super().file_response(*given, **named)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_errors(app: FastAPI) -> None:
    async def told(request: Request, error: Exception) -> Response:
        return JSONResponse(as_json(error), status_code=status_of(error))

    for kind in (ResonanceError, SpaceError, Exception):  # of the last uvicorn logs the traceback
        app.add_exception_handler(kind, told)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=_CLIENT_GONE)  # of an upload that was broken off; nobody reads it

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        wrong = error.errors()[0]
        return await told(request, _invalid_field(wrong["loc"], wrong["msg"]))


def _invalid_field(place: Sequence[int | str], said: str) -> InvalidFieldError:
    return InvalidFieldError(".".join(map(str, place)) or "the body", said, "what the page sends")


async def _parsed(request: Request, model: type[Message]) -> Message:
    """The JSON of a body that is not too long.

    Raises:
        InvalidFieldError: it is, or it is no such message.
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_JSON_BYTES:
            raise InvalidFieldError("the body", f"over {MAX_JSON_BYTES:,} bytes", "fewer")
    try:
        return model.model_validate_json(bytes(data))
    except ValidationError as error:
        wrong = error.errors()[0]
        raise _invalid_field(wrong["loc"], wrong["msg"]) from error


def _add_search(app: FastAPI, explorer: Explorer) -> None:
    @app.get("/api/library")
    async def library() -> dict[str, Any]:
        return await explorer.library()

    @app.get("/api/server")
    async def server() -> dict[str, Any]:
        return await explorer.server_state()

    @app.get("/api/titles")
    async def titles(
        name: Annotated[str, Query(max_length=200)] = "",
        tag: Annotated[list[str] | None, Query(max_length=32)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 48,
    ) -> dict[str, Any]:
        return await explorer.browse(name, tuple(tag or ()), limit)

    @app.get("/api/titles/{key}")
    async def details(key: str) -> dict[str, Any]:
        return await explorer.details(media_id_of(key))

    @app.post("/api/titles/{key}/matches")
    async def matches(key: str, request: Request) -> dict[str, Any]:
        return await explorer.matches(media_id_of(key), await _parsed(request, SearchRequest))

    @app.post("/api/examples/file")
    async def add_file(
        request: Request, x_example_name: Annotated[str, Header(max_length=4000)] = "file"
    ) -> dict[str, str]:
        return await explorer.add_file(request.stream(), unquote(x_example_name, errors="replace"))

    @app.post("/api/examples/text")
    async def add_text(request: Request) -> dict[str, str]:
        return await explorer.add_text((await _parsed(request, Words)).text)

    @app.post("/api/search")
    async def search(request: Request) -> dict[str, Any]:
        return await explorer.search(await _parsed(request, SearchRequest))


def _add_media(app: FastAPI, media: MediaShelf) -> None:
    @app.get("/media/{key}/playback")
    async def playback(key: str) -> dict[str, Any]:
        return await media.playback(media_id_of(key))

    @app.get("/media/{key}/poster")
    async def poster(key: str, at: Seconds = 0.0, large: bool = False) -> Response:
        return await media.poster(media_id_of(key), at, large=large)

    @app.get("/media/{key}/clip")
    async def clip(key: str, at: Seconds = 0.0, part: RangeHeader = None) -> Response:
        return await media.clip(media_id_of(key), at, part)

    @app.get("/media/{key}/file")
    async def file(key: str, part: RangeHeader = None) -> Response:
        return await media.file(media_id_of(key), part)
