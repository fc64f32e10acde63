"""The HTTP surface on port 49999."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler

from .contexts import Contexts
from .failures import Refused
from .guest import sandbox_envs

#: Code and variables of one request.
MOST_BODY_BYTES = 32 << 20


def application(contexts: Contexts) -> Application:
    shared = {"contexts": contexts}
    return Application(
        [
            (r"/health", Health, shared),
            (r"/execute", Execute, shared),
            (r"/contexts", ContextList, shared),
            (r"/contexts/([^/]+)", OneContext, shared),
            (r"/contexts/([^/]+)/(restart|interrupt)", ContextCommand, shared),
        ],
        default_handler_class=NotFound,
        default_handler_args=shared,
    )


class Handler(RequestHandler):
    def initialize(self, contexts: Contexts) -> None:
        self.contexts = contexts

    def set_default_headers(self) -> None:
        # Pages of other origins may call, but without this sandbox's cookies: no credentials are allowed.
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Access-Control-Allow-Headers", "*")
        self.set_header("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS")

    def options(self, *_: str) -> None:
        self.set_status(204)

    def body(self) -> dict[str, Any]:
        """The JSON object that was sent. Its content type makes browsers ask before another page may send it."""
        content_type = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise Refused(415, "the body must be application/json")
        try:
            body = json.loads(self.request.body or b"{}")
        except ValueError:
            raise Refused(400, "the body is not JSON") from None
        if not isinstance(body, dict):
            raise Refused(400, "the body is not a JSON object")
        return body

    def write_error(self, status_code: int, **details: Any) -> None:
        failure = details.get("exc_info", (None, None))[1]
        message = failure.message if isinstance(failure, Refused) else self._reason
        if isinstance(failure, Refused):
            status_code = failure.status
        self.set_status(status_code)
        self.finish({"code": status_code, "message": message})

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        if not isinstance(value, Refused):
            super().log_exception(kind, value, trace)


class NotFound(Handler):
    def prepare(self) -> None:
        if self.request.method != "OPTIONS":
            raise Refused(404, f"there is nothing at {self.request.path}")


class Health(Handler):
    def get(self) -> None:
        self.finish("OK")


class ContextList(Handler):
    def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps([context.describe() for context in self.contexts.all()]))

    async def post(self) -> None:
        body = self.body()
        context = await self.contexts.create(text(body, "language"), text(body, "cwd"))
        self.finish(context.describe())


class OneContext(Handler):
    async def delete(self, context_id: str) -> None:
        await self.contexts.remove(context_id)
        self.set_status(204)


class ContextCommand(Handler):
    async def post(self, context_id: str, command: str) -> None:
        if command == "restart":
            await self.contexts.restart(context_id)
        else:
            await self.contexts.get(context_id).interrupt()
        self.set_status(204)


class Execute(Handler):
    """Streams one JSON object per line. A client that leaves gives the run up."""

    _streaming: asyncio.Task[None] | None = None

    async def post(self) -> None:
        body = self.body()
        code, context_id, language = text(body, "code"), text(body, "context_id"), text(body, "language")
        if code is None:
            raise Refused(400, "code is missing")
        if context_id is not None and language is not None:
            raise Refused(400, "give context_id or language, not both")
        only_now = variables(body)
        context = self.contexts.get(context_id) if context_id else await self.contexts.default(language)
        envs = await sandbox_envs(self.request.headers.get("X-Access-Token"))
        self.set_header("Content-Type", "application/x-ndjson")
        self.set_header("X-Accel-Buffering", "no")
        self._streaming = asyncio.current_task()
        try:
            async with aclosing(context.run(code, envs, only_now)) as events:
                await self.flush()
                async for event in events:
                    self.write(json.dumps(event, ensure_ascii=False, default=str) + "\n")
                    await self.flush()
        except (StreamClosedError, asyncio.CancelledError):
            pass  # nobody listens any more; the end of `events` has interrupted the run
        finally:
            self._streaming = None

    def on_connection_close(self) -> None:
        if self._streaming is not None:
            self._streaming.cancel()


def text(body: dict[str, Any], field: str) -> str | None:
    value = body.get(field)
    if value is not None and not isinstance(value, str):
        raise Refused(400, f"{field} is not a string")
    return value


def variables(body: dict[str, Any]) -> dict[str, str]:
    value = body.get("env_vars") or {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise Refused(400, "env_vars is not an object of strings")
    if any(not name or "=" in name or "\0" in name + item for name, item in value.items()):
        raise Refused(400, "env_vars has a name or value that no environment can hold")
    return value
