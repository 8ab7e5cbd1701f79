"""The statistics behind the analyses: plain NumPy functions over arrays, each with the paper that it follows."""
