"""Distillation methods, one file each; every one is called as `hello_distill.artifact.Distiller` says."""
