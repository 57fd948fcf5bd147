"""Effects of a change on the data, before it is merged: `make pr-checks`."""
