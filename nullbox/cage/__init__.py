"""An agent's VM: its manifest, the plan made of it, the process that becomes it, and its life."""
