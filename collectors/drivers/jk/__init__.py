"""What the devices of JK (JiKong) have in common; the drivers stand beside this folder, one file an interface."""
