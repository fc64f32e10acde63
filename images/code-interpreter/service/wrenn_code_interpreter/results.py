"""Jupyter's messages as events of the execution service's stream."""

from typing import Any

#: Names that results have on the wire. Whatever has none goes into `extra` under its media type.
_FIELDS = {
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "text/latex": "latex",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "application/json": "json",
    "application/javascript": "javascript",
    "application/vnd.wrenn.data+json": "data",
    "application/vnd.wrenn.chart+json": "chart",
}

Event = dict[str, Any]


def event_of(message: dict[str, Any]) -> Event | None:
    """The event that a message of the kernel's output channel is, or none where clients need not know."""
    content = message["content"]
    match message["msg_type"]:
        case "stream":
            timestamp = message["header"]["date"].isoformat()
            return {"type": content["name"], "text": content["text"], "timestamp": timestamp}
        case "execute_input":
            return {"type": "number_of_executions", "execution_count": content["execution_count"]}
        case "execute_result":
            return _result(content["data"], is_main_result=True)
        case "display_data" | "update_display_data":
            return _result(content["data"], is_main_result=False)
        case "error":
            traceback = "\n".join(content["traceback"])
            return error(content["ename"], content["evalue"], traceback)
    return None


def error(name: str, value: str, traceback: str = "") -> Event:
    return {"type": "error", "name": name, "value": value, "traceback": traceback}


def _result(bundle: dict[str, Any], is_main_result: bool) -> Event:
    event: Event = {"type": "result", "is_main_result": is_main_result}
    extra = {}
    for media_type, value in bundle.items():
        field = _FIELDS.get(media_type)
        if field is None:
            extra[media_type] = value
        else:
            event[field] = _unquoted(value) if field == "text" else value
    if extra:
        event["extra"] = extra
    return event


def _unquoted(text: str) -> str:
    """A result that is a string is shown without its quotes: clients want the text, not the literal."""
    quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"`"
    return text[1:-1] if quoted else text
