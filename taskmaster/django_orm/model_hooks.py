"""Model hooks: what a save does beside its statement, which are receivers of the models' signals,
and fields with auto_now or auto_now_add.

A script may disconnect or connect some, but only for its own process: a worker that imports the
callback loads the project again, and would send the mails that the script has switched off.
"""

from __future__ import annotations

import platform
import sys
import weakref
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db.models import signals
from django.db.models.fields import DateField
from django.db.models.signals import ModelSignal

__all__ = ["Hooks", "changed_hooks", "hooks"]

Hooks = dict[str, Any]
"""A dict of plain values: ``host``, the machine; ``receivers``, each with the name of the signal,
the label of the model and the path of the receiver; ``fields``, the labels of the fields.
"""

CURE = (
    "Workers import the callback, and know nothing of what the script has done: do it in the callback's module, or "
    "define the callback in the function that starts the run, from which it is forked."
)


def hooks() -> Hooks:
    """Return the model hooks of this process."""
    fields = {
        f"{model._meta.label}.{field.name}"
        for model in apps.get_models()
        for field in model._meta.local_fields
        if isinstance(field, DateField) and (field.auto_now or field.auto_now_add)
    }
    return {"host": platform.node(), "receivers": sorted(set(_receivers())), "fields": sorted(fields)}


def changed_hooks(scripts: Hooks, own: Hooks, at_first: Hooks) -> str:
    """Return a hook that a script has changed and this worker has not, as sentences; "" if there is
    none.

    Args:
        scripts: the hooks of the script's process.
        own: the hooks of the worker now.
        at_first: the hooks of the worker before ``setup``. Those that were added since, by that or
            by a module that a job has imported, cannot be missing in the script.
    """
    if scripts["host"] != own["host"]:  # there may be another version of the project
        return ""
    theirs, ours, firsts = ({tuple(one) for one in found["receivers"]} for found in (scripts, own, at_first))
    for signal, label, path in sorted((ours & firsts) - theirs):
        return f"The script has disconnected {path} from {signal} of {label}, which would be called in workers. {CURE}"
    for signal, label, path in sorted(theirs - ours):
        # A receiver of a module that is not imported here may be connected when it is.
        if path.partition(":")[0] in sys.modules:
            return f"The script has connected {path} to {signal} of {label}, which no worker would call. {CURE}"
    for field in sorted((set(own["fields"]) & set(at_first["fields"])) - set(scripts["fields"])):
        return f"The script has switched off auto_now or auto_now_add of {field}, which would set itself. {CURE}"
    return ""


def _receivers() -> Iterator[tuple[str, str, str]]:
    labels = {id(model): model._meta.label for model in apps.get_models(include_auto_created=True)}
    labels[id(None)] = "every model"
    for name, signal in vars(signals).items():
        if not isinstance(signal, ModelSignal) or name.endswith("_migrate"):
            continue
        # Django has no public list of them. An entry is ((id of the receiver or its name, id of the
        # sender), the receiver or a weak reference to it, and more).
        for (_, sender), held, *_ in list(signal.receivers):
            found = held() if isinstance(held, weakref.ReferenceType) else held
            module, path = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
            if sender in labels and module and path and not module.startswith("django."):
                yield name, labels[sender], f"{module}:{path}"
