"""The demo: the operator follows a day of traffic, compressed into minutes, on a real API server.

make demo                 TRACE=file.csv.gz plays a recorded trace, KEEP=1 leaves everything running
"""
