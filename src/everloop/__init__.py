"""everloop keeps a model good in production."""
