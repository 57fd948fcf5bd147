"""Resources of the machine: memory, disks, private files, the environment of programs."""
