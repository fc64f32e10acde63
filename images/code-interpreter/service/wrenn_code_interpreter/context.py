"""A context: a kernel that runs one piece of code after the other and keeps what they leave behind."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import zmq.asyncio

from .execution import KEEPALIVE_SEC, Execution
from .languages import Envs, Language
from .results import Event

#: A kernel that starts on a busy, emulated machine.
START_LIMIT_SEC = 120
#: After a restart, between two questions whether the new kernel is there.
PROBE_SEC = 1
#: Between two interrupts of a run that nobody waits for any more, and how many it gets.
INTERRUPT_PATIENCE_SEC = 5
MOST_INTERRUPTS = 3
#: Written by the guest's resume hook: another content means that this is a clone, or was resumed.
GENERATION = Path("/run/wrenn/generation")

log = logging.getLogger("wrenn.code_interpreter")


class Context:
    """Made by `start`; `close` leaves the kernel to its owner."""

    def __init__(self, kernel_id: str, language: Language, cwd: str, kernel: Any):
        self.id = kernel_id
        self.language = language
        self.cwd = cwd
        self._kernel = kernel
        self._lock = asyncio.Lock()
        self._executions: dict[str, Execution] = {}
        self._environment: Envs = {}
        self._generation = _generation()
        self._zmq = zmq.asyncio.Context()
        self._zmq.rcvhwm = 0  # a kernel drops output for a reader that is full
        self._client = kernel.client(context=self._zmq)
        self._readers: list[asyncio.Task[None]] = []
        self._pid = self._kernel_pid()
        #: Whether output of the kernel, which may be a new one, is known to reach us.
        self._is_connected = True

    async def start(self) -> None:
        self._client.start_channels(stdin=False, hb=False)
        await self._client.wait_for_ready(timeout=START_LIMIT_SEC)
        self._readers = [
            asyncio.create_task(self._read(self._client.get_iopub_msg)),
            asyncio.create_task(self._read(self._client.get_shell_msg)),
        ]
        if self.language.warm_up:
            await self._hidden(self.language.warm_up)

    async def close(self) -> None:
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._client.stop_channels()
        self._lose_all("the context was removed")
        self._zmq.destroy(linger=0)

    def describe(self) -> dict[str, str]:
        return {"id": self.id, "language": self.language.name, "cwd": self.cwd}

    async def run(self, code: str, envs: Envs, only_now: Envs) -> AsyncIterator[Event]:
        """
        Runs code once those before it have ended. `envs` are set during it and stay, `only_now` are taken back after
        it. A caller that closes the iterator gives the run up: it is interrupted.
        """
        async for event in self._turn():
            yield event
        try:
            self.check_alive()
            await self._prepare({**envs, **only_now})
            execution = self._send(code)
            watch = asyncio.create_task(self._interrupt_overflow(execution))
            try:
                async for event in execution.events():
                    if event["type"] == "keepalive":
                        self.check_alive()
                    yield event
            finally:
                watch.cancel()
                await asyncio.shield(self._settle(execution, envs))
        finally:
            self._lock.release()

    async def interrupt(self) -> None:
        try:
            await self._kernel.interrupt_kernel()
        except RuntimeError:  # there is none at the moment: it died, and is started again
            log.info("context %s: no kernel to interrupt", self.id)

    def kernel_restarted(self) -> None:
        """Its kernel is another one: what ran is lost, and so is all state."""
        self._pid = self._kernel_pid()
        self._is_connected = False
        self._environment = {}
        self._lose_all("the kernel has died and was started again: its state is lost")

    def check_alive(self) -> None:
        """A safety net for restarts by others that nobody told us of."""
        if self._kernel_pid() != self._pid:
            self.kernel_restarted()

    async def _turn(self) -> AsyncIterator[Event]:
        """Takes the lock."""
        while True:
            try:
                async with asyncio.timeout(KEEPALIVE_SEC):
                    await self._lock.acquire()
                return
            except TimeoutError:
                yield {"type": "keepalive"}

    async def _prepare(self, envs: Envs) -> None:
        if not self._is_connected:
            await self._connect()
        generation = _generation()
        if generation != self._generation:
            await self._hidden(self.language.reseed)
            self._generation = generation
        await self._set_environment(envs)

    async def _connect(self) -> None:
        """What a kernel puts out before its new socket has heard of our subscription is lost: ask until we hear it."""
        for _ in range(START_LIMIT_SEC // PROBE_SEC):
            probe = Execution()
            self._executions[self._client.kernel_info()] = probe
            try:
                async with asyncio.timeout(PROBE_SEC):
                    await probe.ended.wait()
                self._is_connected = True
                break
            except TimeoutError:
                continue
            finally:
                self._forget(probe)

    async def _set_environment(self, envs: Envs) -> None:
        if envs != self._environment:
            await self._hidden(self.language.set_environment(envs))
            self._environment = dict(envs)

    async def _settle(self, execution: Execution, envs: Envs) -> None:
        """Sees to it that the kernel is idle, whether the run has ended or was given up."""
        for _ in range(MOST_INTERRUPTS):
            if execution.ended.is_set():
                break
            await self.interrupt()
            try:
                async with asyncio.timeout(INTERRUPT_PATIENCE_SEC):
                    await execution.ended.wait()
            except TimeoutError:
                log.warning("context %s: the run does not heed its interrupt", self.id)
        self._forget(execution)
        if execution.ended.is_set():
            await self._set_environment(envs)

    async def _interrupt_overflow(self, execution: Execution) -> None:
        await execution.overflowed()
        await self.interrupt()

    async def _hidden(self, code: str) -> None:
        """Code of ours: no output, no number, no history."""
        execution = self._send(code, silent=True)
        try:
            async for event in execution.events():
                if event["type"] == "keepalive":
                    self.check_alive()
                if event["type"] == "error":
                    log.warning("context %s: %s: %s", self.id, event["name"], event["value"])
        finally:
            self._forget(execution)

    def _forget(self, execution: Execution) -> None:
        self._executions = {key: value for key, value in self._executions.items() if value is not execution}

    def _send(self, code: str, silent: bool = False) -> Execution:
        execution = Execution()
        message_id = self._client.execute(
            code, silent=silent, store_history=not silent, allow_stdin=False, stop_on_error=False
        )
        self._executions[message_id] = execution
        return execution

    async def _read(self, next_message: Any) -> None:
        while True:
            try:
                message = await next_message()
                execution = self._executions.get(message["parent_header"].get("msg_id", ""))
                if execution is not None:
                    execution.receive(message)
            except (KeyError, TypeError, ValueError):  # the kernel is the user's: it may send anything
                log.exception("context %s: a message that is none", self.id)

    def _lose_all(self, reason: str) -> None:
        for execution in self._executions.values():
            execution.lose(reason)
        self._executions.clear()

    def _kernel_pid(self) -> int | None:
        return getattr(self._kernel.provisioner, "pid", None)


def _generation() -> str:
    try:
        return GENERATION.read_text()
    except OSError:
        return ""
