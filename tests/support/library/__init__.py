"""An app with models of all kinds of keys."""
