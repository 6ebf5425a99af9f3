"""NullBox: an immutable, minimal Linux for AI agents and nothing else."""

__version__ = "0.1.0"
