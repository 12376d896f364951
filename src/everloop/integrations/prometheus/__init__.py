"""A dashboard for Grafana and rules for Prometheus, over what the endpoint tells at `/metrics`.

`python -m everloop.integrations.prometheus DIR` copies both files to where Grafana and Prometheus can read them.
"""

from everloop.integrations.prometheus.files import FILES, copy_files

__all__ = ["FILES", "copy_files"]
