"""YAML 1.1 as PyYAML reads it, and so W&B: `yes` and `on` are booleans, `010` is eight.

One deviation: a number with an exponent is a number however it is written. PyYAML reads `1e-5` as
text, which W&B's server then takes for the number. Everything else is as in `yaml_lines`: lines,
errors, and keys that are there twice.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sweeps.spec.yaml_lines import Document, document_of

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node

_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)[eE][-+]?[0-9]+$")
_FLOAT = "tag:yaml.org,2002:float"


def read_yaml_1_1(text: str) -> Document:
    """Return the only document in `text`, with all errors that it has."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """PyYAML's safe loader, which composes nodes and turns a scalar into its value."""

    Loader.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))
    try:
        loader = Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, (error.context, error.problem)))
        line = None if mark is None else mark.line + 1
        return Document(errors=((line, f"this is not YAML: {problem}"),))
    except (yaml.YAMLError, ValueError) as error:
        return Document(errors=((None, f"this is not YAML: {str(error).splitlines()[0]}"),))

    def scalar(node: Node) -> Any:
        if (node.tag or "").endswith(":timestamp"):  # no JSON has dates
            return node.value
        return loader.construct_object(node)

    return Document() if root is None else document_of(root, scalar)
