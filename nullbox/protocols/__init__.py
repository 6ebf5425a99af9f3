"""Names, messages and wire formats that the parts of NullBox share. Imports nothing else of ours."""
