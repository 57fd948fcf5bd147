"""What a change does to the data, before it is merged: `make pr-checks`."""
