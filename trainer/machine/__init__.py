"""The machine: devices, measurement, hosting and access."""
