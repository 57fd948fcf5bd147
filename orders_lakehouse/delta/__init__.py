"""Delta tables: where they are stored, how they are read, written and maintained, and what their logs say.

The meaning and the origin of rows belong to `contracts/`, `transforms/` and `pipeline/`.
"""
