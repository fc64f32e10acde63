"""Languages and the kernels behind them, and the few things that a kernel is told without the user's knowledge."""

import json
from dataclasses import dataclass
from typing import Callable, Mapping

from .failures import Refused

Envs = Mapping[str, str]


@dataclass(frozen=True)
class Language:
    name: str
    kernel: str
    #: Code that makes exactly these variables be set beside the kernel's own. Runs before and after a request.
    set_environment: Callable[[Envs], str]
    #: Code that gives random generators of the language a new seed: after a resume, a clone must not draw its
    #: sibling's numbers.
    reseed: str
    #: Code that loads what most programs load.
    warm_up: str = ""


_PYTHON = "__import__('wrenn_code_interpreter.kernel', fromlist=['kernel'])"


def _javascript(name: str) -> Language:
    return Language(
        name=name,
        kernel=name,
        set_environment=lambda envs: f"globalThis[Symbol.for('wrenn.kernel')].setEnvironment({json.dumps(dict(envs))})",
        reseed="globalThis[Symbol.for('wrenn.kernel')].reseed()",
    )


_LANGUAGES = {
    "python": Language(
        name="python",
        kernel="python3",
        set_environment=lambda envs: f"{_PYTHON}.set_environment({dict(envs)!r})",
        reseed=f"{_PYTHON}.reseed()",
        warm_up=f"{_PYTHON}.warm_up()",
    ),
    "javascript": _javascript("javascript"),
    "typescript": _javascript("typescript"),
}
_SHORT = {"py": "python", "python3": "python", "js": "javascript", "ts": "typescript"}
DEFAULT = "python"


def language_of(name: str | None) -> Language:
    """The language of a request; none means Python."""
    wanted = (name or DEFAULT).lower()
    language = _LANGUAGES.get(_SHORT.get(wanted, wanted))
    if language is None:
        raise Refused(400, f"there is no kernel for {name!r}: choose one of {', '.join(_LANGUAGES)}")
    return language
