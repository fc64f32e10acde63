"""Runs a notebook on a remote Jupyter server as Jupyter itself does, over the kernel's WebSocket:

    python3 jupyter-notebook.py '{"url": "http://127.0.0.1:8888", "headers": {}, "cells": ["1 + 1"], "kernel": null, "keep": false}'

In a kernel that is there (`kernel`, its id) or in a new one, which ends with it unless `keep`. Prints what its cells put
out, one JSON object per cell, and last the kernel's id.
"""

import asyncio
import json
import socket
import sys

import nbformat
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.gateway.managers import GatewayKernelManager
from nbclient import NotebookClient


def resolve(host, *rest, look_up=socket.getaddrinfo):
    """Names below `localhost` are loopback (RFC 6761); not every C library knows."""
    return look_up("127.0.0.1" if str(host).endswith(".localhost") else host, *rest)


socket.getaddrinfo = resolve


class PatientKernelManager(GatewayKernelManager):
    #: The base class asks this one while a kernel takes its time to start, and it is made for local kernels.
    _async_is_alive = GatewayKernelManager.is_alive


async def main() -> None:
    wish = json.loads(sys.argv[1])
    GatewayClient.instance(url=wish["url"], headers=json.dumps(wish["headers"]))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in wish["cells"]])
    manager = PatientKernelManager(kernel_name="python3")
    client = NotebookClient(notebook, km=manager, timeout=120, startup_timeout=120)
    attach = {} if wish["kernel"] is None else {"kernel_id": wish["kernel"]}
    try:
        await client.async_execute(**attach)
        kernel = manager.kernel_id
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
        if not wish["keep"]:
            await manager.shutdown_kernel(now=True)
    for cell in notebook.cells:
        outputs = [sorted(output["data"]) if "data" in output else output["text"] for output in cell.outputs]
        print(json.dumps({"count": cell.execution_count, "outputs": outputs}))
    print(kernel)


asyncio.run(main())
