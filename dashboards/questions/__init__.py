"""What each dashboard asks: its data sets, once each."""
