"""The kernel of NullBox: option fragments, their check, and the builder (see README.md here)."""
