"""Any frame -> DataReport: what is wrong with the data, in which series, and what to do about it."""
