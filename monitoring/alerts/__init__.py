"""Alerts: rules over figures, the monitor's passes, their findings, and notifications."""
