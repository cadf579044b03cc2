"""The reports' formats: a grid for terminals, CSV for spreadsheets, a page for browsers."""
