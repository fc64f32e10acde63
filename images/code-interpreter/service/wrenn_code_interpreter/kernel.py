"""Inside a Python kernel: an IPython extension, and what the service asks of it (languages.py)."""

import os
import random
import sys
from typing import Mapping

from traitlets import ObjectName, Unicode

_CHART = "application/vnd.wrenn.chart+json"
_DATA = "application/vnd.wrenn.data+json"
#: Tables above this stay out of results: whoever wants them whole writes a file.
_MOST_DATA_ROWS = 10_000

#: Values that variables had before a request changed them.
_before: dict[str, str | None] = {}


def load_ipython_extension(shell) -> None:
    """Figures also show as chart data, data frames as columns."""
    from IPython.core.formatters import BaseFormatter

    def add(media_type: str, module: str, kind: str, convert) -> None:
        # Not by `for_type`: matplotlib's backend takes figures out of all formatters when it is loaded.
        class Formatter(BaseFormatter):
            format_type = Unicode(media_type)
            print_method = ObjectName("_repr_wrenn_")

            def __call__(self, value):
                loaded = getattr(sys.modules.get(module), kind, None)
                return convert(value) if loaded is not None and isinstance(value, loaded) else None

        shell.display_formatter.formatters[media_type] = Formatter(parent=shell.display_formatter)

    add(_CHART, "matplotlib.figure", "Figure", _chart_of)
    add(_DATA, "pandas", "DataFrame", _data_of)


def _chart_of(figure):
    from e2b_charts import chart_figure_to_dict

    try:
        return chart_figure_to_dict(figure) or None
    except Exception:
        return None  # a kind of figure that it does not know: the picture is there all the same


def _data_of(frame):
    if len(frame) > _MOST_DATA_ROWS:
        return None
    import json

    return {str(name): json.loads(frame[name].to_json(orient="values", date_format="iso")) for name in frame.columns}


def set_environment(envs: Mapping[str, str]) -> None:
    for name, value in _before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _before.clear()
    for name, value in envs.items():
        _before[name] = os.environ.get(name)
        os.environ[name] = value


def reseed() -> None:
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def warm_up() -> None:
    """Loads what most programs load and draws once, so that fonts are found and the first plot is quick."""
    import io

    import e2b_charts  # noqa: F401
    import matplotlib.pyplot as plt
    import pandas  # noqa: F401
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([0, 1])
    figure.savefig(io.BytesIO(), format="png")
    plt.close("all")
