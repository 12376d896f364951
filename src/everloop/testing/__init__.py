"""Conformance suites that we ship: subclass one in your own tests, and pytest holds your part against our laws.

from everloop.testing import LearnerSuite

class TestExtraTrees(LearnerSuite):
    learner = ExtraTrees()
"""

from everloop.testing.learner_suite import LearnerSuite
from everloop.testing.planted_rows import planted_rows
from everloop.testing.spec_store_suite import SpecStoreSuite
from everloop.testing.storage_suite import StorageSuite

__all__ = ["LearnerSuite", "SpecStoreSuite", "StorageSuite", "planted_rows"]
