"""What runs inside an agent's VM. Standard library only; it imports nothing of the host, nor the host it."""
