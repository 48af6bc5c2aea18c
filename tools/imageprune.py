"""Run while the image is built, in the operator's environment: delete generated code that it never loads.

The Kubernetes client is 75 MB, of which 70 are generated models and calls. Forebay speaks to the API server in
plain JSON (`forebay.actuation.kube`, kopf) and loads three of those modules, which the client itself imports.
"""

import importlib
import pkgutil
import sys
from pathlib import Path

import kubernetes

import forebay


def loaded() -> set[str]:
    """Import all of Forebay that is in the image; return the files of every module that this loads."""
    for module in pkgutil.walk_packages(forebay.__path__, "forebay."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return {file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}


def main() -> None:
    """Delete generated modules of the Kubernetes client that were not loaded."""
    kept = loaded()
    for folder in ("client/models", "client/api", "aio/client/models", "aio/client/api"):
        for path in (Path(kubernetes.__path__[0]) / folder).glob("*.py"):
            if path.name != "__init__.py" and str(path) not in kept:
                path.unlink()


if __name__ == "__main__":
    main()
