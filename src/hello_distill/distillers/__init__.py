"""Methods, one module each. Another package adds its own by an entry point of the group `hello_distill.distillers`."""

from __future__ import annotations

from hello_distill.distillers.base import METHODS, Distiller, register

methods = METHODS.names
method = METHODS.find

__all__ = ["Distiller", "method", "methods", "register"]
