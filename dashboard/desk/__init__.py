"""The analyst's SQL desk."""
