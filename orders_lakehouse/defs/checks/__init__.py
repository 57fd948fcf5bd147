"""Asset checks, and how what they find reaches the lake and Dagster."""
