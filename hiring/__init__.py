"""What all rooms share, below `db.py`: imports no module of the root."""
