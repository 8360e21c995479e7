"""Files in and out: a file for each family of formats, thin over its library."""
