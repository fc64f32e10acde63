"""Runs a notebook on a remote Jupyter server as Jupyter itself does, over the kernel's WebSocket:

    python3 jupyter-notebook.py http://127.0.0.1:8888

Prints what its cells put out, one JSON object per cell.
"""

import asyncio
import json
import sys

import nbformat
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.gateway.managers import GatewayKernelManager
from nbclient import NotebookClient

CELLS = [
    "import matplotlib.pyplot as plt\nx = 20",
    "plt.plot([1, 2]); plt.show()",
    "x + 1",
    "print('a', flush=True)",
]


class PatientKernelManager(GatewayKernelManager):
    #: The base class asks this one while a kernel takes its time to start, and it is made for local kernels.
    _async_is_alive = GatewayKernelManager.is_alive


async def main() -> None:
    GatewayClient.instance(url=sys.argv[1])
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    manager = PatientKernelManager(kernel_name="python3")
    client = NotebookClient(notebook, km=manager, timeout=120, startup_timeout=120)
    try:
        await client.async_execute()
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
        await manager.shutdown_kernel(now=True)
    for cell in notebook.cells:
        outputs = [sorted(output["data"]) if "data" in output else output["text"] for output in cell.outputs]
        print(json.dumps({"count": cell.execution_count, "outputs": outputs}))


asyncio.run(main())
