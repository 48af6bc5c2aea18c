"""Forecast: quantiles of demand at the lead time, scored when their time comes."""
