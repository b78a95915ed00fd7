"""The suite behind `scripts/test`: every check of the project, its needs, and a report."""
