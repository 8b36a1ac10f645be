"""Alerts: rules over figures, the monitor's passes, what they find, and where that is sent."""
