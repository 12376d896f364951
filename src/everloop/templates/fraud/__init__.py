"""Card fraud: which payments are not the customer's own. The template, and the generator of its payments."""

from everloop.templates.fraud.generator import COLUMNS, FRAUD_FRACTION, NewPattern, Payments
from everloop.templates.fraud.template import FraudTemplate, payments

__all__ = ["COLUMNS", "FRAUD_FRACTION", "FraudTemplate", "NewPattern", "Payments", "payments"]
