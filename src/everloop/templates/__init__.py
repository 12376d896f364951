"""Complete example projects with data generators."""
