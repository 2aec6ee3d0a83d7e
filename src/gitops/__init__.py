"""A declarative GitOps pipeline for AI models: one spec, a plan you can trust, a history in Git."""

__version__ = "0.1.0"
