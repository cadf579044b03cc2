"""Rows to Avro objects in Cloud Storage: above `db.py`, below `backup.py`."""
