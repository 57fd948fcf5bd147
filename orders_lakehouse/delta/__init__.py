"""Delta tables: where they lie, how they are read, written and maintained, and what their logs say.

What a table's rows mean and where they come from belongs to `contracts/`, `transforms/` and `pipeline/`.
"""
