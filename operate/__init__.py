"""The operator's commands: what they do, show and ask, and how they end."""
