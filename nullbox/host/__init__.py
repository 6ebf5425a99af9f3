"""The host's side of a NullBox machine: choose an acceleration, run QEMU, share its gateway port. Not in the image."""
