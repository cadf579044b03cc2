"""What a report looks like: a grid for terminals, CSV for spreadsheets, a page for browsers."""
