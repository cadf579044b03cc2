"""Measures how fast this project is, beside other ways: docs/development.md, How fast it is."""
