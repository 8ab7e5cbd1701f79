"""How right the analyses are: the simulated fleet's truth beside what the nights made of its readings."""
