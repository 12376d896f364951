"""Arrival times: how many minutes a trip will take. The template, and the generator of its trips."""

from everloop.templates.arrival.generator import COLUMNS, Trips
from everloop.templates.arrival.template import ArrivalTemplate, trips

__all__ = ["COLUMNS", "ArrivalTemplate", "Trips", "trips"]
