"""All contexts: made, found, restarted and removed."""

import asyncio
from pathlib import Path
from typing import Any

from .context import Context
from .failures import Refused
from .languages import Language, language_of

HOME = Path.home()


class Contexts:
    """Over the kernels of a Jupyter server: the id of a context is that of its kernel."""

    def __init__(self, kernels: Any):
        self._kernels = kernels
        self._contexts: dict[str, Context] = {}
        self._defaults: dict[str, asyncio.Future[Context]] = {}

    def all(self) -> list[Context]:
        return [context for context in self._contexts.values() if context.id in self._kernels]

    def get(self, context_id: str) -> Context:
        context = self._contexts.get(context_id)
        # A Jupyter client may have shut the kernel down, or it died too often to be started again.
        if context is None or context_id not in self._kernels:
            raise Refused(404, f"there is no context {context_id!r}")
        return context

    async def create(self, language_name: str | None, cwd: str | None) -> Context:
        return await self._start(language_of(language_name), cwd)

    async def default(self, language_name: str | None) -> Context:
        """The one context that runs of this language have unless they name another; made when it is first wanted."""
        language = language_of(language_name)
        starting = self._defaults.get(language.name)
        if starting is None or self._is_lost(starting):
            starting = self._defaults[language.name] = asyncio.ensure_future(self._start(language, None))
        return await asyncio.shield(starting)

    async def restart(self, context_id: str) -> None:
        context = self.get(context_id)
        await self._kernels.restart_kernel(context_id)
        context.kernel_restarted()

    async def remove(self, context_id: str) -> None:
        self.get(context_id)
        await self._drop(context_id)
        await self._kernels.shutdown_kernel(context_id, now=True)

    def _is_lost(self, starting: asyncio.Future[Context]) -> bool:
        if not starting.done():
            return False
        return starting.exception() is not None or starting.result() not in self.all()

    async def _drop(self, context_id: str) -> None:
        context = self._contexts.pop(context_id, None)
        if context is not None:
            await context.close()

    async def _start(self, language: Language, cwd: str | None) -> Context:
        folder = HOME / Path(cwd or "").expanduser()
        if not folder.is_dir():
            raise Refused(400, f"cwd {cwd!r} is not a folder")
        kernel_id = await self._kernels.start_kernel(kernel_name=language.kernel, cwd=str(folder))
        context = Context(kernel_id, language, str(folder), self._kernels.get_kernel(kernel_id))
        try:
            await context.start()
        except BaseException:
            await context.close()
            await self._kernels.shutdown_kernel(kernel_id, now=True)
            raise
        self._kernels.add_restart_callback(kernel_id, context.kernel_restarted, "restart")
        self._kernels.add_restart_callback(kernel_id, lambda: asyncio.ensure_future(self._drop(kernel_id)), "dead")
        self._contexts[kernel_id] = context
        return context
