"""One run of code in a kernel, as the events that its client sees."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from .results import Event, error, event_of

#: So that proxies and clients see that a silent run lives.
KEEPALIVE_SEC = 5
#: Output that waits for a client that does not read. Past it the run is interrupted.
MOST_WAITING_BYTES = 64 << 20


class Execution:
    """Receives the messages that answer one request of ours. Ends when the kernel is idle again, or has died."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._waiting_bytes = 0
        self._overflow = asyncio.Event()
        self.ended = asyncio.Event()

    def receive(self, message: dict[str, Any]) -> None:
        """A message of the output channel, or the reply."""
        if self.ended.is_set():
            return
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return self._end({"type": "end_of_execution"})
        if message["msg_type"] == "execute_reply" and message["content"]["status"] == "aborted":
            # An earlier request of another client has failed, and the kernel leaves out what stood behind it.
            return self._put(error("Aborted", "the kernel did not run this: an earlier request failed"))
        event = event_of(message)
        if event is not None and not self._overflow.is_set():
            self._put(event)

    def lose(self, reason: str) -> None:
        """The kernel that ran this is gone."""
        if not self.ended.is_set():
            self._put(error("KernelDied", reason))
            self._end({"type": "unexpected_end_of_execution"})

    async def events(self) -> AsyncIterator[Event]:
        """All of them up to the end; `keepalive` while nothing happens."""
        while not (self.ended.is_set() and self._events.empty()):
            try:
                async with asyncio.timeout(KEEPALIVE_SEC):
                    event = await self._events.get()
            except TimeoutError:
                yield {"type": "keepalive"}
                continue
            self._waiting_bytes -= _size(event)
            yield event

    async def overflowed(self) -> None:
        await self._overflow.wait()

    def _put(self, event: Event) -> None:
        self._waiting_bytes += _size(event)
        self._events.put_nowait(event)
        if self._waiting_bytes > MOST_WAITING_BYTES and not self._overflow.is_set():
            self._overflow.set()
            text = f"more than {MOST_WAITING_BYTES >> 20} MiB of output wait for the client: the run was interrupted"
            self._events.put_nowait(error("OutputOverflow", text))

    def _end(self, event: Event) -> None:
        self._events.put_nowait(event)
        self.ended.set()


def _size(event: Event) -> int:
    return sum(len(value) for value in event.values() if isinstance(value, str))
