"""Every Python kernel shows figures also as chart data, and data frames also as columns."""

c = get_config()  # noqa: F821

c.InteractiveShellApp.extensions = ["wrenn_code_interpreter.kernel"]
