"""Engines that compute frames: Polars in this process, Spark Connect on a cluster. `base.py` has their protocol."""
