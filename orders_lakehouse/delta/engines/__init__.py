"""Engines that compute frames: Polars in this process, Spark Connect on a cluster."""
