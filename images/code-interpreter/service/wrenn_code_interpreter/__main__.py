"""Starts the Jupyter server and, when its kernels are warm, the execution service: an open port means ready."""

import asyncio
import logging
import sys

from jupyter_server.serverapp import ServerApp

from .contexts import Contexts
from .web import application

PORT = 49999
#: Started before anybody asks, so that the first run is warm; TypeScript is started when it is wanted.
DEFAULT_LANGUAGES = ("python", "javascript")

log = logging.getLogger("wrenn.code_interpreter")


async def start_service(server: ServerApp) -> None:
    contexts = Contexts(server.kernel_manager)
    try:
        await asyncio.gather(*(contexts.default(language) for language in DEFAULT_LANGUAGES))
        application(contexts).listen(PORT)
    except Exception:
        log.exception("the execution service could not start")
        server.stop()  # the supervisor starts all of it again
        return
    log.info("ready on port %d", PORT)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    server = ServerApp.instance()
    server.initialize(sys.argv[1:])
    server.io_loop.add_callback(start_service, server)
    server.start()


main()
