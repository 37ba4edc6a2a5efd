"""What knows PostgreSQL. The driver is imported when a connection is opened, and not before."""
