"""What a cluster of the embedded world holds, without what differs between any two runs."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from gitops.values import LABEL_REPOSITORY

_VOLATILE = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation")


def live_objects(path: Path) -> dict[str, Any]:
    """Every object by kind, namespace and name: labels, annotations and what is desired of it."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        bodies = [json.loads(row[0]) for row in connection.execute("SELECT body FROM objects")]
    found = {}
    for body in bodies:
        if body["kind"] == "Pod":
            continue  # made by the cluster itself, with times of its own
        metadata = {key: value for key, value in body["metadata"].items() if key not in _VOLATILE}
        # Whoever starts anew has a repository of its own.
        labels = {key: value for key, value in metadata.get("labels", {}).items() if key != LABEL_REPOSITORY}
        metadata |= {"labels": labels}
        rest = {key: value for key, value in body.items() if key not in ("metadata", "status")}
        found[f"{body['kind']} {metadata.get('namespace', '')}/{metadata['name']}"] = rest | {"metadata": metadata}
    return found
