"""The formats that traces come in: one module per format, each with a `FORMAT`.

To add a format, write one module here that defines ``FORMAT = TraceFormat(...)``; it is found by itself.
"""
