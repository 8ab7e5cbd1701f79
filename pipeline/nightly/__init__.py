"""The night's work: which site-days are owed, what is worked out for each, and who hears of it in the morning."""
