"""Trials that are runs of any script: what a program file says of one, and its command line."""
