"""Backups in Cloud Storage: objects, folders, manifests, the catalog, retention."""
