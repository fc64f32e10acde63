"""Starts the Jupyter server and, when its kernels are warm, the execution service: an open port means ready.

    python3 -m wrenn_code_interpreter [--port 49999] [arguments of `jupyter server`]
"""

import argparse
import asyncio
import logging

from jupyter_server.serverapp import ServerApp

from .contexts import Contexts
from .web import application

#: Started before anybody asks, so that the first run is warm; TypeScript is started when it is wanted.
DEFAULT_LANGUAGES = ("python", "javascript")

log = logging.getLogger("wrenn.code_interpreter")


async def start_service(server: ServerApp, port: int) -> None:
    contexts = Contexts(server.kernel_manager)
    try:
        await asyncio.gather(*(contexts.default(language) for language in DEFAULT_LANGUAGES))
        application(contexts).listen(port)
    except Exception:
        log.exception("the execution service could not start")
        server.stop()  # the supervisor starts all of it again
        return
    log.info("ready on port %d", port)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(prog="wrenn_code_interpreter", add_help=False)
    parser.add_argument("--port", type=int, default=49999)
    own, jupyter = parser.parse_known_args()
    server = ServerApp.instance()
    server.initialize(jupyter)
    server.io_loop.add_callback(start_service, server, own.port)
    server.start()


main()
