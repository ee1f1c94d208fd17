"""Tables, plots and HTML, made from records alone."""
