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

    def list(self) -> list[Context]:
        return list(self._contexts.values())

    def get(self, context_id: str) -> Context:
        context = self._contexts.get(context_id)
        if context is None:
            raise Refused(404, f"there is no context {context_id!r}")
        return context

    async def create(self, language_name: str | None, cwd: str | None) -> Context:
        return await self._start(language_of(language_name), cwd)

    async def default(self, language_name: str | None) -> Context:
        """The one context that runs of this language have unless they name another; made when it is first wanted."""
        language = language_of(language_name)
        starting = self._defaults.get(language.name)
        if starting is None or (starting.done() and (starting.exception() or starting.result().id not in self._contexts)):
            starting = self._defaults[language.name] = asyncio.ensure_future(self._start(language, None))
        return await asyncio.shield(starting)

    async def restart(self, context_id: str) -> None:
        context = self.get(context_id)
        await self._kernels.restart_kernel(context_id)
        context.kernel_restarted()

    async def remove(self, context_id: str) -> None:
        context = self.get(context_id)
        del self._contexts[context_id]
        await context.close()
        if context_id in self._kernels:
            await self._kernels.shutdown_kernel(context_id, now=True)

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
        for event in ("restart", "dead"):
            self._kernels.add_restart_callback(kernel_id, context.kernel_restarted, event)
        self._contexts[kernel_id] = context
        return context
