"""The sandbox's own environment variables, of which envd knows."""

import json
import logging

from tornado.httpclient import AsyncHTTPClient, HTTPClientError

ENVS = "http://127.0.0.1:49983/envs"
LIMIT_SEC = 5

log = logging.getLogger("wrenn.code_interpreter")


async def sandbox_envs(access_token: str | None) -> dict[str, str]:
    """None without the sandbox's token: whoever does not have it may not know them."""
    headers = {"X-Access-Token": access_token} if access_token else {}
    try:
        answer = await AsyncHTTPClient().fetch(ENVS, headers=headers, request_timeout=LIMIT_SEC)
        return {str(name): str(value) for name, value in json.loads(answer.body).items()}
    except (HTTPClientError, OSError, ValueError, AttributeError) as failure:
        log.debug("no variables of the sandbox: %s", failure)
        return {}
