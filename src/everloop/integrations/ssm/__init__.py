"""AWS SSM Parameter Store as the place where a model's configuration lives: `specs: ssm:/fraud-detection`.

`SsmSpecs(project, model)`; boto3 (the extra `[aws]`) is imported when something is asked of it.
"""

from everloop.integrations.ssm.store import SsmSpecs

__all__ = ["SsmSpecs"]
