"""Where the workers of `sweeps run` are: this process, others of this machine, or a cluster's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from sweeps.loading import importing

if TYPE_CHECKING:
    from sweeps.place import Tended
    from sweeps.spec import Spec


def places_of(
    stack: ExitStack, spec: Spec, url: str, command: Sequence[str], given: Mapping[str, Any]
) -> tuple[Spec, Sequence[Tended], dict[str, Any]]:
    """Start the workers, none where this process is the one.

    Also returns the sweep as this process sees it, and how `open_sweep` looks at its task.
    """
    logs = given["log"] == "json"
    if given["on"] is None:
        from sweeps.crowd import devices_of

        devices = devices_of(spec)
        if len(devices) == 1:
            return spec.model_copy(update={"device": devices[0]}), [], {}
        return spec, *_here(stack, spec, url, devices, command, given)
    from sweeps.cluster import on_ray

    if not isinstance(spec.workers, int):
        raise click.UsageError("--on ray needs the number of --workers")
    where = (given["address"], url, command, spec.workers, given["gpus_per_worker"])
    # This process trains nothing, and may stand on a machine without a GPU.
    spec = spec.model_copy(update={"device": "cpu"})
    return spec, stack.enter_context(on_ray(*where, logs=logs)), {}


def _here(
    stack: ExitStack,
    spec: Spec,
    url: str,
    devices: Sequence[str],
    command: Sequence[str],
    given: Mapping[str, Any],
) -> tuple[Sequence[Tended], dict[str, Any]]:
    """Start workers on this machine; a task is looked at by one of them, which has torch first."""
    from sweeps.starting import starting

    logs, request = given["log"] == "json", None
    if spec.program is None:
        with importing():
            from sweeps.checking import answered, write_request

        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sweeplane-")))
        request = write_request(folder, spec)
    places = stack.enter_context(starting(url, devices, command, logs=logs, request=request))
    if request is None:
        return places, {}
    return places, {"look": answered(request, lambda: places[0].lives)}
