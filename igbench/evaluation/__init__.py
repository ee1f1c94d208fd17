"""One evaluation in memory: load, attribute, measure; nothing is written here."""
