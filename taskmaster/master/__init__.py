"""The master: owns a run, reads its source, hands its jobs out and writes down how far it is."""
