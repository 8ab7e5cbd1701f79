"""Measurements that others took, brought into the archive's form, so that every analysis runs on them too."""
